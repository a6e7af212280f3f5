"""The port to fleets: N deployments of one wish behind one address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

from gdl.domain.events import Recorded
from gdl.domain.fleet import FleetState
from gdl.domain.fleet_orders import FleetOrder
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.health import HealthSample
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.phase import Billing, Phase


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One replica now. id: of its deployment; its own screen and events are those of any other.
    taken_in: requests go to it. why_out: why none do, in words, "" while they do. leaving: why it
    is being released, "" while it is not. health: the latest sample, load and tokens/s in it; None
    unless its deployment runs in this process and serves. price_per_hour: of what it has rented, 0
    while that is nothing. cost: dollars so far."""

    id: str
    generation: int
    phase: Phase
    billing: Billing
    taken_in: bool
    why_out: str
    leaving: str
    health: HealthSample | None
    backend: str
    provider: str
    gpu_name: str
    gpu_count: int
    price_per_hour: float
    cost: float
    session_id: str | None
    since: datetime


@dataclass(frozen=True, slots=True)
class FleetView:
    """A fleet now. replicas: those that have not ended, oldest first. endpoint: as OpenAI clients
    want it, ending in /v1; "" before there was one. routed: whether its router runs.
    price_per_hour: of all replicas together. cost: dollars so far, of those that are over, too.
    tokens_per_s: that all replicas make now, None where nobody tells. usd_per_million: dollars for
    10^6 output tokens: at what is made now, else by the fleet's benchmark; None without both.
    short: why the wished number is not there, "" while nothing stands against it. context: tokens
    that a request may have on whichever replica. here: it runs in this process. runs: in any.
    doubts: sessions, or replicas without one, whose end is not proven."""

    id: str
    model: str
    wanted: int
    serving: int
    endpoint: str
    api_key_file: str
    routed: bool
    replicas: tuple[ReplicaView, ...]
    price_per_hour: float
    cost: float
    tokens_per_s: float | None
    usd_per_million: float | None
    short: str
    context: int | None
    generation: int
    outcome: str
    since: datetime
    here: bool
    runs: bool
    doubts: tuple[str, ...] = ()

    @property
    def resumable(self) -> bool:
        """Whether `resume` goes on with it: its process is gone, or has left it serving."""
        return not self.runs and self.outcome in ("", "interrupted", "serving")


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

    def active(self) -> Sequence[str]:
        """Ids of the fleets that run in this process, oldest first."""
        ...

    async def order(self, ident: str, what: FleetOrder) -> str:
        """Scale it, change its flags, or end it, in whichever process it runs; its id. Returns once
        the order is in the journal, which the fleet reads within a second. A fleet whose process
        is gone is ended by this one. Raises UsageError for what makes no sense, as no replicas."""
        ...

    async def ended(self, ident: str) -> FleetView:
        """Until a fleet has ended, wherever it runs."""
        ...

    async def rows(self, *, past: bool = False) -> Sequence[FleetView]:
        """Fleets that run, can be gone on with, or have something rented; newest first. past: those
        that are over, too."""
        ...

    async def view(self, ident: str) -> FleetView:
        """One of them as it is now; of one in this process, with load and speed."""
        ...
