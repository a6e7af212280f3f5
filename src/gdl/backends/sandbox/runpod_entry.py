"""How the registry knows the `sandbox-runpod` backend."""

from __future__ import annotations

from gdl.backends.base import Backend, BackendContext, BackendEntry
from gdl.backends.sandbox.entry import with_scenario
from gdl.domain.backend import BackendSource


def _create(context: BackendContext) -> Backend:
    from gdl.backends.sandbox.markets import SimulatedRunpod

    return SimulatedRunpod(with_scenario(context), context.consumer_id)


async def _discover(context: BackendContext) -> BackendSource:
    words = "a simulated marketplace: nothing is rented, and nothing costs money"
    return BackendSource("sandbox-runpod", True, "RunPod (simulated)", words)


ENTRY = BackendEntry(_create, _discover, frozenset({"scenario"}), simulated=True)
