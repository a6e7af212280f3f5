"""How the registry knows the `runpod` backend."""

from __future__ import annotations

from gdl.backends.base import Backend, BackendContext, BackendEntry
from gdl.domain.backend import BackendSource
from gdl.domain.errors import UsageError
from gdl.settings import Settings


def _create(context: BackendContext) -> Backend:
    from gdl.backends.runpod import keys
    from gdl.backends.runpod.backend import RunpodBackend

    return RunpodBackend(context.settings, context.consumer_id, keys.required(context.settings))


async def _discover(context: BackendContext) -> BackendSource:
    from gdl.backends.runpod import discovery

    return await discovery.discover(context.settings, context.consumer_id)


def _at_hand(settings: Settings) -> bool:
    from gdl.backends.runpod import keys

    try:
        return keys.find(settings) is not None
    except UsageError:
        return True


ENTRY = BackendEntry(_create, _discover, at_hand=_at_hand)
