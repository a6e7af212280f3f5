"""How the registry knows the `sandbox` backend."""

from __future__ import annotations

from gdl.backends.base import Backend, BackendContext, BackendEntry
from gdl.domain.backend import BackendSource
from gdl.settings import Settings


def with_scenario(context: BackendContext) -> Settings:
    """The settings, with the scenario that was named for this run."""
    settings = context.settings
    if (scenario := context.options.get("scenario")) is not None:
        sandbox = settings.sandbox.model_copy(update={"scenario": scenario})
        settings = settings.model_copy(update={"sandbox": sandbox})
    return settings


def _create(context: BackendContext) -> Backend:
    from gdl.backends.sandbox.backend import SandboxBackend

    return SandboxBackend(with_scenario(context), context.consumer_id)


async def _discover(context: BackendContext) -> BackendSource:
    from gdl.backends.sandbox import discovery

    return await discovery.discover()


ENTRY = BackendEntry(_create, _discover, frozenset({"scenario"}), simulated=True)
