"""The port to fleets: N deployments of one wish behind one address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from gdl.domain.events import Recorded
from gdl.domain.fleet import FleetState
from gdl.domain.fleet_orders import FleetOrder
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.fleet_view import FleetView


class Fleets(Protocol):
    """All methods raise GdlError for what is expected to go wrong. ident: a fleet's id, or the
    beginning of one."""

    async def deploy(self, spec: FleetSpec) -> str:
        """Start a fleet; its id. Raises before anything is rented: UsageError for what cannot be
        served, DeployError when there is no router."""
        ...

    async def resume(self, ident: str) -> str:
        """Go on with a fleet whose process is gone, or that was left serving. Raises UsageError
        when there is nothing to go on with."""
        ...

    def events(self, fleet_id: str) -> AsyncIterator[Recorded]:
        """The fleet's own events: history first, then live; ends after FleetFinished. Those of its
        replicas come from the port `Deployments`."""
        ...

    def state(self, fleet_id: str) -> FleetState:
        """Of one that runs in this process, or did."""
        ...

    @property
    def active(self) -> Sequence[str]:
        """Ids of the fleets that run in this process, oldest first."""
        ...

    async def order(self, ident: str, what: FleetOrder) -> str:
        """Scale it, change its flags, or end it, in whichever process it runs; its id. Returns once
        the order is in the journal, which the fleet reads within a second. A fleet whose process
        is gone is ended by this one. Raises UsageError for what makes no sense, as no replicas."""
        ...

    async def released(self, ident: str) -> FleetView:
        """End a fleet and release its machines, wherever it runs; what came of it."""
        ...

    async def rows(self, *, past: bool = False) -> Sequence[FleetView]:
        """Fleets that run, can be gone on with, or have something rented; newest first. past: those
        that are over, too."""
        ...

    async def view(self, ident: str) -> FleetView:
        """One of them as it is now, with load and speed as far as its replicas tell them."""
        ...
