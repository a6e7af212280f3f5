"""What the screens draw: the state of each followed deployment, its log lines, what bills.

The store outlives screens; re-entering one shows everything. It holds no business rule: states
are folded by `gdl.domain.deployment.apply` from the orchestrator's events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState, apply
from gdl.domain.events import Billing, Phase, Recorded
from gdl.domain.models import BenchReport, ChatDone, Check
from gdl.orchestrator.api import SessionRow
from gdl.tui.format import plain_line

LINES_KEPT = 20_000
CHARACTERS_KEPT = 8_000_000
"""Of each log, in memory, whichever is reached first; the whole log is a file."""

BILLS = frozenset({Billing.REQUESTED, Billing.ACTIVE, Billing.UNKNOWN})


class LogRing:
    """The last lines of a log. `total` counts all that ever arrived, shown or not."""

    def __init__(self, limit: int = LINES_KEPT, characters: int = CHARACTERS_KEPT) -> None:
        self._lines: deque[str] = deque()
        self._limit, self._most = limit, characters
        self._size = 0
        self.total = 0

    @property
    def first(self) -> int:
        """The number of the oldest line that is still kept, counted from 0."""
        return self.total - len(self._lines)

    def extend(self, lines: Iterable[str]) -> None:
        kept = self._lines
        before = len(kept)
        kept.extend(map(plain_line, lines))
        self.total += len(kept) - before
        self._size += sum(len(line) for line in islice(kept, before, None))
        while len(kept) > self._limit or self._size > self._most:
            self._size -= len(kept.popleft())

    def since(self, seen: int) -> list[str]:
        """The lines after the first `seen` ones, as far as they are still kept."""
        return list(islice(self._lines, max(seen - self.first, 0), None))


@dataclass(frozen=True, slots=True)
class Bill:
    """A machine that costs money, or may. `certain` False: nobody could confirm it."""

    price_per_hour: float
    cost: float
    expires_at: datetime | None
    certain: bool


@dataclass(slots=True)
class ChatTurn:
    """A question and what has come of its answer. done: its figures, once it has ended; a turn
    that was stopped has neither `done` nor `running`."""

    question: str
    asked_at: datetime
    answer: str = ""
    done: ChatDone | None = None
    running: bool = True


@dataclass(slots=True)
class Followed:
    """One deployment: its state, its logs, and what was measured again by hand.

    `running` names a hand-started probe ("health" or "bench") since `running_since`.
    `trouble` is why following broke off, in words.
    """

    state: DeploymentState
    install: LogRing = field(default_factory=LogRing)
    engine: LogRing = field(default_factory=LogRing)
    story: deque[Recorded] = field(default_factory=lambda: deque(maxlen=1000))
    trouble: str = ""
    checks: dict[str, Check] = field(default_factory=dict)
    benchmark: BenchReport | None = None
    running: str = ""
    running_since: datetime | None = None
    ended: bool = False
    chat: list[ChatTurn] = field(default_factory=list)

    def fold(self, recorded: Recorded) -> None:
        """One more event. Raises IllegalTransition as `apply` does."""
        event = recorded.event
        if isinstance(event, ev.LogLines):
            ring = self.install if event.source == "install" else self.engine
            if event.dropped:
                ring.extend([f"[... {event.dropped} lines left out, the file has them ...]"])
            ring.extend(event.lines)
            return
        self.state = apply(self.state, recorded)
        if isinstance(event, ev.Checked):
            self.checks = dict(self.state.checks)
        elif isinstance(event, ev.BenchFinished):
            self.benchmark = event.report
        if not isinstance(event, ev.Progressed | ev.BenchProgressed):
            self.story.append(recorded)

    def clock(self, now: datetime) -> datetime:
        """The time up to which it ran: now, or when it finished."""
        over = self.state.finished is not None and self.story
        return self.story[-1].at if over else now

    @property
    def holds(self) -> bool:
        """It serves, and its tunnel stays open until the user says otherwise."""
        return self.state.phase is Phase.SERVING and self.state.finished is None


class Store:
    """Everything followed in this run, oldest first, and the sessions last listed."""

    def __init__(self) -> None:
        self.deployments: dict[str, Followed] = {}
        self.current: str | None = None
        self.sessions: tuple[SessionRow, ...] = ()
        self.sessions_at: datetime | None = None

    @property
    def followed(self) -> Followed | None:
        return self.deployments.get(self.current) if self.current is not None else None

    def add(self, deployment_id: str) -> Followed:
        """Followed from now on, and the current one."""
        self.current = deployment_id
        if deployment_id not in self.deployments:
            self.deployments[deployment_id] = Followed(DeploymentState(deployment_id))
        return self.deployments[deployment_id]

    def followed_cost(self, now: datetime) -> float:
        """Dollars the current deployment has cost so far."""
        return self.followed.state.cost(now) if self.followed is not None else 0.0

    def step(self, by: int) -> None:
        """Make the next or the previous deployment the current one."""
        ids = list(self.deployments)
        if self.current in ids:
            self.current = ids[(ids.index(self.current) + by) % len(ids)]

    def list_sessions(self, rows: Sequence[SessionRow], now: datetime) -> None:
        self.sessions, self.sessions_at = tuple(rows), now

    def replace_session(self, row: SessionRow) -> None:
        self.sessions = tuple(
            row if kept.session.id == row.session.id else kept for kept in self.sessions
        )

    def bills(self, now: datetime) -> list[Bill]:
        """What costs money now: our deployments first, then other sessions of ours."""
        gone = {r.session.id for r in self.sessions if r.session.terminal}
        seen: set[str] = set()
        bills = []
        for followed in self.deployments.values():
            attempt = followed.state.attempt
            if attempt is None:
                continue
            if attempt.session_id is not None:
                seen.add(attempt.session_id)
            if followed.state.billing not in BILLS or attempt.price_per_hour <= 0:
                continue
            if followed.state.finished is not None and attempt.session_id in gone:
                continue
            certain = followed.state.billing is Billing.ACTIVE
            cost = followed.state.cost(now)
            bills.append(Bill(attempt.price_per_hour, cost, attempt.expires_at, certain))
        for row in self.sessions:
            session = row.session
            if session.id not in seen and not session.terminal and session.price_per_hour > 0:
                bills.append(
                    Bill(
                        session.price_per_hour,
                        self.cost_now(row, now),
                        session.expires_at,
                        row.billing != Billing.UNKNOWN,
                    )
                )
        return bills

    def cost_now(self, row: SessionRow, now: datetime) -> float:
        """The listed cost, carried on from when it was listed while the session goes on."""
        if row.session.terminal:
            return row.cost
        since = (now - self.sessions_at).total_seconds() if self.sessions_at else 0.0
        return row.cost + row.session.price_per_hour * max(since, 0.0) / 3600
