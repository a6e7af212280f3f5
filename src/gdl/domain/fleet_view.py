"""A fleet as it is shown: its replicas, what they do, and what all of them cost."""

from __future__ import annotations

from datetime import datetime

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
