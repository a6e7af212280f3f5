"""What spreads the requests of a fleet over its replicas, as the fleet sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from gdl.domain.event import Event
from gdl.domain.fleet_spec import FleetSpec

Told = Callable[[Event], Awaitable[None]]
"""Is given RouterStarted, RouterEnded, and notes."""


class Router(Protocol):
    """One address for many servers. Requests are counted by nobody here, and keys are none of its
    business: what a client sends with a request goes to the replica."""

    async def prepare(self, tell: Callable[[str], Awaitable[None]]) -> None:
        """Have the program on this computer. Raises DeployError with what would help."""
        ...

    async def begin(self, port: int, told: Told) -> None:
        """Start it on this port of loopback, 0 for a free one, and again whenever it ends, until
        `aclose`; with all replicas that were added. Returns at once."""
        ...

    async def add(self, url: str) -> None:
        """Requests go to this replica, too: the root of an OpenAI-compatible server that answers.
        Raises GdlError when the router does not take it; then it is not added."""
        ...

    async def remove(self, url: str) -> None:
        """No new request goes there; those that are being answered end. Raises GdlError when the
        router does not say so."""
        ...

    async def aclose(self) -> None:
        """End it. Idempotent."""
        ...


MakeRouter = Callable[[FleetSpec, Path, Path], Router]
"""For a fleet's wish, the file of its key, and the folder of its logs."""
