"""How the registry knows the `shopper` backend."""

from __future__ import annotations

from gdl.backends.base import Backend, BackendContext, BackendEntry
from gdl.domain.backend import BackendSource
from gdl.settings import Settings


def _create(context: BackendContext) -> Backend:
    from gdl.backends.shopper.backend import ShopperBackend

    return ShopperBackend(context.settings, context.consumer_id)


async def _discover(context: BackendContext) -> BackendSource:
    from gdl.backends.shopper import discovery

    return await discovery.discover(context.settings, context.consumer_id)


def _at_hand(settings: Settings) -> bool:
    """Somebody said where it is."""
    return "shopper_url" in settings.model_fields_set


ENTRY = BackendEntry(_create, _discover, at_hand=_at_hand)
