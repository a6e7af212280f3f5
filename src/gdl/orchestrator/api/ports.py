"""What the terminal UI and the command line may ask for: eleven ports, and nothing beside them.

All methods raise GdlError for what is expected to go wrong, and nothing else. `ident` is the id of
a session or of its deployment, or the beginning of one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from gdl.domain.agent_settings import Served
from gdl.domain.benchmark import OWN_LOAD, BenchLoad, BenchReport, Measurement
from gdl.domain.change import Change
from gdl.domain.decisions import Decision
from gdl.domain.deployment import DeploymentState
from gdl.domain.events import DeploymentFinished, Recorded
from gdl.domain.health import Check, HealthSample
from gdl.domain.offers import OfferQuery, RankedOffer
from gdl.domain.phase import Phase
from gdl.domain.spec import DeploymentSpec
from gdl.domain.speed import Machine, Speed
from gdl.orchestrator.api.fleets import Fleets
from gdl.orchestrator.api.logs import Logs
from gdl.orchestrator.api.market import Market
from gdl.orchestrator.api.spending import Spending
from gdl.orchestrator.api.support import Support
from gdl.orchestrator.api.views import (
    ChatPartner,
    PublicRow,
    ReachedEndpoint,
    Readings,
    ResumableDeployment,
    SessionRow,
    ShellCommand,
    TunnelRow,
)
from gdl.orchestrator.api.volumes import Volumes


class Deployments(Protocol):
    """Deployments of this process, and the events of those in the journal."""

    async def deploy(self, spec: DeploymentSpec) -> str:
        """Start a deployment; its id. The work goes on in a task of the orchestrator's."""
        ...

    async def attach(self, ident: str) -> str:
        """Open the tunnel to a serving session again, as a deployment that holds; its id. Where the
        server does not serve yet, as `Resumption.resume`."""
        ...

    def events(self, deployment_id: str) -> AsyncIterator[Recorded]:
        """History first, then live; ends after DeploymentFinished. No gap, no duplicate."""
        ...

    def state(self, deployment_id: str) -> DeploymentState:
        """The state now: the fold of all events so far."""
        ...

    @property
    def active(self) -> Sequence[str]:
        """Ids of the deployments whose tasks run in this process, oldest first."""
        ...

    async def wait(self, deployment_id: str) -> DeploymentFinished:
        """Until it has finished."""
        ...

    async def cancel(self, deployment_id: str) -> None:
        """Stop and release; returns when it was asked for, not when it is done."""
        ...

    async def next_offer(self, deployment_id: str, *, other_source: bool = False) -> RankedOffer:
        """What the next attempt would be made on, as of now; nothing is rented. other_source: of
        another host or provider than the latest attempt. Raises NoSuitableOffer."""
        ...

    async def decide(
        self,
        deployment_id: str,
        decision: Decision,
        *,
        max_price: float | None = None,
        change: Change | None = None,
    ) -> None:
        """Answer what a deployment waits for. max_price: dollars an hour that was agreed to for the
        attempt that follows. change: what CHANGE tries it again with. Raises UsageError when it
        does not wait for that, or the decision is not possible there: FIX without a remedy, KEEP
        on a market that ends with this program."""
        ...

    async def include_provider(self, deployment_id: str, provider: str) -> None:
        """Include an excluded provider in this deployment again, for its next attempts."""
        ...

    async def set_auto_failover(self, deployment_id: str, enabled: bool) -> None:
        """Whether the next offer is taken by itself after a failure. Turned on while a failed
        attempt waits for a decision, it takes the next at once."""
        ...


class Resumption(Protocol):
    """Deployments that were interrupted, by a crash or a kill, and can go on."""

    async def resumable(self) -> Sequence[ResumableDeployment]:
        """Deployments whose process is gone and that have a machine, or asked for one; newest
        first."""
        ...

    async def resume(self, ident: str, *, ask_on_failure: bool = False) -> str:
        """Go on with one of those, on its machine and under its own id. ask_on_failure: as of
        DeploymentSpec, for what comes. Raises UsageError when it cannot be resumed, or another
        process was quicker."""
        ...


class Sessions(Protocol):
    """What is rented, in whichever process it was."""

    @property
    def away(self) -> Mapping[str, str]:
        """The backends that did not answer when sessions were last asked for, and why: what the
        journal knows of them is listed."""
        ...

    async def rows(self) -> Sequence[SessionRow]:
        """Everything this consumer has rented, then what only our journal knows."""
        ...

    async def destroy(self, ident: str, tell: Callable[[str], None] | None = None) -> SessionRow:
        """Release a session and wait for the proof that its machine is gone, within
        `timeouts.release`. tell: is given a sentence every few seconds on what is waited for.
        Raises ReleaseUnconfirmed."""
        ...

    async def confirm_gone(self, ident: str) -> SessionRow:
        """The user has looked at the marketplace's own console, and the machine is not there. Asks
        nobody. Raises UsageError for a session that goes on and whose end was never asked for."""
        ...

    async def ask_again(self) -> None:
        """Ask once more for the ends that are not proven, each a few times over all runs of this
        program. May take minutes."""
        ...

    async def extend(self, ident: str, hours: int) -> datetime | None:
        """Rent it for so many hours more; until when, if the backend tells."""
        ...

    async def shell(self, ident: str, *, enter: bool = True, rank: int = 0) -> ShellCommand:
        """A command that opens a shell on the machine of a deployment or session. enter: it is
        run now; otherwise it is only shown, and nothing is opened for it. rank: of which of several
        machines that serve the model. Raises UsageError without
        ssh, MachineError without machine."""
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


class Endpoints(Protocol):
    """Served models: how they are, and the way to them."""

    async def health(self, ident: str) -> Sequence[Check]:
        """The checks, run once: over the deployment's own tunnel, or over one for this."""
        ...

    def watch_health(self, ident: str) -> AsyncGenerator[tuple[HealthSample, bool]]:
        """How a session's endpoint is, a few times a second, and whether that is news; over a
        tunnel of its own, without end."""
        ...

    def readings(self, deployment_id: str) -> Readings:
        """What was measured last; empty for a deployment that does not run in this process."""
        ...

    async def estimates(self, deployment_id: str) -> Mapping[Phase, float]:
        """Seconds that each phase usually takes: of earlier deployments on this backend, of the
        same model where there are some. Phases never passed before are missing."""
        ...

    def chat(self, ident: str) -> AbstractAsyncContextManager[ChatPartner]:
        """A served model to talk to: by the deployment's own tunnel where it runs in this process,
        else over one that lasts as long as this is entered."""
        ...

    def reach(self, ident: str) -> AbstractAsyncContextManager[ReachedEndpoint]:
        """A session's endpoint, over a tunnel that lasts as long as this is entered."""
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

    async def served(self, row: TunnelRow, path: str) -> Served:
        """What the endpoint at the end of such a tunnel can do for a client that asks `path`.
        Never raises for what the network or the server does."""
        ...

    async def stop_tunnel(self, row: TunnelRow) -> None:
        """End one of those; no error when it has ended."""
        ...


class Benchmarks(Protocol):
    """Measuring served models, and what was measured."""

    async def bench(self, ident: str, load: BenchLoad = OWN_LOAD) -> BenchReport:
        """The benchmark that deployments end with, or the same at another load; the report is
        kept."""
        ...

    async def sweep(self, ident: str, most: int, on_point: Callable[[BenchReport], None]) -> str:
        """Measure a session's endpoint at 1, 2, 4 ... requests at a time, `most` at the most,
        until it is known which number serves best; that, in a sentence. Every point is kept."""
        ...

    async def keep(
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

    async def speeds(
        self, query: OfferQuery, machines: Iterable[Machine]
    ) -> Mapping[Machine, Speed]:
        """How fast the query's model is on machines of these sorts, under its load: measured, or
        predicted and said from what. What nobody can tell is missing."""
        ...

    async def kept(self, model: str | None = None, gpu: str | None = None) -> Sequence[Measurement]:
        """Those that were kept, newest first: of a model by its served name, of a GPU by a part
        of its name."""
        ...


class OrchestratorApi(Protocol):
    """The eleven ports, and what is to be known of the backend behind them."""

    backend_name: str
    """As in the settings; several are separated by commas."""
    keeps: bool
    """Whether machines of any backend can go on serving when this program ends."""
    publishes: bool
    """Whether any backend takes benchmarks for others to see."""
    simulated: bool
    """Whether the machines are made up."""
    bills: bool
    """Whether machines of any backend are rented: paid for by the hour."""
    open_ended: frozenset[str]
    """The backends that bill until a machine is released: no reserved hours end it."""
    guarded: frozenset[str]
    """The backends on whose machines a guard can end what it is put there for."""

    @property
    def market(self) -> Market: ...

    @property
    def deployments(self) -> Deployments: ...

    @property
    def resumption(self) -> Resumption: ...

    @property
    def sessions(self) -> Sessions: ...

    @property
    def endpoints(self) -> Endpoints: ...

    @property
    def benchmarks(self) -> Benchmarks: ...

    @property
    def spending(self) -> Spending: ...

    @property
    def volumes(self) -> Volumes: ...

    @property
    def fleets(self) -> Fleets: ...

    @property
    def logs(self) -> Logs: ...

    @property
    def support(self) -> Support: ...

    async def aclose(self) -> None:
        """Cancel what runs (which releases what was rented), then close everything."""
        ...
