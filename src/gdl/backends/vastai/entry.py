"""How the registry knows the `vastai` backend."""

from __future__ import annotations

from gdl.backends.base import Backend, BackendContext, BackendEntry
from gdl.domain.backend import BackendSource
from gdl.domain.errors import UsageError
from gdl.settings import Settings


def _create(context: BackendContext) -> Backend:
    from gdl.backends.vastai.backend import VastaiBackend

    return VastaiBackend(context.settings)


async def _discover(context: BackendContext) -> BackendSource:
    from gdl.backends.vastai import discovery

    return await discovery.discover(context.settings)


def _at_hand(settings: Settings) -> bool:
    from gdl.backends.vastai.keys import find_keys

    try:
        return bool(find_keys(settings))
    except UsageError:
        return True


ENTRY = BackendEntry(_create, _discover, at_hand=_at_hand)
