"""How the registry knows the `sandbox` backend."""

from __future__ import annotations

from gdl.backends.base import Backend, BackendContext, BackendEntry
from gdl.domain.backend import BackendSource


def _create(context: BackendContext) -> Backend:
    from gdl.backends.sandbox.backend import SandboxBackend

    settings = context.settings
    if scenario := context.options.get("scenario"):
        sandbox = settings.sandbox.model_copy(update={"scenario": scenario})
        settings = settings.model_copy(update={"sandbox": sandbox})
    return SandboxBackend(settings, context.consumer_id)


async def _discover(context: BackendContext) -> BackendSource:
    from gdl.backends.sandbox import discovery

    return await discovery.discover()


ENTRY = BackendEntry(_create, _discover, frozenset({"scenario"}))
