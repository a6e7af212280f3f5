"""The port to fleets as a test has written it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from gdl.domain.errors import UsageError
from gdl.domain.events import Recorded
from gdl.domain.fleet import FleetState, replayed_fleet
from gdl.domain.fleet_orders import End, FleetOrder
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.fleet_view import FleetView


class ScriptedFleets:
    """known: what there is. history: the events of each. ends: set when one that is released is
    gone; at once where it is None. Orders and wishes are noted."""

    def __init__(self) -> None:
        self.known: list[FleetView] = []
        self.history: dict[str, list[Recorded]] = {}
        self.ordered: list[tuple[str, FleetOrder]] = []
        self.wished: list[FleetSpec] = []
        self.resumed: list[str] = []
        self.ends: asyncio.Event | None = None

    async def deploy(self, spec: FleetSpec) -> str:
        self.wished.append(spec)
        return "fleet-1"

    async def resume(self, ident: str) -> str:
        self.resumed.append(ident)
        return ident

    async def events(self, fleet_id: str) -> AsyncIterator[Recorded]:
        for recorded in self.history.get(fleet_id, ()):
            yield recorded

    def state(self, fleet_id: str) -> FleetState:
        return replayed_fleet(fleet_id, self.history.get(fleet_id, ()))

    @property
    def active(self) -> Sequence[str]:
        return [view.id for view in self.known if view.here and view.runs]

    async def order(self, ident: str, what: FleetOrder) -> str:
        self.ordered.append((ident, what))
        return ident

    async def released(self, ident: str) -> FleetView:
        await self.order(ident, End())
        if self.ends is not None:
            await self.ends.wait()
        return await self.view(ident)

    async def rows(self, *, past: bool = False) -> Sequence[FleetView]:
        return self.known

    async def view(self, ident: str) -> FleetView:
        for view in self.known:
            if view.id.startswith(ident):
                return view
        raise UsageError(f"{ident} names no fleet", "`gdl-tui scale` lists the fleets")
