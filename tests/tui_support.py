"""A scripted orchestrator for the terminal UI: it replays event sequences that a test pushes,
folds them with the real `apply`, and ranks its offers with the real `rank`."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gdl.domain import events as ev
from gdl.domain.agent_settings import Served
from gdl.domain.backend import BackendSource
from gdl.domain.benchmark import (
    OWN_LOAD,
    BenchLoad,
    BenchReport,
    Measurement,
    Percentiles,
    QualityAnswer,
)
from gdl.domain.change import Change
from gdl.domain.chat import ChatDone, ChatMessage, ChatOptions, ChatPiece
from gdl.domain.decisions import AfterServing, Decision
from gdl.domain.deployment import DeploymentState, apply
from gdl.domain.errors import GdlError, HubAway, NoSuitableOffer, UsageError
from gdl.domain.events import DeploymentFinished, Event, Recorded
from gdl.domain.findings import Finding
from gdl.domain.health import Check, CheckStatus, HealthSample
from gdl.domain.host import Gpu, HostFacts
from gdl.domain.judging import Exclusions
from gdl.domain.money import Balance, CostReport
from gdl.domain.offers import Exclusion, Offer, OfferQuery, RankedOffer
from gdl.domain.phase import Billing, Phase
from gdl.domain.ranking import FitOf, Ranking, by_total
from gdl.domain.readings import CheckRound, GpuLoad, Traffic
from gdl.domain.remedies import Remedy, RemedyKind
from gdl.domain.session import Session, SessionStatus
from gdl.domain.session_price import Charged, SessionNeeds
from gdl.domain.spec import DeploymentSpec
from gdl.domain.speed import Machine, Speed
from gdl.domain.spending import Cap, Period, SpendingReport, SpendingRow
from gdl.domain.track_record import TrackRecord
from gdl.domain.transitions import TRANSITIONS
from gdl.domain.volumes import Volume
from gdl.engines.registry import get
from gdl.hub.lookup import Hub
from gdl.orchestrator.api.model_views import ModelRow, ModelVariant, SizedModel
from gdl.orchestrator.api.views import (
    ChatPartner,
    LogPart,
    PastDeployment,
    PublicRow,
    ReachedEndpoint,
    Readings,
    ResumableDeployment,
    SessionRow,
    ShellCommand,
    TunnelRow,
)
from gdl.orchestrator.api.volumes import VolumeList
from gdl.orchestrator.leasing.model_index import ModelIndex
from gdl.orchestrator.leasing.model_lookup import ModelLookup, found
from gdl.orchestrator.leasing.requirements import (
    fits_of,
    resolved,
    runs_on,
    session_needs,
    sized,
)
from gdl.settings import Hub as HubSettings
from gdl.settings import Settings
from gdl.tui.app import GdlApp
from scripted_fleets import ScriptedFleets

_FOLDERS = Path(tempfile.mkdtemp(prefix="gdl-tui-tests-"))
atexit.register(shutil.rmtree, _FOLDERS, ignore_errors=True)
_numbers = itertools.count(1)


def new_folder() -> Path:
    """A data folder that no other app has, and that is not there until something is saved."""
    return _FOLDERS / str(next(_numbers))


START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
ENDPOINT = "http://127.0.0.1:41231/v1"
KEY_FILE = "/home/me/.local/share/gdl-tui/keys/s-1.api"


class Clock:
    """Stands still until told otherwise."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def forward(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


MODELS = (
    ModelRow("smollm2-135m", "packaged/smollm2-135m", "packaged", False, 0.135, 2.1, 21),
    ModelRow("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B-Instruct", "hub", False, 0.494, 2.8, 22),
    ModelRow("tinyllama", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", "hub", False, 1.1, 4.2, 23),
    ModelRow("mistral-7b", "mistralai/Mistral-7B-Instruct-v0.3", "hub", False, 7.25, 21.4, 39),
    ModelRow("gemma-7b", "google/gemma-7b-it", "hub", True, 8.54, 30.6, 43),
)


ON_HUB = (
    ModelRow("acme/mistral-tuned-7b", "acme/mistral-tuned-7b", "hub", False, 7.25, None, None,
             size_gb=14.5, license="apache-2.0", downloads=640, fits="yes, 1 x 32k",
             told_by="search"),
    ModelRow("mistralai/Mistral-Large-4", "mistralai/Mistral-Large-4", "hub", True, 123.0, None,
             None, size_gb=246.0, license="mrl", downloads=91_300, fits="no: 228.3 GB short",
             told_by="search"),
    ModelRow("acme/mistral-embed", "acme/mistral-embed", "hub", False, 0.1, None, None,
             size_gb=0.2, license="mit", downloads=29_646_527,
             fits="no: it is for feature-extraction", told_by="search"),
)  # fmt: skip
"""What a hub's search finds for "mistral"."""


def offer(id: str, gpu: str, vram: float, price: float, provider: str, **more: Any) -> Offer:
    defaults: dict[str, Any] = {
        "backend": "shopper",
        "gpu_count": 1,
        "location": "Sweden",
        "reliability": 0.98,
        "cuda_version": 12.8,
        "machine_id": f"m-{id}",
    }
    return Offer(
        id=id,
        provider=provider,
        gpu_name=gpu,
        vram_gb=vram,
        price_per_hour=price,
        **(defaults | more),
    )


OFFERS = (
    offer("vast-101", "NVIDIA RTX 3060", 12, 0.062, "vastai", location="Poland"),
    offer("vast-102", "NVIDIA RTX 3090", 24, 0.131, "vastai", reliability=0.995),
    offer("td-7", "NVIDIA RTX A5000", 24, 0.21, "tensordock", location="Spain", cuda_version=12.4),
    offer("vast-103", "NVIDIA RTX 4090", 24, 0.289, "vastai", location="France"),
    offer("td-9", "NVIDIA RTX 4090", 24, 0.35, "tensordock", location="Texas, US"),
    offer("vast-104", "NVIDIA A100 SXM4", 80, 0.95, "vastai", location="Norway"),
    offer("td-12", "NVIDIA H100 SXM5", 80, 1.99, "tensordock", gpu_count=2, cuda_version=13.0),
    offer("blue-1", "NVIDIA L4", 24, 0.4, "bluelobster", location="Virginia, US", available=False),
    offer("blue-2", "Tesla T4", 16, 0.12, "bluelobster", reliability=None, cuda_version=None),
)


SOURCES = (
    BackendSource(
        "vastai", False, "Vast.ai", "no key: set VAST_API_KEY, or run `vastai set api-key`"
    ),
    BackendSource("runpod", False, "RunPod", "no API key: set RUNPOD_API_KEY"),
    BackendSource(
        "shopper", False, "cloud-gpu-shopper", "nothing answers at http://localhost:8080"
    ),
    BackendSource("ssh", True, "SSH hosts", "2 in ~/.ssh/config: gpu1, lab", ("gpu1", "lab")),
    BackendSource("local", True, "This computer", "CPU (8 cores, 31 GB): small models, slowly"),
    BackendSource(
        "sandbox", True, "Sandbox", "a simulated market: nothing is rented, and nothing costs money"
    ),
)


FINDINGS = (
    Finding("settings", "ok", "no configuration file: the defaults apply"),
    Finding("shopper", "fail", "nothing answers at http://localhost:8080", "start it"),
    Finding("hf_token", "warn", "not set", "gated models need HF_TOKEN"),
    Finding("ssh", "info", "OpenSSH 9.2"),
)


class ScriptedOrchestrator:
    """`push` makes a deployment's next events happen; `calls` tells what was asked, in order. The
    ports implement what the terminal UI asks for."""

    backend_name = "shopper"
    keeps = True
    publishes = True
    simulated = False
    bills = True
    open_ended: frozenset[str] = frozenset()
    guarded: frozenset[str] = frozenset()

    def __init__(self, clock: Clock | None = None, offers: Sequence[Offer] = OFFERS) -> None:
        self.clock = clock or Clock()
        self.listed = list(offers)
        self.engine = get("vllm")
        self.settings = Settings(data_dir=new_folder(), hub=HubSettings(offline=True))
        self.error: GdlError | None = None
        self.on_hub: Sequence[ModelRow] | GdlError = HubAway("offline: the hub was not asked")
        self.searches: list[str] = []
        self.agreed: float | None = None
        self.left_out: list[Exclusion] = []
        self.sample: HealthSample | None = None
        self.gpu: GpuLoad | None = None
        self.traffic: Traffic | None = None
        self.rounds: list[CheckRound] = []
        self.usual: dict[Phase, float] = {}
        self.rows: list[SessionRow] = []
        self.resumable: list[ResumableDeployment] = []
        self.measured: list[Measurement] = []
        self.specs: list[DeploymentSpec] = []
        self.calls: list[tuple[Any, ...]] = []
        self.queries: list[OfferQuery] = []
        self.gate: asyncio.Event | None = None
        self.shell_command: Sequence[str] = ("true",)
        self.around = list(SOURCES)
        self.said: list[ChatPiece | ChatDone] = []
        self.asked_with: list[ChatOptions] = []
        self.told: list[PastDeployment] = []
        self.spent: dict[Period, SpendingReport] = {}
        self.credit: dict[str, Balance] = {}
        self.away: dict[str, str] = {}
        self.kept_volumes = VolumeList()
        self.speeds: dict[tuple[str, int], float] = {}
        self.charged: dict[str, Charged] = {}
        """What earlier sessions were charged, by provider."""
        self.history: dict[str, list[Recorded]] = {}
        self.states: dict[str, DeploymentState] = {}
        self.changed: dict[str, asyncio.Event] = {}
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

    # What tests do

    def begin(self, spec: DeploymentSpec) -> str:
        ident = f"d-{len(self.history) + 1}"
        self.specs.append(spec)
        self.history[ident] = []
        self.states[ident] = DeploymentState(ident)
        self.changed[ident] = asyncio.Event()
        self.push(ident, 0, ev.DeploymentPlanned(spec, spec.model, spec.model, 1.9))
        return ident

    def push(self, ident: str, at: float, *events: Event) -> None:
        """These events happen, `at` seconds after the start."""
        for event in events:
            seq = len(self.history[ident]) + 1
            recorded = Recorded(ident, seq, START + timedelta(seconds=at), event)
            self.states[ident] = apply(self.states[ident], recorded)
            self.history[ident].append(recorded)
        changed, self.changed[ident] = self.changed[ident], asyncio.Event()
        changed.set()

    def recorded(self, ident: str) -> Sequence[Recorded]:
        return tuple(self.history[ident])

    async def aclose(self) -> None:
        return None


class ScriptedMarket:
    """Ranks what is listed by the real rules."""

    def __init__(self, o: ScriptedOrchestrator) -> None:
        self._o = o
        lookup = ModelLookup(Hub(o.settings, o.clock))
        self._index = ModelIndex(o.engine, lookup, o.settings)

    @property
    def away(self) -> Mapping[str, str]:
        return self._o.away

    async def offers(self, query: OfferQuery) -> Sequence[RankedOffer]:
        self._o.queries.append(query)
        if self._o.gate is not None:
            await self._o.gate.wait()
        if self._o.error is not None:
            raise self._o.error
        ranking = Ranking(
            self._o.listed,
            query,
            exclusions=Exclusions.of(self._o.left_out),
            hours=query.hours or 1,
            track_record=TrackRecord(tokens_per_s=self._o.speeds, charged=self._o.charged),
            needs=self._needs(query),
        )
        return ranking.ranked(self._fits(query))

    def _needs(self, query: OfferQuery) -> SessionNeeds:
        try:
            model = found(self._o.engine, query.model or "")
        except UsageError:
            return SessionNeeds()
        return session_needs(self._o.engine, model, query, self._o.settings)

    def _fits(self, query: OfferQuery) -> FitOf:
        """By the real engine; nothing is known of names that cannot be."""
        if query.model is None:
            return runs_on(self._o.engine, self._o.settings)
        try:
            model = found(self._o.engine, query.model or "")
        except UsageError:
            return by_total(None)
        return fits_of(self._o.engine, model, query, self._o.settings)

    def size(
        self, query: OfferQuery, gpu: str = "", *, check: DeploymentSpec | bool = False
    ) -> SizedModel:
        """By the real engine, without its refusal of names that cannot be."""
        if check:
            self._check(query)
        try:
            model = found(self._o.engine, query.model or "")
            told = sized(self._o.engine, query, model, self._o.settings)
        except UsageError as error:
            if not error.message.startswith("unknown model"):
                raise
            return SizedModel(None, 0)
        return replace(told, allocation=self._index.allocation(query, gpu)) if gpu else told

    def _check(self, query: OfferQuery) -> None:
        """By the real engine, likewise."""
        try:
            model = resolved(self._o.engine, found(self._o.engine, query.model or ""), query)
        except UsageError:
            return
        spec = DeploymentSpec(query.model or "", "shopper", query)
        self._o.engine.check(spec, model, self._o.settings)

    async def exclude(self, kind: str, key: str, reason: str = "", backend: str = "") -> Exclusion:
        self._o.calls.append(("exclude", kind, key))
        made = Exclusion(kind, key, reason or f"{kind} excluded by you", START, scope="user")
        self._o.left_out.append(made)
        return made

    async def clear_exclusions(self, key: str | None = None) -> int:
        self._o.calls.append(("clear_exclusions", key))
        before = len(self._o.left_out)
        self._o.left_out = [x for x in self._o.left_out if key is not None and x.key != key]
        return before - len(self._o.left_out)

    def models(self) -> Sequence[ModelRow]:
        return MODELS

    async def search(self, words: str) -> Sequence[ModelRow]:
        self._o.searches.append(words)
        if isinstance(self._o.on_hub, GdlError):
            raise self._o.on_hub
        return [row for row in self._o.on_hub if words.casefold() in row.location.casefold()]

    def answered(self, rows: Sequence[ModelRow]) -> AsyncGenerator[ModelRow]:
        return self._index.answered(rows)

    def variants(self, model: str) -> Sequence[ModelVariant]:
        return self._index.variants(model)

    async def costs(self) -> CostReport:
        return CostReport(0.0)

    async def exclusions(self) -> Sequence[Exclusion]:
        raise NotImplementedError


class ScriptedDeployments:
    """Plays what was pushed."""

    def __init__(self, o: ScriptedOrchestrator) -> None:
        self._o = o

    async def deploy(self, spec: DeploymentSpec) -> str:
        if self._o.error is not None:
            raise self._o.error
        return self._o.begin(spec)

    async def attach(self, ident: str) -> str:
        self._o.calls.append(("attach", ident))
        if not any(row.session.id == ident and row.ours for row in self._o.rows):
            raise UsageError("the key of this session is not here", "destroy it, or use its key")
        return self._o.begin(DeploymentSpec("smollm2-135m", "shopper", bench=False, attached=True))

    async def resumable(self) -> list[ResumableDeployment]:
        return self._o.resumable

    async def resume(self, ident: str, *, ask_on_failure: bool = False) -> str:
        self._o.calls.append(("resume", ident))
        return self._o.begin(DeploymentSpec("smollm2-135m", "shopper"))

    async def events(self, deployment_id: str) -> AsyncIterator[Recorded]:
        seen = 0
        while True:
            changed = self._o.changed[deployment_id]
            for recorded in self._o.history[deployment_id][seen:]:
                seen += 1
                yield recorded
                if isinstance(recorded.event, DeploymentFinished):
                    return
            if seen == len(self._o.history[deployment_id]):
                await changed.wait()

    def state(self, deployment_id: str) -> DeploymentState:
        return self._o.states[deployment_id]

    @property
    def active(self) -> Sequence[str]:
        return [ident for ident, state in self._o.states.items() if state.finished is None]

    async def wait(self, deployment_id: str) -> DeploymentFinished:
        async for recorded in self.events(deployment_id):
            if isinstance(recorded.event, DeploymentFinished):
                return recorded.event
        raise AssertionError("unfinished")

    def _finish(self, ident: str, outcome: str, phase: Phase, billing: Billing) -> None:
        state = self._o.states[ident]
        number = state.attempt.number if state.attempt else 0
        if outcome != "serving":
            if Phase.STOPPING in TRANSITIONS[state.phase]:
                self._o.push(ident, 400, ev.PhaseChanged(number, Phase.STOPPING))
            self._o.push(ident, 410, ev.BillingChanged(number, billing, "s-1"))
            self._o.push(ident, 411, ev.PhaseChanged(number, phase))
        done = DeploymentFinished(outcome, None, state.model_id, "s-1", billing, ())
        self._o.push(ident, 412, done)

    async def cancel(self, deployment_id: str) -> None:
        self._o.calls.append(("cancel", deployment_id))
        self._finish(deployment_id, "cancelled", Phase.CANCELLED, Billing.RELEASED)

    async def next_offer(self, deployment_id: str, *, other_source: bool = False) -> RankedOffer:
        """The cheapest suitable one that was not tried."""
        state = self._o.states[deployment_id]
        tried = {attempt.offer_id for attempt in state.attempts}
        query = state.spec.query if state.spec is not None else OfferQuery()
        for row in await self._o.market.offers(query):
            if row.excluded is None and row.offer.id not in tried:
                return row
        raise NoSuitableOffer("no suitable offers", "wait")

    async def decide(
        self,
        deployment_id: str,
        decision: Decision,
        *,
        max_price: float | None = None,
        change: Change | None = None,
    ) -> None:
        if change is not None:
            self._o.calls.append(("change", deployment_id, change, max_price))
            if self._o.error is not None:
                raise self._o.error
            return
        self._o.calls.append(("decide", deployment_id, decision))
        self._o.agreed = max_price
        if decision is AfterServing.RELEASE:
            self._finish(deployment_id, "released", Phase.STOPPED, Billing.RELEASED)
        elif decision is AfterServing.KEEP:
            self._finish(deployment_id, "serving", Phase.SERVING, Billing.ACTIVE)

    async def include_provider(self, deployment_id: str, provider: str) -> None:
        self._o.calls.append(("include_provider", deployment_id, provider))
        number = self._o.states[deployment_id].attempts[-1].number
        self._o.push(deployment_id, 100, ev.ExclusionLifted(number, "provider", provider))

    async def set_auto_failover(self, deployment_id: str, enabled: bool) -> None:
        self._o.calls.append(("set_auto_failover", deployment_id, enabled))
        self._o.push(deployment_id, 100, ev.AutoFailoverSet(enabled))


class ScriptedSessions:
    """The rows that a test has set."""

    asked = 0
    """How often the rows were asked for."""

    def __init__(self, o: ScriptedOrchestrator) -> None:
        self._o = o

    @property
    def away(self) -> Mapping[str, str]:
        return self._o.away

    async def rows(self) -> Sequence[SessionRow]:
        self.asked += 1
        if self._o.error is not None:
            raise self._o.error
        return self._o.rows

    async def confirm_gone(self, ident: str) -> SessionRow:
        self._o.calls.append(("confirm_gone", ident))
        row = next(row for row in self._o.rows if row.session.id == ident)
        self._o.rows = [r for r in self._o.rows if r is not row]
        return replace(row, billing="released", doubt="")

    async def ask_again(self) -> None:
        return

    async def destroy(self, ident: str, tell: Callable[[str], None] | None = None) -> SessionRow:
        self._o.calls.append(("destroy", ident))
        row = next(row for row in self._o.rows if row.session.id == ident)
        self._o.rows.remove(row)
        return row

    async def make_public(self, ident: str, tell: Callable[[str], None]) -> PublicRow:
        self._o.calls.append(("make_public", ident))
        tell("asking for an address")
        if self._o.gate is not None:
            await self._o.gate.wait()
        url = "https://an-invented-name.trycloudflare.com/v1"
        self._o.rows = [
            replace(r, public=url) if r.session.id == ident else r for r in self._o.rows
        ]
        return PublicRow(ident, "d-0", "tinyllama", url, "", self._o.clock())

    async def stop_public(self, ident: str) -> str:
        self._o.calls.append(("stop_public", ident))
        self._o.rows = [
            replace(r, public=None) if r.session.id == ident else r for r in self._o.rows
        ]
        return ident

    async def extend(self, ident: str, hours: int) -> datetime | None:
        self._o.calls.append(("extend", ident, hours))
        for number, row in enumerate(self._o.rows):
            if row.session.id == ident and row.session.expires_at is not None:
                until = row.session.expires_at + timedelta(hours=hours)
                session = replace(row.session, expires_at=until)
                self._o.rows[number] = replace(row, session=session)
                return until
        return None

    async def shell(self, ident: str, *, enter: bool = True, rank: int = 0) -> ShellCommand:
        self._o.calls.append(("shell", ident))
        return ShellCommand(tuple(self._o.shell_command))

    def watch_public(self, ident: str) -> AsyncGenerator[PublicRow]:
        raise NotImplementedError

    async def public_rows(self) -> Sequence[PublicRow]:
        raise NotImplementedError


class ScriptedEndpoints:
    """Readings and answers that a test has set."""

    def __init__(self, o: ScriptedOrchestrator) -> None:
        self._o = o

    async def health(self, ident: str) -> Sequence[Check]:
        self._o.calls.append(("health", ident))
        return [Check("health", CheckStatus.FAILED, "connection refused", 3.0)]

    async def estimates(self, deployment_id: str) -> Mapping[Phase, float]:
        return self._o.usual

    @asynccontextmanager
    async def chat(self, ident: str) -> AsyncIterator[ChatPartner]:
        async def ask(
            messages: Sequence[ChatMessage], options: ChatOptions
        ) -> AsyncGenerator[ChatPiece | ChatDone]:
            self._o.calls.append(("chat", ident, tuple(messages)))
            self._o.asked_with.append(options)
            for part in self._o.said:
                if self._o.gate is not None:
                    await self._o.gate.wait()
                yield part

        yield ChatPartner("smollm2-135m", ask)

    def watch_health(self, ident: str) -> AsyncGenerator[tuple[HealthSample, bool]]:
        raise NotImplementedError

    def reach(self, ident: str) -> AbstractAsyncContextManager[ReachedEndpoint]:
        raise NotImplementedError

    async def hold_tunnel(
        self,
        ident: str,
        port: int | None,
        tell: Callable[[str], None],
        opened: Callable[[TunnelRow], None],
    ) -> str:
        raise NotImplementedError

    async def tunnels(self) -> Sequence[TunnelRow]:
        raise NotImplementedError

    async def served(self, row: TunnelRow, path: str) -> Served:
        raise NotImplementedError

    async def stop_tunnel(self, row: TunnelRow) -> None:
        raise NotImplementedError

    def readings(self, deployment_id: str) -> Readings:
        return Readings(self._o.sample, self._o.gpu, self._o.rounds, self._o.traffic)


class ScriptedBenchmarks:
    """Reports at once, or when the gate opens."""

    def __init__(self, o: ScriptedOrchestrator) -> None:
        self._o = o

    async def bench(self, ident: str, load: BenchLoad = OWN_LOAD) -> BenchReport:
        self._o.calls.append(("bench", ident, load))
        if self._o.gate is not None:
            await self._o.gate.wait()
        return replace(REPORT, concurrency=load.concurrency)

    async def speeds(
        self, query: OfferQuery, machines: Iterable[Machine]
    ) -> Mapping[Machine, Speed]:
        return {}

    async def kept(self, model: str | None = None, gpu: str | None = None) -> Sequence[Measurement]:
        return [one for one in self._o.measured if model in (None, one.model)]

    async def sweep(self, ident: str, most: int, on_point: Callable[[BenchReport], None]) -> str:
        self._o.calls.append(("sweep", ident, most))
        for at_a_time, rate in ((1, 40.0), (2, 78.0), (4, 141.0)):
            on_point(replace(REPORT, concurrency=at_a_time, output_throughput=rate))
            if self._o.gate is not None:
                await self._o.gate.wait()
        return "best: 4 at a time, 141.0 tokens/s"

    async def keep(
        self,
        ident: str,
        reports: Sequence[BenchReport],
        workload: str,
        best: BenchReport | None = None,
    ) -> str:
        raise NotImplementedError

    async def publish(self, ident: str, report: BenchReport, workload: str) -> str:
        raise NotImplementedError


class ScriptedVolumes:
    """The volumes that a test has set."""

    def __init__(self, o: ScriptedOrchestrator) -> None:
        self._o = o
        self.keeps = True

    async def list(self) -> VolumeList:
        return self._o.kept_volumes

    async def find(self, ident: str) -> Volume:
        raise UsageError(f"no volume {ident}", "")

    async def check(self, offer_id: str, name: str) -> None:
        raise NotImplementedError

    async def make(self, offer_id: str, name: str, size_gb: int) -> Volume:
        raise NotImplementedError

    async def delete(self, ident: str) -> Volume:
        raise NotImplementedError


class ScriptedSpending:
    """What was spent, as a test has set it."""

    def __init__(self, o: ScriptedOrchestrator) -> None:
        self._o = o

    async def report(self, by: Period) -> SpendingReport:
        self._o.calls.append(("spending", by))
        return self._o.spent.get(by) or SpendingReport(by, "UTC", ())

    async def balances(self) -> dict[str, Balance]:
        return self._o.credit


class ScriptedLogs:
    """The terminal UI has the logs of its own deployments."""

    def read(
        self,
        ident: str,
        *,
        last: int | None,
        follow: bool,
        tell: Callable[[str], None],
        rank: int = 0,
    ) -> AsyncGenerator[LogPart]:
        raise NotImplementedError


class ScriptedSupport:
    """Findings and sources that a test has set."""

    def __init__(self, o: ScriptedOrchestrator) -> None:
        self._o = o

    async def doctor(self) -> Sequence[Finding]:
        return FINDINGS

    async def sources(self) -> Sequence[BackendSource]:
        self._o.calls.append(("sources",))
        return self._o.around

    async def past_deployments(self) -> Sequence[PastDeployment]:
        return self._o.told

    async def export(self, ident: str, target: str) -> str:
        raise UsageError(f"no deployment {ident}", "")

    async def bundle(self, ident: str, path: Path | None = None) -> Path:
        raise UsageError(f"no deployment {ident}", "")


def spent_so_far() -> dict[Period, SpendingReport]:
    """Two days on two backends, near the day's cap."""
    rows = (
        SpendingRow("2026-01-02", "vastai", 4.2, 4.32),
        SpendingRow("2026-01-01", "runpod", 0.4),
        SpendingRow("2026-01-01", "vastai", 11.07, 10.95),
    )
    caps = (
        Cap("day", 5.0, 4.2, 0.4, START + timedelta(hours=12)),
        Cap("month", 100.0, 15.67, 0.4, START + timedelta(days=30)),
    )
    silent = {"runpod": "HTTP 503"}
    left = {"vastai": Balance(3.1)}
    return {"day": SpendingReport("day", "CET, UTC+01:00", rows, caps, ("s-9",), left, silent)}


def make_app(
    orchestrator: ScriptedOrchestrator | None = None,
    *,
    read_only: bool = False,
    data_dir: Path | None = None,
) -> tuple[GdlApp, ScriptedOrchestrator]:
    """An app with a frozen clock and nothing that moves by itself. data_dir: where it may write;
    without one it keeps nothing."""
    orchestrator = orchestrator or ScriptedOrchestrator()
    settings = Settings(
        backend="shopper",
        data_dir=data_dir or new_folder(),
        save_chats=data_dir is not None,
        read_only=read_only,
        hours=2,
    )
    app = GdlApp(
        orchestrator, settings, clock=orchestrator.clock, version="0.1.0", reduced_motion=True
    )
    return app, orchestrator


# Event sequences

SPEC = DeploymentSpec("smollm2-135m", "shopper", OfferQuery(model="smollm2-135m"), hours=1)
FACTS = HostFacts(
    os="Ubuntu 22.04",
    arch="x86_64",
    cpu_count=16,
    ram_gib=62.8,
    disk_free_gib=81.0,
    pythons=("3.11.7",),
    gpus=(Gpu("NVIDIA GeForce RTX 3090", 24576, "8.6"),),
    driver="560.35.03",
    cuda="12.6",
    has_uv=True,
    home="/root",
    user="root",
)
PIP_LINES = (
    "Using CPython 3.12.7",
    "Creating virtual environment at: .venv",
    "Resolved 171 packages in 1.92s",
    "Downloading torch (858.1MiB)",
    "Downloading nvidia-cudnn-cu12 (674.0MiB)",
    "Downloading vllm (423.6MiB), the wheel that holds the compiled kernels for this GPU",
)
VLLM_LINES = (
    "INFO 03-01 12:03:11 [api_server.py:1351] vLLM API server version 0.10.2",
    "INFO 03-01 12:03:18 [model.py:547] Resolved architecture: LlamaForCausalLM",
    "INFO 03-01 12:03:24 [weight_utils.py:392] Time spent downloading weights: 4.1 seconds",
    "Loading safetensors checkpoint shards: 100% Completed | 1/1 [00:00<00:00, 3.55it/s]",
    "INFO 03-01 12:03:29 [gpu_worker.py:298] Available KV cache memory: 19.62 GiB",
    "INFO:     Application startup complete.",
)


def renting(n: int = 1, which: Offer = OFFERS[1]) -> list[Event]:
    return [
        ev.AttemptStarted(
            n,
            which.id,
            which.provider,
            which.gpu_name,
            which.gpu_count,
            which.vram_gb,
            which.price_per_hour,
            which.location,
        ),
        ev.PhaseChanged(n, Phase.RENTING),
        ev.BillingChanged(n, Billing.REQUESTED),
        ev.Progressed(n, "waiting for the machine to boot"),
    ]


def rented(n: int = 1, which: Offer = OFFERS[1]) -> list[Event]:
    return [
        ev.SessionRented(
            n, f"s-{n}", which.provider, which.price_per_hour, START + timedelta(minutes=60)
        ),
        ev.BillingChanged(n, Billing.ACTIVE, f"s-{n}"),
        ev.PhaseChanged(n, Phase.CONNECTING),
    ]


def to_installing(
    o: ScriptedOrchestrator,
    ident: str,
    n: int = 1,
    start: float = 1.0,
    which: Offer | None = None,
) -> None:
    """An attempt on its way, in the middle of the second of three steps."""
    which = which or OFFERS[n]
    o.push(ident, start, ev.OffersRanked(6, 3, ("2 not available", "1 too expensive")))
    o.push(ident, start + 1, *renting(n, which))
    o.push(ident, start + 24, *rented(n, which))
    o.push(ident, start + 39, ev.PhaseChanged(n, Phase.PREFLIGHT), ev.HostInspected(n, FACTS))
    o.push(ident, start + 41, ev.PhaseChanged(n, Phase.INSTALLING))
    o.push(ident, start + 41, ev.StepStarted(n, "venv", "create environment", 1, 3))
    o.push(ident, start + 43, ev.StepFinished(n, "venv", "done", 2.1))
    o.push(ident, start + 43, ev.StepStarted(n, "vllm", "install vLLM", 2, 3))
    o.push(ident, start + 60, ev.LogLines(n, "install", PIP_LINES, 0))
    o.push(ident, start + 61, ev.Progressed(n, "downloading vllm, 423.6 MiB", 0.45))


def to_serving(
    o: ScriptedOrchestrator, ident: str, n: int = 1, start: float = 0.0, which: Offer = OFFERS[1]
) -> None:
    def push(at: float, *events: Event) -> None:
        o.push(ident, start + at, *events)

    to_installing(o, ident, n, start + 1, which)
    push(120, ev.StepFinished(n, "vllm", "done", 78.0))
    push(120, ev.StepStarted(n, "check", "check the import", 3, 3))
    push(128, ev.StepFinished(n, "check", "done", 8.0))
    push(128, ev.PhaseChanged(n, Phase.STARTING))
    push(131, ev.PhaseChanged(n, Phase.LOADING))
    push(150, ev.LogLines(n, "engine", VLLM_LINES, 0))
    push(170, ev.TunnelOpened(n, ENDPOINT, "forward", KEY_FILE))
    push(170, ev.PhaseChanged(n, Phase.VERIFYING))
    push(171, *(ev.Checked(n, check) for check in CHECKS))
    push(175, *(ev.QualityAnswered(n, answer) for answer in ANSWERS))
    push(180, ev.BenchFinished(n, REPORT))
    push(180, ev.PhaseChanged(n, Phase.SERVING))


def to_failed(o: ScriptedOrchestrator, ident: str) -> None:
    to_installing(o, ident)
    o.push(ident, 90, ev.StepFinished(1, "vllm", "failed", 48.0, "exit status 1"))
    o.push(
        ident,
        90,
        ev.Diagnosed(
            1,
            "The machine's disk is too small for vLLM and its libraries.",
            "Take the next offer with a bigger disk.",
            (
                "error: failed to write to file `.venv/lib/libtorch_cuda.so`",
                "OSError: [Errno 28] No space left on device",
            ),
            "disk_full",
        ),
        ev.AttemptFailed(
            1, Phase.INSTALLING, "deploy", "step install vLLM ended with exit status 1", ""
        ),
        ev.PhaseChanged(1, Phase.FAILED),
        ev.BillingChanged(1, Billing.RELEASED, "s-1"),
    )


def to_waiting(o: ScriptedOrchestrator, ident: str) -> None:
    """The first attempt failed, and the user is asked what next."""
    to_failed(o, ident)
    o.push(ident, 91, ev.ChoiceAwaited(1))


def to_remedy(o: ScriptedOrchestrator, ident: str) -> None:
    """The server did not start; the machine is still rented, and a remedy can be applied on it."""
    to_installing(o, ident)
    remedy = Remedy(RemedyKind.FLAG, "--max-model-len", "2048")
    o.push(
        ident,
        90,
        ev.PhaseChanged(1, Phase.STARTING),
        ev.Diagnosed(
            1,
            "The context asked for is longer than the model's own.",
            "Lower --max-model-len to 2048.",
            ("ValueError: User-specified max_model_len (4096) is greater than the derived",),
            "context-too-long",
            remedy,
        ),
        ev.ChoiceAwaited(1, remedy),
    )


SSH_DEAD = "SSH did not answer within 10 min"


def to_third_attempt(o: ScriptedOrchestrator, ident: str) -> None:
    """A stale offer, then a machine whose SSH is dead, then one that serves."""
    stale = "the offer is gone: it was rented by somebody else"
    o.push(ident, 1, ev.OffersRanked(6, 3, ("2 not available", "1 too expensive")))
    o.push(ident, 2, *renting(1, OFFERS[0]))
    o.push(
        ident,
        3,
        ev.AttemptFailed(1, Phase.RENTING, "offer_gone", stale, "take the next offer"),
        ev.PhaseChanged(1, Phase.FAILED),
        ev.ExclusionSet(1, "offer", OFFERS[0].id, stale, None, False),
        ev.BillingChanged(1, Billing.NONE),
    )
    o.push(ident, 4, *renting(2, OFFERS[1]))
    o.push(ident, 20, *rented(2, OFFERS[1]))
    o.push(
        ident,
        620,
        ev.AttemptFailed(2, Phase.CONNECTING, "ssh", SSH_DEAD, "take another provider"),
        ev.PhaseChanged(2, Phase.FAILED),
        ev.ExclusionSet(2, "provider", OFFERS[1].provider, f"SSH error on {OFFERS[1].id}", None,
                        False),
        ev.BillingChanged(2, Billing.RELEASED, "s-2"),
    )  # fmt: skip
    to_serving(o, ident, 3, 622.0, OFFERS[2])


CHECKS = (
    Check("gpu", CheckStatus.PASSED, "RTX 3090, 21.8 of 24.0 GiB in use, 41 °C", 210.0),
    Check("process", CheckStatus.PASSED, "pid 2114, up 58 s", 180.0),
    Check("health", CheckStatus.PASSED, "200 OK", 31.0),
    Check("models", CheckStatus.PASSED, "smollm2-135m", 33.0),
    Check("inference", CheckStatus.PASSED, "“The capital of France is Paris.”", 412.0),
)
ANSWERS = (
    QualityAnswer(
        "knowledge", "What is the capital of France?", "The capital of France is Paris.",
        ("paris",), True, 41.0, 142.0, 8,
    ),
    QualityAnswer(
        "arithmetic", "What is 17 + 25? Answer with the number.", "42",
        ("42",), True, 39.0, 140.1, 3,
    ),
    QualityAnswer(
        "reasoning", "Tom is taller than Ann. Who is shorter?", "Tom is the shorter one.",
        ("ann",), False, 40.2, 139.0, 7,
    ),
    QualityAnswer("code", "Write a Python function that adds two numbers.",
                  "def add(a, b):\n    return a + b", ("def", "return"), True, 42.0, 141.0, 24),
    QualityAnswer("format", "Name three colours, separated by commas.",
                  "red, green, blue", ("red", "blue"), True, 40.0, 143.0, 6),
)  # fmt: skip
REPORT = BenchReport(
    model="smollm2-135m",
    completed=6,
    failed=0,
    duration_s=3.9,
    input_tokens=212,
    output_tokens=304,
    request_throughput=1.54,
    output_throughput=141.3,
    ttft_ms=Percentiles(41.2, 40.5, 48.9, 50.1),
    tpot_ms=Percentiles(7.1, 7.0, 7.8, 8.0),
    e2el_ms=Percentiles(402.0, 371.0, 1220.0, 1300.0),
    quality_passed=4,
    quality_total=5,
    cost_per_million=0.26,
)


def session_row(ident: str, *, ours: bool, gpu: str = "NVIDIA RTX 4090") -> SessionRow:
    session = Session(
        ident,
        "shopper",
        "vastai",
        SessionStatus.RUNNING,
        gpu,
        1,
        0.289,
        created_at=START - timedelta(minutes=30),
        expires_at=START + timedelta(minutes=107),
    )
    return SessionRow(
        session, ours, "d-9" if ours else None, "tinyllama" if ours else None, None, 0.14, "active",
        extends=True,
    )  # fmt: skip


def measured(
    gpu: str, price: float, rates: dict[int, float], model: str = "smollm2-135m"
) -> list[Measurement]:
    """A sweep of one machine, best point last: output tokens a second by requests at a time."""
    found = []
    for number, (at_a_time, rate) in enumerate(rates.items()):
        ttft = 20.0 + 9.0 * at_a_time
        report = replace(
            REPORT,
            concurrency=at_a_time,
            output_throughput=rate,
            ttft_ms=Percentiles(ttft, ttft, ttft * 1.4, ttft * 1.9),
            cost_per_million=price / 3600 / rate * 1e6,
        )
        at = START - timedelta(minutes=number)
        last = number == len(rates) - 1
        found.append(
            Measurement(at, "d-1", "s-1", "shopper", model, gpu, 1, "vastai", price,
                        "builtin, out 64", report, last)
        )  # fmt: skip
    return found
