"""What the terminal UI and the command line may ask for. `service.Orchestrator` is the one
that does it; the faces of the program depend on this alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from gdl.domain.backend import BackendSource
from gdl.domain.benchmark import OWN_LOAD, BenchLoad, BenchReport, Measurement
from gdl.domain.chat import ChatDone, ChatMessage, ChatPiece
from gdl.domain.deployment import DeploymentState
from gdl.domain.events import DeploymentFinished, Recorded
from gdl.domain.findings import Finding
from gdl.domain.health import Check, HealthSample
from gdl.domain.money import CostReport
from gdl.domain.offers import Exclusion, OfferQuery, RankedOffer
from gdl.domain.phase import Phase
from gdl.domain.readings import CheckRound, GpuLoad
from gdl.domain.requirements import Need
from gdl.domain.secret import Secret
from gdl.domain.session import Session
from gdl.domain.spec import DeploymentSpec


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model known by alias. Sizes in GB (10^9); None when unknown."""

    alias: str
    location: str
    source: str
    gated: bool
    parameters_b: float | None
    vram_gb: float | None
    disk_gb: int | None


@dataclass(frozen=True, slots=True)
class SizedModel:
    """What a model needs for a load. need: None when its size is not known. longest: the most
    tokens that a request to it may have, 0 when that is not known."""

    need: Need | None
    longest: int


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session and what we know of it. ours: its key is in our journal, or was until it ended.
    `cost` in dollars, from price and time. state: the backend's word, or "unknown" when the
    backend cannot be asked. public: its address on the internet, as last seen; None without one."""

    session: Session
    ours: bool
    deployment_id: str | None
    model: str | None
    endpoint: str | None
    cost: float
    billing: str
    public: str | None = None


@dataclass(frozen=True, slots=True)
class TunnelRow:
    """A tunnel that a process of its own (pid) keeps open. endpoint: as OpenAI clients want it,
    ending in /v1. api_key_file: a path on this computer."""

    session_id: str
    deployment_id: str
    model: str
    endpoint: str
    api_key_file: str
    pid: int
    since: datetime


PUBLIC_MEANS = (
    "everybody who has its address reaches the model: only its API key keeps them out,"
    " and requests pass through Cloudflare"
)
"""To be told to whoever makes an endpoint public."""


@dataclass(frozen=True, slots=True)
class PublicRow:
    """An endpoint that can be reached from everywhere. url: as OpenAI clients want it, ending in
    /v1, as last seen; "" while there is none yet. api_key_file: a path on this computer."""

    session_id: str
    deployment_id: str
    model: str
    url: str
    api_key_file: str
    since: datetime


@dataclass(frozen=True, slots=True)
class PastDeployment:
    """A past or present deployment as the journal tells it."""

    deployment_id: str
    model: str
    backend: str
    started_at: datetime
    outcome: str
    billing: str
    session_id: str | None
    cost: float


@dataclass(frozen=True, slots=True)
class ReachedEndpoint:
    """A served model as it can be asked from here. url: of the tunnel's end; price: $/h. hardware:
    such as "2 x RTX 4090"."""

    url: str
    key: Secret
    model: str
    price: float
    provider: str
    hardware: str = ""


class OrchestratorApi(Protocol):
    """All methods raise GdlError for what is expected to go wrong, and nothing else."""

    backend_name: str
    keeps: bool
    """Whether machines can go on serving when this program ends."""
    publishes: bool
    """Whether the backend takes benchmarks for others to see."""
    simulated: bool
    """Whether the backend's machines are made up."""

    async def offers(self, query: OfferQuery) -> Sequence[RankedOffer]:
        """Fresh offers, ranked: suitable ones first and cheapest first, excluded ones last."""
        ...

    def models(self) -> Sequence[ModelRow]: ...

    def size(self, query: OfferQuery) -> SizedModel:
        """What the query's model needs for its context, concurrency and quantization. Raises
        UsageError for what cannot be served on any machine."""
        ...

    async def deploy(self, spec: DeploymentSpec) -> str:
        """Start a deployment; its id. The work goes on in a task of the orchestrator's."""
        ...

    def events(self, deployment_id: str) -> AsyncIterator[Recorded]:
        """History first, then live; ends after DeploymentFinished. No gap, no duplicate."""
        ...

    def state(self, deployment_id: str) -> DeploymentState:
        """The state now: the fold of all events so far."""
        ...

    def active(self) -> Sequence[str]:
        """Ids of the deployments whose tasks run in this process, oldest first."""
        ...

    async def wait(self, deployment_id: str) -> DeploymentFinished:
        """Until it has finished."""
        ...

    async def cancel(self, deployment_id: str) -> None:
        """Stop and release; returns when it was asked for, not when it is done."""
        ...

    async def release(self, deployment_id: str) -> None:
        """End the serving of a deployment that holds, and give the machine back."""
        ...

    async def keep(self, deployment_id: str) -> None:
        """End our part of a deployment that holds; the machine goes on serving and billing."""
        ...

    async def retry(self, deployment_id: str) -> None:
        """After a failed attempt that waits for the user: the same offer again."""
        ...

    async def next_offer(self, deployment_id: str, *, exclude_provider: bool = False) -> None:
        """After a failed attempt that waits for the user: the next offer, leaving out the failed
        one, and its provider if asked."""
        ...

    async def apply_remedy(self, deployment_id: str) -> None:
        """While an attempt waits for the user with a remedy: apply it on its machine and go on.
        Every other choice gives the machine back first."""
        ...

    async def include_provider(self, deployment_id: str, provider: str) -> None:
        """Bring an excluded provider back into this deployment, for its next attempts."""
        ...

    async def set_auto_failover(self, deployment_id: str, enabled: bool) -> None:
        """Whether the next offer is taken by itself after a failure. Turned on while a failed
        attempt waits for a choice, it takes the next at once."""
        ...

    async def exclusions(self) -> Sequence[Exclusion]:
        """Who is left out of coming deployments, newest first."""
        ...

    async def exclude(self, kind: str, key: str, reason: str = "") -> Exclusion:
        """Leave out a provider, machine or offer until that is cleared. kind: those three words."""
        ...

    async def clear_exclusions(self, key: str | None = None) -> int:
        """Forget the exclusions of a provider, machine or offer, or all; how many there were.
        Raises UsageError when that key has none."""
        ...

    async def sessions(self) -> Sequence[SessionRow]: ...

    async def attach(self, ident: str) -> str:
        """Open the tunnel to a serving session again, as a deployment that holds; its id.
        `ident`: session or deployment id, or the beginning of one."""
        ...

    async def destroy(self, ident: str) -> SessionRow:
        """Release a session and wait until that is confirmed. Raises ReleaseUnconfirmed."""
        ...

    async def extend(self, ident: str, hours: int) -> datetime | None: ...

    async def costs(self) -> CostReport: ...

    async def health(self, ident: str) -> Sequence[Check]:
        """The checks, run once over a tunnel of their own."""
        ...

    def watch_health(self, ident: str) -> AsyncGenerator[tuple[HealthSample, bool]]:
        """How a session's endpoint is, a few times a second, and whether that is news; over a
        tunnel of its own, without end."""
        ...

    def health_now(self, deployment_id: str) -> HealthSample | None:
        """The latest sample of a deployment that is held in this process."""
        ...

    def gpu_now(self, deployment_id: str) -> GpuLoad | None:
        """What the GPUs do of a deployment whose server runs, or starts, in this process."""
        ...

    def check_rounds(self, deployment_id: str) -> Sequence[CheckRound]:
        """The latest rounds of health checks of a deployment of this process, oldest first."""
        ...

    async def estimates(self, deployment_id: str) -> Mapping[Phase, float]:
        """Seconds that each phase usually takes: of earlier deployments on this backend, of the
        same model where there are some. Phases never passed before are missing."""
        ...

    async def bench(self, ident: str, load: BenchLoad = OWN_LOAD) -> BenchReport:
        """The benchmark that deployments end with, or the same at another load; the report is
        kept."""
        ...

    async def keep_benchmarks(
        self,
        ident: str,
        reports: Sequence[BenchReport],
        workload: str,
        best: BenchReport | None = None,
    ) -> str:
        """Keep what was measured on a session's endpoint; one sentence on the best of it beside
        earlier ones. workload: what was asked, in a word or two."""
        ...

    async def publish(self, ident: str, report: BenchReport, workload: str) -> str:
        """Leave a benchmark of a session with the backend, for others to see; its id there. Raises
        UsageError where the backend takes none."""
        ...

    async def sweep(self, ident: str, most: int, on_point: Callable[[BenchReport], None]) -> str:
        """Measure a session's endpoint at 1, 2, 4 ... requests at a time, `most` at the most,
        until it is known which number serves best; that, in a sentence. Every point is kept."""
        ...

    async def benchmarks(
        self, model: str | None = None, gpu: str | None = None
    ) -> Sequence[Measurement]:
        """Those that were kept, newest first: of a model by its served name, of a GPU by a part
        of its name."""
        ...

    async def hold_tunnel(
        self,
        ident: str,
        port: int | None,
        tell: Callable[[str], None],
        opened: Callable[[TunnelRow], None],
    ) -> str:
        """Keep a tunnel to a session open until the session is over (why it is) or the caller is
        cancelled. port: on this computer; None takes the session's own, each time the same.
        Raises UsageError when another process holds one already."""
        ...

    async def tunnels(self) -> Sequence[TunnelRow]:
        """The tunnels that processes of their own keep open, oldest first."""
        ...

    async def stop_tunnel(self, row: TunnelRow) -> None:
        """End one of those; no error when it has ended."""
        ...

    async def make_public(self, ident: str, tell: Callable[[str], None]) -> PublicRow:
        """Give a session's endpoint an address on the internet, or tell the one it has. Raises
        UsageError for a setting or machine that it cannot be done with, MachineError when the
        endpoint answers without a key, DeployError when cloudflared cannot be had, is not the
        right file, or gets no address."""
        ...

    def watch_public(self, ident: str) -> AsyncGenerator[PublicRow]:
        """The address, now and whenever it changes; ends when it is public no more."""
        ...

    async def stop_public(self, ident: str) -> str:
        """End that; the session's id. Raises UsageError when it was not public."""
        ...

    async def public_rows(self) -> Sequence[PublicRow]:
        """The public endpoints that the journal knows of, oldest first. Asks no machine."""
        ...

    def reach(self, ident: str) -> AbstractAsyncContextManager[ReachedEndpoint]:
        """A session's endpoint, over a tunnel that lasts as long as this is entered."""
        ...

    def chat(
        self, deployment_id: str, messages: Sequence[ChatMessage]
    ) -> AsyncGenerator[ChatPiece | ChatDone]:
        """Ask the model that this deployment serves in this process; `messages` ends with the
        question. Ends with ChatDone. Raises UsageError when it does not serve here."""
        ...

    async def shell(self, ident: str) -> Sequence[str]:
        """The words of a command that opens a shell on the machine of a deployment or session.
        They name files, never secrets. Raises UsageError without ssh, MachineError without
        machine."""
        ...

    async def doctor(self) -> Sequence[Finding]: ...

    async def sources(self) -> Sequence[BackendSource]:
        """Where machines could come from, looked at now."""
        ...

    async def stories(self) -> Sequence[PastDeployment]:
        """Deployments in the journal, newest first."""
        ...

    async def bundle(self, ident: str, path: Path | None = None) -> Path:
        """Pack facts, plan, events, logs and settings of a deployment, every secret removed, into
        a new .tar.gz; its path. `ident`: deployment or session id, or the beginning of one.
        Raises UsageError when there is none, or when the file exists or cannot be written."""
        ...

    async def aclose(self) -> None:
        """Cancel what runs (which releases what was rented), then close everything."""
        ...
