"""The simulated market is always there."""

from __future__ import annotations

from gdl.domain.backend import BackendSource


async def discover() -> BackendSource:
    words = "a simulated market: nothing is rented, and nothing costs money"
    return BackendSource("sandbox", True, "Sandbox", words)
