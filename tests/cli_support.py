"""An orchestrator that plays a written deployment, and the command line on top of it.

As a program (`python cli_support.py SCENARIO ARGUMENTS...`) it is the real command line with this
orchestrator, for tests that send real signals. Its calls go, one a line, to $CLI_CALLS.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gdl.cli.runtime import Opener
from gdl.domain import events as ev
from gdl.domain.benchmark import OWN_LOAD, BenchLoad, BenchReport, Percentiles, QualityAnswer
from gdl.domain.decisions import AfterServing, Decision
from gdl.domain.deployment import DeploymentState, apply
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.events import DeploymentFinished, Recorded
from gdl.domain.findings import Finding
from gdl.domain.health import Check, CheckStatus
from gdl.domain.host import HostFacts
from gdl.domain.money import Balance, CostReport
from gdl.domain.offers import Exclusion, Offer, OfferQuery, RankedOffer
from gdl.domain.phase import Billing, Phase
from gdl.domain.ranking import rank
from gdl.domain.session import Session, SessionStatus
from gdl.domain.spec import DeploymentSpec
from gdl.domain.speed import Figure, Machine, Served, Speed, speed
from gdl.domain.spending import Period, SpendingReport
from gdl.domain.summary import AttemptSummary
from gdl.domain.volumes import Volume
from gdl.orchestrator.api.model_views import ModelRow, SizedModel
from gdl.orchestrator.api.ports import OrchestratorApi
from gdl.orchestrator.api.views import LogPart, PastDeployment, ResumableDeployment, SessionRow
from gdl.orchestrator.api.volumes import VolumeList
from scripted_fleets import ScriptedFleets

ID = "20260101-120000-abcdef"
REPORT = BenchReport(
    model="smollm2",
    completed=5,
    failed=0,
    duration_s=2.5,
    input_tokens=100,
    output_tokens=250,
    request_throughput=2.0,
    output_throughput=100.0,
    ttft_ms=Percentiles(20.0, 19.0, 30.0, 31.0),
    quality_passed=4,
    quality_total=5,
    cost_per_million=1.11,
)
PARIS = QualityAnswer(
    "fact",
    "What is the capital of France?",
    "The capital of France is Paris.",
    ("Paris",),
    True,
    21.0,
    50.0,
    8,
)

UP_TO_INSTALL: tuple[ev.Event, ...] = (
    ev.OffersRanked(2, 1, ("1 too expensive",)),
    ev.AttemptStarted(1, "offer-1", "vastai", "RTX 4090", 1, 24.0, 0.4, "Finland"),
    ev.PhaseChanged(1, Phase.RENTING, "RTX 4090 at $0.400/h"),
    ev.BillingChanged(1, Billing.REQUESTED),
    ev.SessionRented(1, "sess-1", "vastai", 0.4),
    ev.BillingChanged(1, Billing.ACTIVE, "sess-1"),
    ev.PhaseChanged(1, Phase.CONNECTING, "root@198.51.100.7:22"),
    ev.PhaseChanged(1, Phase.PREFLIGHT),
    ev.HostInspected(1, HostFacts("Debian 12", "x86_64", 2, 24.0, 100.0, ("3.11.7",))),
    ev.PhaseChanged(1, Phase.INSTALLING, "vllm 0.32.0 by uv"),
    ev.StepStarted(1, "vllm", "install vLLM", 1, 1),
    ev.LogLines(1, "install", ("Resolved 150 packages", "\x1b[31mred\x1b[0m \u202eevil"), 0, 7),
)
TO_SERVING: tuple[ev.Event, ...] = (
    ev.StepFinished(1, "vllm", "done", 74.2),
    ev.PhaseChanged(1, Phase.STARTING),
    ev.Progressed(1, "loading the model, 3 s", 0.5),
    ev.TunnelOpened(1, "http://127.0.0.1:40404/v1", "forward", "/keys/a b.api"),
    ev.PhaseChanged(1, Phase.VERIFYING),
    ev.Checked(1, Check("health", CheckStatus.PASSED, "HTTP 200", 12.0)),
    ev.PhaseChanged(1, Phase.SERVING, "http://127.0.0.1:40404/v1"),
    ev.QualityAnswered(1, PARIS),
    ev.BenchFinished(1, REPORT),
)
RELEASED: tuple[ev.Event, ...] = (
    ev.PhaseChanged(1, Phase.STOPPING),
    ev.BillingChanged(1, Billing.RELEASED),
    ev.PhaseChanged(1, Phase.STOPPED),
)
HOLD = ev.Noted("info", "holding the tunnel open")


def finished(outcome: str, billing: Billing, kind: str = "", error: str = "") -> ev.Event:
    """The last event of a deployment with one attempt."""
    summary = AttemptSummary(
        1, "offer-1", "vastai", "RTX 4090", 1, 0.4, "sess-1", "SERVING", outcome, error, 90.0, 0.01
    )
    return DeploymentFinished(
        outcome,
        "http://127.0.0.1:40404/v1",
        "smollm2",
        "sess-1",
        billing,
        (summary,),
        REPORT,
        error or None,
        "try another machine" if error else None,
        kind,
    )


def failing(kind: str, billing: Billing = Billing.RELEASED) -> tuple[ev.Event, ...]:
    """A deployment whose only attempt fails while it installs."""
    return (
        *UP_TO_INSTALL,
        ev.Diagnosed(1, "the disk is full", "ask for a bigger disk", ("No space left",)),
        ev.AttemptFailed(1, Phase.INSTALLING, kind, "step vllm failed", "look at its log"),
        ev.PhaseChanged(1, Phase.FAILED),
        ev.BillingChanged(1, billing),
        finished("failed", billing, kind, "step vllm failed"),
    )


def on_own(events: tuple[ev.Event, ...]) -> tuple[ev.Event, ...]:
    """The same on a machine for which nobody bills."""
    return tuple(
        replace(each, billing=Billing.NONE) if isinstance(each, ev.BillingChanged) else each
        for each in events
    )


@dataclass
class Scenario:
    """events: played at once. cancelled: played after a cancel, None: nothing happens then.
    holds: after the events a release or keep is waited for."""

    events: tuple[ev.Event, ...]
    cancelled: tuple[ev.Event, ...] | None = (
        ev.PhaseChanged(1, Phase.CANCELLED),
        ev.BillingChanged(1, Billing.RELEASED),
        finished("cancelled", Billing.RELEASED),
    )
    holds: bool = False
    fails: GdlError | None = None
    resumable: tuple[ResumableDeployment, ...] = ()


SCENARIOS = {
    "destroy": Scenario(
        (*UP_TO_INSTALL, *TO_SERVING, *RELEASED, finished("released", Billing.RELEASED))
    ),
    "keep": Scenario((*UP_TO_INSTALL, *TO_SERVING, finished("serving", Billing.ACTIVE))),
    "hold": Scenario((*UP_TO_INSTALL, *TO_SERVING, HOLD), holds=True),
    "busy": Scenario(UP_TO_INSTALL),
    # Ends by itself, with nothing rented, as it is cancelled.
    "taken": Scenario(
        (),
        cancelled=(
            DeploymentFinished(
                "failed", None, "m", None, Billing.NONE, (), error="taken", kind="offer_taken"
            ),
        ),
    ),
    # More than a pipe holds.
    "talks": Scenario((*UP_TO_INSTALL, *(ev.Noted("info", "x" * 3000) for _ in range(100)))),
    "stuck": Scenario(UP_TO_INSTALL, cancelled=None),
    "stuck on own": Scenario(on_own(UP_TO_INSTALL), cancelled=None),
    "stuck without": Scenario((), cancelled=None),
    "hold own": Scenario((*on_own(UP_TO_INSTALL), *TO_SERVING, HOLD), holds=True),
    # It ends in doubt, and then closing takes for ever.
    "unsure": Scenario(failing("deploy", Billing.UNKNOWN), cancelled=None),
}


@dataclass
class Scripted:
    """As much of the ports as the command line asks for. `calls` tells what was asked of it,
    in order."""

    scenario: Scenario
    calls: list[str] = field(default_factory=list)
    offered: tuple[Offer, ...] = ()
    rows: tuple[SessionRow, ...] = ()
    figures: tuple[Figure, ...] = ()
    findings: tuple[Finding, ...] = ()
    checks: tuple[Check, ...] = ()
    left_out: tuple[Exclusion, ...] = ()
    spent: SpendingReport | None = None
    kept_volumes: VolumeList = field(default_factory=VolumeList)
    spec: DeploymentSpec | None = None
    backend_name: str = "shopper"
    away: dict[str, str] = field(default_factory=dict)
    keeps: bool = True
    simulated: bool = False
    bills: bool = False
    open_ended: frozenset[str] = frozenset()
    guarded: frozenset[str] = frozenset()
    history: list[Recorded] = field(default_factory=list)
    state: DeploymentState = field(default_factory=lambda: DeploymentState(ID))
    more: asyncio.Event = field(default_factory=asyncio.Event)
    holding: bool = False

    def __post_init__(self) -> None:
        self.market = ScriptedMarket(self)
        self.deployments = self.resumption = ScriptedDeployments(self)
        self.sessions = ScriptedSessions(self)
        self.endpoints = ScriptedEndpoints(self)
        self.benchmarks = ScriptedBenchmarks(self)
        self.spending = ScriptedSpending(self)
        self.volumes = ScriptedVolumes(self)
        self.fleets = ScriptedFleets()
        self.support = ScriptedSupport(self)
        self.logs = ScriptedLogs()

    cost_report = CostReport(1.5, session_count=2, hours_used=3.0, by_provider={"vastai": 1.5})

    def call(self, name: str) -> None:
        self.calls.append(name)
        if path := os.environ.get("CLI_CALLS"):
            with Path(path).open("a") as file:
                file.write(name + "\n")

    def emit(self, *events: ev.Event) -> None:
        for event in events:
            at = datetime.now(UTC)
            recorded = Recorded(ID, len(self.history) + 1, at, event)
            self.state = apply(self.state, recorded)
            self.history.append(recorded)
        self.more.set()

    async def aclose(self) -> None:
        self.call("aclose")
        if self.scenario.cancelled is None:
            await asyncio.Event().wait()


class ScriptedMarket:
    """Offers, models and exclusions."""

    def __init__(self, o: Scripted) -> None:
        self._o = o

    @property
    def away(self) -> dict[str, str]:
        return self._o.away

    async def offers(self, query: OfferQuery) -> Sequence[RankedOffer]:
        self._o.call("offers")
        return rank(self._o.offered, query)

    def models(self) -> Sequence[ModelRow]:
        return [ModelRow("smollm2-135m", "packaged", "packaged", False, 0.135, 2.1, 20)]

    def size(
        self, query: OfferQuery, gpu: str = "", *, check: DeploymentSpec | bool = False
    ) -> SizedModel:
        return SizedModel(None, 0)

    async def exclusions(self) -> Sequence[Exclusion]:
        return self._o.left_out

    async def exclude(self, kind: str, key: str, reason: str = "") -> Exclusion:
        self._o.call(f"exclude {kind} {key}")
        return Exclusion(kind, key, reason, datetime.now(UTC), scope="user")

    async def clear_exclusions(self, key: str | None = None) -> int:
        self._o.call(f"clear {key}")
        return len(self._o.left_out)

    async def costs(self) -> CostReport:
        return self._o.cost_report


class ScriptedDeployments:
    """Plays the scenario."""

    def __init__(self, o: Scripted) -> None:
        self._o = o

    async def deploy(self, spec: DeploymentSpec) -> str:
        self._o.call("deploy")
        if self._o.scenario.fails is not None:
            raise self._o.scenario.fails
        self._o.spec = spec
        self._o.emit(ev.DeploymentPlanned(spec, "hub/smollm2", "smollm2"), *self._o.scenario.events)
        self._o.holding = self._o.scenario.holds
        return ID

    async def attach(self, ident: str) -> str:
        self._o.call(f"attach {ident}")
        spec = DeploymentSpec(model="smollm2", backend="shopper", bench=False, after="hold")
        return await self.deploy(spec)

    async def resumable(self) -> Sequence[ResumableDeployment]:
        return self._o.scenario.resumable

    async def resume(self, ident: str, *, ask_on_failure: bool = False) -> str:
        self._o.call(f"resume {ident}")
        spec = DeploymentSpec(model="smollm2", backend="shopper", bench=False, after="hold")
        return await self.deploy(spec)

    async def events(self, deployment_id: str) -> AsyncIterator[Recorded]:
        seq = 0
        while True:
            while seq < len(self._o.history):
                seq += 1
                yield self._o.history[seq - 1]
            if self._o.state.finished is not None:
                return
            self._o.more.clear()
            await self._o.more.wait()

    def state(self, deployment_id: str) -> DeploymentState:
        return self._o.state

    @property
    def active(self) -> Sequence[str]:
        return [] if self._o.state.finished else [ID]

    async def wait(self, deployment_id: str) -> DeploymentFinished:
        async for recorded in self.events(deployment_id):
            if isinstance(recorded.event, DeploymentFinished):
                return recorded.event
        raise GdlError("no end")

    async def cancel(self, deployment_id: str) -> None:
        self._o.call("cancel")
        if self._o.scenario.cancelled is not None and self._o.state.finished is None:
            self._o.emit(*self._o.scenario.cancelled)

    async def decide(self, deployment_id: str, decision: Decision) -> None:
        self._o.call(decision.value)
        if not isinstance(decision, AfterServing):
            raise UsageError("not waiting")
        if not self._o.holding:
            raise UsageError("not held open", "cancel it instead")
        if decision is AfterServing.KEEP and not self._o.keeps:
            raise UsageError("the machines of this backend end with this program", "release it")
        self._o.holding = False
        if decision is AfterServing.KEEP:
            self._o.emit(finished("serving", Billing.ACTIVE))
        else:
            self._o.emit(*RELEASED, finished("released", Billing.RELEASED))


class ScriptedSessions:
    """The rows of the test."""

    def __init__(self, o: Scripted) -> None:
        self._o = o

    @property
    def away(self) -> dict[str, str]:
        return self._o.away

    async def rows(self) -> Sequence[SessionRow]:
        self._o.call("sessions")
        return self._o.rows

    async def confirm_gone(self, ident: str) -> SessionRow:
        self._o.call(f"confirm_gone {ident}")
        return replace(self._o.rows[0], billing="released", doubt="")

    async def destroy(self, ident: str, tell: Callable[[str], None] | None = None) -> SessionRow:
        self._o.call(f"destroy {ident}")
        if self._o.scenario.fails is not None:
            raise self._o.scenario.fails
        if self._o.scenario.cancelled is None:
            await asyncio.Event().wait()
        return replace(self._o.rows[0], billing="released")

    async def extend(self, ident: str, hours: int) -> datetime | None:
        self._o.call(f"extend {ident} {hours}")
        return datetime(2026, 1, 1, 15, tzinfo=UTC)


class ScriptedEndpoints:
    """The checks of the test."""

    def __init__(self, o: Scripted) -> None:
        self._o = o

    async def health(self, ident: str) -> Sequence[Check]:
        return self._o.checks


class ScriptedBenchmarks:
    """One report."""

    def __init__(self, o: Scripted) -> None:
        self._o = o

    async def bench(self, ident: str, load: BenchLoad = OWN_LOAD) -> BenchReport:
        self._o.call(f"bench {ident}")
        return REPORT

    async def speeds(
        self, query: OfferQuery, machines: Iterable[Machine]
    ) -> Mapping[Machine, Speed]:
        load = Served(query.concurrency or 4, 16.0)
        found = {each: speed(each, load, self._o.figures) for each in machines}
        return {each: told for each, told in found.items() if told is not None}


class ScriptedVolumes:
    """The volumes that a test has set."""

    def __init__(self, o: Scripted) -> None:
        self._o = o
        self.keeps = True

    async def list(self) -> VolumeList:
        return self._o.kept_volumes

    async def find(self, ident: str) -> Volume:
        for row in self._o.kept_volumes.rows:
            if ident in (row.volume.id, row.volume.name):
                return row.volume
        raise UsageError(f"no volume {ident}", "`gdl-tui volumes` lists them")

    async def check(self, offer_id: str, name: str) -> None:
        if offer_id not in (offer.id for offer in self._o.offered):
            raise UsageError(f"offer {offer_id} is not listed", "`gdl-tui offers` lists them")

    async def make(self, offer_id: str, name: str, size_gb: int) -> Volume:
        self._o.call(f"make {name} {size_gb} {offer_id}")
        return Volume("v-9", "vastai", name, size_gb, 0.01, "11")

    async def delete(self, ident: str) -> Volume:
        self._o.call(f"delete {ident}")
        return await self.find(ident)


class ScriptedSpending:
    """What was spent, as a test has set it."""

    def __init__(self, o: Scripted) -> None:
        self._o = o

    async def report(self, by: Period) -> SpendingReport:
        self._o.call(f"spending {by}")
        return self._o.spent or SpendingReport(by, "UTC", ())

    async def balances(self) -> dict[str, Balance]:
        return {}


class ScriptedLogs:
    """Nothing was written."""

    async def read(
        self,
        ident: str,
        *,
        last: int | None,
        follow: bool,
        tell: Callable[[str], None],
        rank: int = 0,
    ) -> AsyncIterator[LogPart]:
        raise UsageError(f"no session {ident}", "")
        yield


class ScriptedSupport:
    """The findings of the test."""

    def __init__(self, o: Scripted) -> None:
        self._o = o

    async def doctor(self) -> Sequence[Finding]:
        return self._o.findings

    async def past_deployments(self) -> Sequence[PastDeployment]:
        return ()

    async def export(self, ident: str, target: str) -> str:
        raise UsageError(f"no deployment {ident}", "")

    async def bundle(self, ident: str, path: Path | None = None) -> Path:
        raise UsageError(f"no deployment {ident}", "")


def offer(ident: str, price: float, **changes: object) -> Offer:
    base = Offer(ident, "shopper", "vastai", "RTX 4090", 1, 24.0, price, "Finland", 0.99)
    return replace(base, **changes)  # type: ignore[arg-type]


def session_row(ident: str = "sess-1") -> SessionRow:
    now = datetime.now(UTC)
    session = Session(
        ident,
        "shopper",
        "vastai",
        SessionStatus.RUNNING,
        "RTX 4090",
        1,
        0.4,
        created_at=now,
        expires_at=now + timedelta(minutes=47, seconds=30),
    )
    return SessionRow(session, True, ID, "smollm2", None, 0.04, "active")


def opener_of(scripted: Scripted) -> Opener:
    """What the command line opens instead of the real orchestrator."""

    @asynccontextmanager
    async def opener(settings: object, **_: object) -> AsyncIterator[OrchestratorApi]:
        try:
            yield scripted  # type: ignore[misc]
        finally:
            await scripted.aclose()

    return opener


if __name__ == "__main__":
    from gdl.cli.app import run

    played = Scripted(
        SCENARIOS[sys.argv[1]],
        rows=(session_row(),),
        offered=(offer("o-1", 0.35), offer("o-2", 0.4), offer("o-3", 0.52)),
        bills="CLI_BILLS" in os.environ,
        keeps="CLI_ENDS_WITH_IT" not in os.environ,
    )
    sys.exit(run(sys.argv[2:], opener=opener_of(played), alone=True))
