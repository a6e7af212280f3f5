"""What the screens draw: the state of each followed deployment, its log lines, what bills.

The store outlives screens; re-entering one shows everything. It holds no business rule: states
are folded by `gdl.domain.deployment.apply` from the orchestrator's events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime, timedelta
from itertools import islice

from gdl.domain import events as ev
from gdl.domain.attempt_state import AttemptState
from gdl.domain.benchmark import BenchReport
from gdl.domain.conversation import Conversation
from gdl.domain.deployment import DeploymentState, apply
from gdl.domain.events import Recorded
from gdl.domain.health import Check
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.phase import Billing, Phase
from gdl.orchestrator.api.views import SessionRow
from gdl.presentation.lines import plain_line
from gdl.tui.recent_samples import RecentSamples

LINES_KEPT = 20_000
CHARACTERS_KEPT = 8_000_000
"""Of each log, in memory, whichever is reached first; the whole log is a file."""
EARLIER_LINES, EARLIER_CHARACTERS, EARLIER_KEPT = 4_000, 1_000_000, 6
"""Of each log of an attempt that is over, and of how many of these."""

FINISHED_KEPT = 20
"""Deployments that are over and can still be looked at."""

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

    def shrink(self, limit: int, characters: int) -> None:
        """Keep less from now on."""
        self._limit, self._most = limit, characters
        self.extend(())

    def since(self, seen: int) -> list[str]:
        """The lines after the first `seen` ones, as far as they are still kept."""
        return list(islice(self._lines, max(seen - self.first, 0), None))


_LONGEST_HOURS = 10 * 366 * 24.0
"""No limit is counted down for longer."""


@dataclass(frozen=True, slots=True)
class Bill:
    """A machine that costs money, or may. `certain` False: nobody could confirm it. limit: dollars
    that its deployment may cost in all."""

    price_per_hour: float
    cost: float
    expires_at: datetime | None
    certain: bool
    limit: float | None = None


@dataclass(slots=True)
class AttemptLogs:
    install: LogRing = field(default_factory=LogRing)
    engine: LogRing = field(default_factory=LogRing)


@dataclass(slots=True)
class Followed:
    """One deployment: its state, its logs, and what was measured again by hand.

    logs: by the attempt's number. chosen: the earlier attempt that is looked at; None: the latest.
    usual: seconds that each phase usually takes.
    `running` names a hand-started probe ("health" or "bench") since `running_since`.
    `trouble` is why following broke off, in words.
    """

    state: DeploymentState
    logs: dict[int, AttemptLogs] = field(default_factory=dict)
    chosen: int | None = None
    usual: Mapping[Phase, float] = field(default_factory=dict)
    samples: RecentSamples = field(default_factory=RecentSamples)
    events: deque[Recorded] = field(default_factory=lambda: deque(maxlen=1000))
    trouble: str = ""
    checks: dict[str, Check] = field(default_factory=dict)
    benchmark: BenchReport | None = None
    running: str = ""
    running_since: datetime | None = None
    bench_rates: deque[float] = field(default_factory=lambda: deque(maxlen=200))
    ended: bool = False
    chat: Conversation = field(default_factory=Conversation)
    _none: AttemptLogs = field(default_factory=AttemptLogs)

    def fold(self, recorded: Recorded) -> None:
        """One more event. Raises IllegalTransition as `apply` does."""
        event = recorded.event
        if isinstance(event, ev.LogLines):
            logs = self._logs_of(event.attempt)
            ring = logs.install if event.source == "install" else logs.engine
            if event.dropped:
                ring.extend([f"[... {event.dropped} lines omitted, the file has them ...]"])
            ring.extend(event.lines)
            return
        self.state = apply(self.state, recorded)
        if isinstance(event, ev.AttemptStarted):
            self.chosen = None  # what goes on comes first
        if isinstance(event, ev.Checked):
            self.checks = dict(self.state.checks)
        elif isinstance(event, ev.BenchProgressed):
            if event.done == 0:
                self.bench_rates.clear()
            else:
                self.bench_rates.append(event.output_tokens_per_s)
        elif isinstance(event, ev.BenchFinished):
            self.benchmark = event.report
        if not isinstance(event, ev.Progressed | ev.BenchProgressed):
            self.events.append(recorded)

    def shrink(self) -> None:
        """Keep less of the logs there are."""
        for logs in self.logs.values():
            logs.install.shrink(EARLIER_LINES, EARLIER_CHARACTERS)
            logs.engine.shrink(EARLIER_LINES, EARLIER_CHARACTERS)

    def _logs_of(self, number: int) -> AttemptLogs:
        """A new attempt's make those of earlier ones shorter."""
        if number not in self.logs:
            self.shrink()
            self.logs[number] = AttemptLogs()
            while len(self.logs) > EARLIER_KEPT + 1:
                del self.logs[min(self.logs)]
        return self.logs[number]

    @property
    def shown(self) -> AttemptState | None:
        """The attempt that is looked at."""
        chosen = (a for a in self.state.attempts if a.number == self.chosen)
        return next(chosen, self.state.attempt)

    @property
    def install(self) -> LogRing:
        """Of the attempt that is looked at."""
        return self._shown_logs.install

    @property
    def engine(self) -> LogRing:
        return self._shown_logs.engine

    @property
    def _shown_logs(self) -> AttemptLogs:
        attempt = self.shown
        if attempt is not None:
            return self.logs.get(attempt.number, self._none)
        return self.logs[max(self.logs)] if self.logs else self._none

    def choose(self, by: int) -> None:
        """Look at the one `beside` the attempt that is looked at, if there is one."""
        if (other := self.beside(by)) is not None:
            self.choose_number(other.number)

    def beside(self, by: int) -> AttemptState | None:
        """The attempt before the one that is looked at, or after it. by: -1 or 1."""
        attempts, shown = self.state.attempts, self.shown
        place = attempts.index(shown) + by if shown is not None else -1
        return attempts[place] if 0 <= place < len(attempts) else None

    def choose_number(self, number: int) -> None:
        latest = self.state.attempt
        self.chosen = None if latest is not None and latest.number == number else number

    def clock(self, now: datetime) -> datetime:
        """The time up to which it ran: now, or when it finished."""
        over = self.state.finished is not None and self.events
        return self.events[-1].at if over else now

    @property
    def failed(self) -> bool:
        """Whether the attempt that is looked at failed, or waits for a choice."""
        attempt, state = self.shown, self.state
        if attempt is not state.attempt:
            return True
        over = state.finished is not None and state.finished.outcome == "failed"
        return over or state.waiting or (state.phase is Phase.FAILED and state.finished is None)

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
        self.read_again = Conversation()
        """A saved conversation that is looked at while nothing serves."""

    @property
    def conversation(self) -> Conversation:
        """What the chat shows: that with the current deployment where there is one."""
        followed = self.followed
        talks = followed is not None and (followed.holds or bool(followed.chat.turns))
        return followed.chat if followed is not None and talks else self.read_again

    def open_conversation(self, one: Conversation) -> None:
        """Have the chat show this one: to go on with where a model serves, else to be read."""
        followed = self.followed
        if followed is not None and followed.holds:
            followed.chat = one
            return
        if followed is not None and followed.chat.turns:
            followed.chat = Conversation()  # or the chat would go on showing it
        self.read_again = one

    @property
    def followed(self) -> Followed | None:
        return self.deployments.get(self.current) if self.current is not None else None

    def add(self, deployment_id: str) -> Followed:
        """Followed from now on, and the current one. Those that are over keep less, and the
        oldest of them are forgotten."""
        self.current = deployment_id
        if deployment_id not in self.deployments:
            over = [i for i, f in self.deployments.items() if f.state.finished is not None]
            for ident in over:
                self.deployments[ident].shrink()
            for ident in over[: max(len(over) - FINISHED_KEPT, 0)]:
                del self.deployments[ident]
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

    def extended(self, ident: str, until: datetime | None) -> None:
        """A session's end has been put off."""
        for row in self.sessions:
            if row.session.id == ident and until is not None:
                session = replace(row.session, expires_at=until)
                self.replace_session(replace(row, session=session))

    def replace_session(self, row: SessionRow) -> None:
        self.sessions = tuple(
            row if kept.session.id == row.session.id else kept for kept in self.sessions
        )

    def bills(self, now: datetime) -> list[Bill]:
        """What costs money now: our deployments first, then other sessions of ours."""
        rows = {row.session.id: row for row in self.sessions}
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
            listed = rows.get(attempt.session_id or "")
            if listed is not None and listed.ended and not listed.doubt:
                continue
            certain = followed.state.billing is Billing.ACTIVE
            spec = followed.state.spec
            cost = followed.state.cost(now) + (spec.spent_before if spec else 0.0)
            told = (attempt.expires_at, listed.session.expires_at if listed is not None else None)
            # It may have been put off from elsewhere; only a limit makes it earlier.
            until = max((each for each in told if each is not None), default=None)
            guarded = listed.spent_at if listed is not None else None
            limit = None
            if spec is not None and (guarded or not (spec.member or followed.state.finished)):
                # Without a guard a replica's is the fleet's, and nobody keeps to one afterwards.
                limit = spec.max_spend
            spent = None
            if limit is not None:
                left = max(limit - cost, 0.0) / attempt.price_per_hour
                spent = now + timedelta(hours=min(left, _LONGEST_HOURS))
            ends = (each for each in (until, guarded, spent) if each is not None)
            until = min(ends, default=None)
            bills.append(Bill(attempt.price_per_hour, cost, until, certain, limit))
        for row in self.sessions:
            session = row.session
            goes_on = row.doubt or not row.ended
            if session.id not in seen and goes_on and row.price_per_hour > 0:
                bills.append(
                    Bill(
                        row.price_per_hour,
                        self.cost_now(row, now),
                        row.ends_at,
                        row.billing != Billing.UNKNOWN,
                    )
                )
        return bills

    def latest(self, row: SessionRow) -> SessionRow:
        """As it was listed last."""
        found = (each for each in self.sessions if each.session.id == row.session.id)
        return next(found, row)

    def cost_now(self, row: SessionRow, now: datetime) -> float:
        """The listed cost, carried on from when it was listed while the session goes on."""
        if row.ended and not row.doubt:
            return row.cost
        since = (now - self.sessions_at).total_seconds() if self.sessions_at else 0.0
        return row.cost + row.price_per_hour * max(since, 0.0) / 3600
