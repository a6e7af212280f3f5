"""The state of one attempt of a deployment."""

from __future__ import annotations

from datetime import datetime

from gdl.domain import events as ev
from gdl.domain.host import HostFacts
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import for_time
from gdl.domain.phase import Phase
from gdl.domain.server_memory import MemoryComparison
from gdl.domain.session_price import SessionPrice

NO_MACHINE = frozenset({"offer_gone", "session_exists", "offer_taken"})
"""Kinds of errors after which no machine was tried: somebody else has it, or a sibling of ours."""


@dataclass(frozen=True, slots=True)
class StepState:
    """outcome is "" while the step runs."""

    name: str
    title: str
    index: int
    total: int
    started_at: datetime
    outcome: str = ""
    seconds: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AttemptState:
    """`phases` holds each phase entered with its time, in order; the last is the current one."""

    number: int
    offer_id: str
    provider: str
    gpu_name: str
    gpu_count: int
    vram_gb: float
    price_per_hour: float
    location: str
    started_at: datetime
    phases: tuple[tuple[Phase, datetime], ...] = ()
    session_id: str | None = None
    rented_at: datetime | None = None
    expires_at: datetime | None = None
    released_at: datetime | None = None
    earlier_cost: float = 0.0
    """Dollars, of sessions that its request had made before and that were destroyed."""
    facts: HostFacts | None = None
    steps: tuple[StepState, ...] = ()
    parts: tuple[tuple[str, float], ...] = ()
    """Each part of the work that was counted, with how far it is (0-1), in the order they began."""
    diagnosis: ev.Diagnosed | None = None
    remedies: tuple[ev.RemedyApplied, ...] = ()
    server: ev.ServerPlanned | None = None
    memory: MemoryComparison | None = None
    failure: ev.AttemptFailed | None = None
    expected: SessionPrice | None = None
    """What the whole session was to cost."""
    charged: float | None = None
    """What the market charged for it, in dollars, once that is known."""
    backend: str = ""
    image: str = ""
    """The container image that was asked for."""
    host: str = ""
    """Who runs the machine, or the machine itself; "" where neither is told."""
    waits: tuple[tuple[datetime, datetime | None], ...] = ()
    """Since when and until when it waited for the user's choice; None: it still does."""

    def waited(self, since: datetime, until: datetime) -> float:
        """Seconds between the two in which nothing was at work but the user's choice."""
        spans = (min(end or until, until) - max(begin, since) for begin, end in self.waits)
        return sum(max(span.total_seconds(), 0.0) for span in spans)

    def waits_closed(self, at: datetime) -> tuple[tuple[datetime, datetime | None], ...]:
        """Its waits, none of which lasts any longer."""
        return tuple((begin, at if end is None else end) for begin, end in self.waits)

    @property
    def had_no_machine(self) -> bool:
        """Whether it failed because somebody else was faster."""
        return self.failure is not None and self.failure.kind in NO_MACHINE

    def entered(self, phase: Phase) -> bool:
        """Whether it has come to that phase, and be it long ago."""
        return any(each is phase for each, _ in self.phases)

    def cost(self, now: datetime) -> float:
        """Dollars so far: price times the time between rent and release (or now), and what is
        downloaded once that has begun."""
        if self.rented_at is None:
            return 0.0
        until = self.released_at or now
        return self.apart_from_time + for_time(self.price_per_hour, self.rented_at, until)

    @property
    def apart_from_time(self) -> float:
        """Dollars so far that do not grow with time: of earlier sessions, and for traffic."""
        if self.expected is None or not self.entered(Phase.INSTALLING):
            return self.earlier_cost
        return self.earlier_cost + self.expected.traffic
