"""One attempt: from an offer to a serving endpoint on one machine."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from gdl.backends.base import Backend
from gdl.domain import events as ev
from gdl.domain.benchmark import OWN_LOAD, BenchLoad, BenchReport
from gdl.domain.decisions import AfterServing
from gdl.domain.errors import DeployError, GdlError, SshError, VerificationError
from gdl.domain.offers import Offer
from gdl.domain.phase import Phase
from gdl.domain.remedies import Remedy, RemedyKind
from gdl.domain.secret import Secret
from gdl.domain.session import Session
from gdl.engines.base import Plan
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.endpoint import health_watch, served_endpoint
from gdl.orchestrator.endpoint.measurements import Measurements
from gdl.orchestrator.endpoint.unpublish import unpublish
from gdl.orchestrator.leasing.blame import blame_for
from gdl.orchestrator.leasing.renting import Renter, refuse_dearer
from gdl.orchestrator.machine import install, preflight
from gdl.orchestrator.machine.connection import Machine
from gdl.orchestrator.machine.earlier_work import EarlierServer
from gdl.orchestrator.machine.engine_process import EngineProcess
from gdl.orchestrator.machine.remediation import Remediation
from gdl.orchestrator.run.attempt_offer import words
from gdl.orchestrator.run.changes import in_force
from gdl.orchestrator.run.doubts import server_runs_on
from gdl.orchestrator.run.endpoint_opening import EndpointOpening
from gdl.orchestrator.run.guarding import Guarding
from gdl.orchestrator.run.verification import verify
from gdl.settings import Settings
from gdl.ssh.repeating import Repeating

T = TypeVar("T")

_LAST_BREATH_S = 1.5
"""A server whose request failed may be dying: its end is known within a second."""


class Attempt:
    """Runs the phases in order. Whoever runs it also closes it, and releases what it rented."""

    def __init__(
        self,
        deployment: Deployment,
        backend: Backend,
        renter: Renter,
        journal: Journal,
        settings: Settings,
    ) -> None:
        self._deployment = deployment
        self.backend = backend
        self.renter = renter
        self._engine = deployment.engine
        self._settings = settings = in_force(deployment, settings)
        self._journal = journal
        self.offer: Offer | None = None
        self.machine = Machine(deployment, settings, rents=backend.traits.bills)
        self.opening = EndpointOpening(self.machine, settings)
        self.server: EngineProcess = EngineProcess(self.machine)
        self.guarding = Guarding(self.machine, renter.releaser.guards, settings)
        self.remediation = Remediation(
            self.machine,
            blame=lambda error, rule: blame_for(error, self.machine.rules, rule),
        )
        self._measurements = Measurements(
            journal, deployment.channel.clock, simulated=backend.traits.simulated
        )
        self._plan: Plan | None = None
        self._api_key: Secret | None = None
        self._revived = False

    async def run(self, offer: Offer) -> None:
        """To SERVING, benchmark included. Raises a GdlError that says why not."""
        dep = self._deployment
        self.offer = offer
        await dep.enter(Phase.RENTING, words(offer))
        rented = await self.renter.rent(dep, offer)
        session = await self.renter.monitor.wait_running(dep, rented.session)
        refuse_dearer(session, offer.price_per_hour)
        await self.while_it_lives(self.set_up(session))
        await self.benchmark_if_wanted()

    async def benchmark_if_wanted(self) -> None:
        """Unless that was done before, and until the user decides what follows: then nothing that
        becomes of the machine is a failure, for which another one would be rented."""
        dep = self._deployment
        if dep.spec.bench and dep.state.benchmark is None:
            await dep.decisions.unless_ended(self.first_benchmark())

    async def first_benchmark(self) -> None:
        await self.while_it_lives(self.benchmark())

    async def while_it_lives(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, unless the machine is gone: out of our reach, and over by its
        backend's word. Raises SessionFailed then. Neither alone proves it."""
        if not self.backend.traits.bills:
            return await work
        doing = asyncio.ensure_future(work)
        watching = asyncio.ensure_future(
            self.renter.monitor.watch(self._deployment, self.machine.out_of_reach)
        )
        try:
            await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            if self.machine.connected:
                # Nothing that still waits for the machine is to be waited for.
                await self.machine.link.aclose()
            raise watching.result()
        finally:
            for task in (doing, watching):
                task.cancel()
            await asyncio.gather(doing, watching, return_exceptions=True)

    async def set_up(self, session: Session) -> None:
        """From a running session to SERVING."""
        await self._deployment.enter(Phase.CONNECTING, str(session.ssh))
        await self.connect(session)
        await self.from_preflight()

    async def connect(self, session: Session) -> None:
        """The first connection, and what guards the machine from then on. Raises SshError."""
        await self.machine.connect(session)
        self.guarding.begin()

    async def reach(self, session: Session) -> None:
        """Enter it to end what runs there, unless that was done. Raises SshError."""
        if not self.machine.connected:
            await self.machine.connect(session)

    async def from_preflight(self) -> None:
        """From a machine that is connected to SERVING."""
        dep = self._deployment
        await dep.enter(Phase.PREFLIGHT)
        ahead = install.begun_ahead(self.machine, self._settings)
        try:
            facts = await self.machine.inspect()
            await preflight.judge(
                dep,
                Repeating(self.machine.link),
                facts,
                self.offer,
                rented=self.backend.traits.bills,
                limit_s=self._settings.timeouts.install,
            )
            await self._serve(ahead)
        finally:
            if ahead is not None:
                await ahead.cancel()

    async def _serve(self, ahead: install.Ahead | None) -> None:
        plan, api_key = self.make_plan(await self.machine.make_api_key())
        self.opening.begin(api_key)
        await self._deployment.enter(Phase.INSTALLING, plan.summary)
        if ahead is not None:
            await ahead.done()
        await self.to_proof(plan, api_key)

    def make_plan(self, api_key: Secret) -> tuple[Plan, Secret]:
        """How it is to be installed and started here, and the key of its endpoint."""
        machine = self.machine
        self._plan = self._engine.plan(
            self._deployment.spec,
            machine.facts,
            self._deployment.model,
            self._settings,
            cpu_allowed=self.backend.traits.cpu_allowed,
            api_key=api_key,
            log_path=machine.rental.engine_log,
            port=machine.rental.engine_port,
        )
        self._api_key = api_key
        return self._plan, api_key

    async def to_proof(
        self,
        plan: Plan,
        api_key: Secret,
        *,
        installed: bool = False,
        earlier: EarlierServer | None = None,
    ) -> None:
        """To SERVING. What fails and can be fixed on this machine is fixed, and done again.
        earlier: a server that a process that is gone had started, which is waited for at first."""
        dep = self._deployment
        while True:
            try:
                if not installed:
                    await dep.enter(Phase.INSTALLING, plan.summary)
                    # Another way of running it may have been found to work.
                    plan = self._plan = await install.install(self.machine, plan)
                    installed = True
                started, earlier = earlier, None
                await self._start(plan, api_key, started)
                await self.verify()
                break
            except DeployError as error:
                remedy = await self.remediation.fix(plan, error)
                if remedy is None:  # its user has changed what is to be served, or how
                    self._settings = in_force(dep, self._settings)
                    plan, installed = self.make_plan(api_key)[0], False
                    continue
                installed = installed and remedy.kind is not RemedyKind.REPAIR
        await dep.enter(Phase.SERVING, dep.state.endpoint or "")

    async def _start(self, plan: Plan, api_key: Secret, started: EarlierServer | None) -> None:
        """Start the server, unless that was done, and wait until it is ready. Raises DeployError
        when it ends instead."""
        dep = self._deployment
        self.opening.begin(api_key)
        if started is not None:
            self.server.take_up(started)
        else:
            await dep.enter(Phase.STARTING, self._engine.info.starting)
            await self.server.start(plan)
            # Whoever destroys it from now on finds that server; who did so before may have not.
            await self.renter.monitor.refuse_destroyed(dep)
        opened = await self.open_endpoint(api_key)
        if not await self._ready():
            await self.server.fail("the server ended before it was ready")
        if dep.state.tunnel != opened:
            await dep.emit(opened)
        await dep.enter(Phase.VERIFYING)

    @property
    def endpoint(self) -> served_endpoint.Endpoint | None:
        """None until it is open."""
        return self.opening.endpoint

    async def open_endpoint(self, api_key: Secret) -> ev.TunnelOpened:
        """The tunnel; the event says where it is, and is emitted once it leads somewhere."""
        return await self.opening.done(api_key)

    async def _ready(self) -> bool:
        """Whether it serves; False when there is nothing left to wait for. Raises
        VerificationError when its time is over."""
        assert self.endpoint is not None
        try:
            return await self.endpoint.wait_ready(
                ended=self.server.over,
                nudge=self.server.ready_said,
                timeout_s=self._settings.timeouts.start,
            )
        except VerificationError:
            await self.server.slow()
            raise

    async def verify(self) -> None:
        """Raises VerificationError, or DeployError when the server ended meanwhile."""
        assert self.endpoint is not None
        try:
            await verify(
                self._deployment, self.endpoint, self.server, self.machine, self._measurements
            )
        except GdlError:
            if await self.server.ends_within(_LAST_BREATH_S):
                await self.server.fail("the server ended at its first request")
            raise

    async def benchmark(self, load: BenchLoad = OWN_LOAD) -> BenchReport:
        assert self.endpoint is not None
        return await served_endpoint.benchmark(
            self._deployment, self.endpoint, self.machine.rental, self._measurements, load
        )

    async def hold(self) -> AfterServing:
        """Until the user decides. A server that ends is started once more.
        Raises DeployError when that does not help, SessionFailed when the machine is gone."""
        while True:
            watching = self.machine.spawn(self._watch_health())
            try:
                holding = served_endpoint.hold(self._deployment, self.server.over)
                return await self.while_it_lives(holding)
            except GdlError as error:
                await health_watch.end_dead(self._deployment, watching, error.message)
                if not isinstance(error, DeployError):
                    raise
                await self.while_it_lives(self.revive())
            finally:
                watching.cancel()

    async def _watch_health(self) -> None:
        assert self.endpoint is not None
        await health_watch.watch(
            self._deployment,
            self.endpoint,
            connected=lambda: not self.machine.out_of_reach.is_set(),
            pid=self.server.pid,
            has_gpu=self.machine.rental.has_gpu,
            on_dead=self.server.give_up_dead,
        )

    async def revive(self) -> None:
        """Say why the server ended, and start it again unless that was done before."""
        plan, api_key = self._plan, self._api_key
        try:
            await self.server.fail("the server ended while serving")
        except DeployError as error:
            hopeless = self._revived or self._deployment.spec.auto_fix is False
            hopeless = hopeless or self.machine.out_of_reach.is_set()
            error.message += " It had already been restarted once." if self._revived else ""
            if hopeless or plan is None or api_key is None:
                raise
            if await self.real_cause(error) is not error:
                raise  # somebody has ended it
            self._revived = True
            await self.remediation.tell(Remedy(RemedyKind.RESTART), "auto")
            await self.to_proof(plan, api_key, installed=True)

    async def real_cause(self, error: GdlError) -> GdlError:
        """The error, or that the machine itself is gone, when that is known."""
        cut = self.machine.out_of_reach.is_set() or isinstance(error, SshError)
        ended = await self.guarding.ended()
        return ended or await self.renter.monitor.real_cause(self._deployment, error, cut=cut)

    async def release(self) -> None:
        """Release the machine and wait for the proof. Raises ReleaseUnconfirmed."""
        dep = self._deployment
        trouble: SshError | None = None
        if self.machine.leave() and dep.rental is not None:
            await unpublish(self.machine.link, dep.rental, self._journal)
        if not self.backend.traits.bills:
            # Nobody destroys this machine: our server has to be ended by ourselves.
            try:
                await self.server.stop()
                await self.guarding.remove()
            except SshError as error:
                trouble = error
        try:
            await self.close()
        finally:
            if dep.rental is not None:
                await self.renter.releaser.release(dep, dep.rental)
        if trouble is not None and not self.backend.traits.ends_processes:
            raise server_runs_on(trouble)

    async def close(self) -> None:
        """Close the tunnel and the connection; the machine stays as it is."""
        await self.opening.aclose()
        await self.machine.close()
