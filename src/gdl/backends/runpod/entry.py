"""How the registry knows the `runpod` backend."""

from __future__ import annotations

from gdl.backends.base import Backend, BackendContext, BackendEntry
from gdl.domain.backend import BackendSource


def _create(context: BackendContext) -> Backend:
    from gdl.backends.runpod import keys
    from gdl.backends.runpod.backend import RunpodBackend

    return RunpodBackend(context.settings, context.consumer_id, keys.required(context.settings))


async def _discover(context: BackendContext) -> BackendSource:
    from gdl.backends.runpod import discovery

    return await discovery.discover(context.settings, context.consumer_id)


ENTRY = BackendEntry(_create, _discover)
