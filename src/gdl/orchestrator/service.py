"""The orchestrator: every command of the program, and the owner of every task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from gdl.backends import base as backends
from gdl.backends import registry
from gdl.backends.base import Backend, BackendContext
from gdl.domain import events as ev
from gdl.domain.backend import BackendSource
from gdl.domain.benchmark import OWN_LOAD, BenchLoad, BenchReport, Measurement
from gdl.domain.chat import ChatDone, ChatMessage, ChatPiece
from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.findings import Finding
from gdl.domain.health import Check, HealthSample
from gdl.domain.money import CostReport
from gdl.domain.offers import Exclusion, OfferQuery, RankedOffer
from gdl.domain.phase import Billing, Phase
from gdl.domain.readings import CheckRound, GpuLoad, typical
from gdl.domain.rental import Rental
from gdl.domain.spec import DeploymentSpec
from gdl.engines.base import Engine, Model
from gdl.journal import history
from gdl.journal.store import Journal
from gdl.orchestrator.api.ports import (
    ModelRow,
    PastDeployment,
    PublicRow,
    ReachedEndpoint,
    SessionRow,
    SizedModel,
    TunnelRow,
)
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.endpoint import chat
from gdl.orchestrator.endpoint.benchmarks import SWEPT, Benchmarks, sweep
from gdl.orchestrator.leasing import model_rows, requirements
from gdl.orchestrator.leasing.orphans import Orphans, quietly
from gdl.orchestrator.leasing.renting import Renter
from gdl.orchestrator.leasing.selection import OfferSelection
from gdl.orchestrator.run.attempt import Attempt
from gdl.orchestrator.run.deployment_task import DeploymentTask
from gdl.orchestrator.run.registry import DeploymentRegistry
from gdl.orchestrator.sessions import shell
from gdl.orchestrator.sessions.public_url import PublicUrls
from gdl.orchestrator.sessions.reconnect import Reconnector
from gdl.orchestrator.sessions.sessions import Sessions
from gdl.orchestrator.sessions.tunnels import Tunnels
from gdl.orchestrator.support import bundle, doctor
from gdl.settings import Settings


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Orchestrator:
    """See `api.OrchestratorApi` for what each method promises. One per process.

    attempt: makes an Attempt; a seam for those who measure or test without machines.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        backend: Backend,
        engine: Engine,
        journal: Journal,
        consumer_id: str,
        clock: Callable[[], datetime] = _utc_now,
        attempt: Callable[..., Attempt] = Attempt,
    ) -> None:
        self.backend_name, self.keeps = backend.name, backend.traits.outlives_program
        self.publishes = isinstance(backend, backends.Publishes)
        self.simulated = backend.traits.simulated
        self._settings = settings
        self._backend = backend
        self._engine = engine
        self._journal = journal
        self._consumer_id = consumer_id
        self._clock = clock
        self._attempt_of = attempt
        self._renter = Renter(backend, journal, settings, consumer_id, clock)
        self._leftovers = Orphans(backend, journal, settings, clock)
        self._measurements = Benchmarks(journal, clock, simulated=backend.traits.simulated)
        self._visits = Reconnector(backend, journal, settings, self._measurements)
        self._sessions = Sessions(
            backend,
            journal,
            settings,
            self._renter.releaser,
            self._visits,
            self._leftovers,
            clock,
        )
        self._tunnels = Tunnels(self._sessions, self._visits, settings)
        self._publisher = PublicUrls(self._sessions, self._visits, journal, settings, clock)
        self._failover = OfferSelection(backend, engine, journal, settings, clock)
        self._running = DeploymentRegistry(
            backend.name, backend.traits.bills, journal, settings, clock
        )
        self._attempts: dict[str, Attempt] = {}

    # -- looking ---------------------------------------------------------------------------------

    async def offers(self, query: OfferQuery) -> Sequence[RankedOffer]:
        return await self._failover.offers(query)

    def models(self) -> Sequence[ModelRow]:
        return [model_rows.row(model) for model in self._engine.models()]

    def size(self, query: OfferQuery) -> SizedModel:
        return requirements.sized(self._engine, query, self._settings)

    async def costs(self) -> CostReport:
        return await backends.costs(self._backend)

    async def doctor(self) -> Sequence[Finding]:
        return await doctor.examine(self._settings, self._backend, self._journal, self._leftovers)

    async def sources(self) -> Sequence[BackendSource]:
        return await registry.discover(BackendContext(self._settings, self._consumer_id))

    async def stories(self) -> Sequence[PastDeployment]:
        return await self._sessions.stories()

    async def bundle(self, ident: str, path: Path | None = None) -> Path:
        stories = await self._sessions.stories()
        found = bundle.find(ident, [(s.deployment_id, s.session_id) for s in stories])
        chosen = path or Path(f"gdl-tui-{found}.tar.gz")
        return await bundle.write(found, chosen, self._journal, self._settings)

    # -- deploying -------------------------------------------------------------------------------

    async def deploy(self, spec: DeploymentSpec) -> str:
        self._refuse_read_only("deploy")
        model = requirements.resolved(self._engine, spec.model, spec.query)
        self._engine.check(spec, model, self._settings)
        if spec.query.model is None:
            spec = model_rows.with_model(spec)
        deployment = await self._running.add(spec, model)
        await self._running.start(deployment, self._deploy(deployment))
        return deployment.id

    async def attach(self, ident: str) -> str:
        rental = await self._sessions.find(ident)
        active = self._running.with_session(rental.session_id)
        if active is not None:
            return active.id
        spec = DeploymentSpec(
            model=rental.served_name, backend=self.backend_name, bench=False, after="hold"
        )
        model = Model(rental.served_name, "attached", rental.model, rental.served_name)
        deployment = await self._running.add(spec, model)
        await self._running.start(deployment, self._attach(deployment, rental))
        return deployment.id

    def _runner(self, deployment: Deployment) -> DeploymentTask:
        return DeploymentTask(
            deployment,
            self._make_attempt,
            self._failover,
            self._clock,
            rents=self._backend.traits.bills,
        )

    async def _deploy(self, deployment: Deployment) -> None:
        looking = asyncio.create_task(self._tell_leftovers(deployment))
        try:
            await self._runner(deployment).run()
        finally:
            self._attempts.pop(deployment.id, None)
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _attach(self, deployment: Deployment, rental: Rental) -> None:
        try:
            begin = partial(self._visits.reopen, deployment, rental)
            await self._runner(deployment).run(begin)
        finally:
            self._attempts.pop(deployment.id, None)

    async def _tell_leftovers(self, deployment: Deployment) -> None:
        if left := await quietly(self._leftovers):
            await deployment.note(f"{left}; `gdl-tui attach ID` or `gdl-tui destroy ID`", "warning")

    def _make_attempt(self, deployment: Deployment) -> Attempt:
        attempt = self._attempt_of(
            deployment, self._backend, self._engine, self._renter, self._journal, self._settings
        )
        self._attempts[deployment.id] = attempt
        return attempt

    # -- following -------------------------------------------------------------------------------

    async def events(self, deployment_id: str) -> AsyncIterator[ev.Recorded]:
        channel = await self._running.channel(deployment_id)
        async for recorded in channel.follow():
            yield recorded

    def state(self, deployment_id: str) -> DeploymentState:
        return self._running.state(deployment_id)

    def active(self) -> Sequence[str]:
        return self._running.active()

    async def wait(self, deployment_id: str) -> ev.DeploymentFinished:
        channel = await self._running.channel(deployment_id)
        async for recorded in channel.follow():
            if isinstance(recorded.event, ev.DeploymentFinished):
                return recorded.event
        raise GdlError(f"deployment {deployment_id} has no end")

    # -- deciding --------------------------------------------------------------------------------

    async def cancel(self, deployment_id: str) -> None:
        self._running.cancel(self._running.running(deployment_id))

    async def release(self, deployment_id: str) -> None:
        self._decide(deployment_id, "destroy")

    async def keep(self, deployment_id: str) -> None:
        if not self.keeps:
            raise UsageError("the simulated market ends with this program", "give it back")
        self._decide(deployment_id, "keep")

    def _decide(self, deployment_id: str, decision: str) -> None:
        deployment = self._running.running(deployment_id)
        if deployment.decision is None or deployment.decision.done():
            raise UsageError(
                f"deployment {deployment_id} is {deployment.state.phase}, not held open",
                "cancel it instead, which also gives the machine back",
            )
        deployment.decision.set_result(decision)

    async def retry(self, deployment_id: str) -> None:
        self._choice(deployment_id, "retry")

    async def next_offer(self, deployment_id: str, *, exclude_provider: bool = False) -> None:
        self._choice(deployment_id, "exclude" if exclude_provider else "next")

    async def apply_remedy(self, deployment_id: str) -> None:
        if self._running.running(deployment_id).state.offered is None:
            raise UsageError(
                f"deployment {deployment_id} has no remedy to apply on its machine",
                "retry, or take the next offer",
            )
        self._choice(deployment_id, "fix")

    async def include_provider(self, deployment_id: str, provider: str) -> None:
        await self._failover.include_provider(self._running.running(deployment_id), provider)

    async def set_auto_failover(self, deployment_id: str, enabled: bool) -> None:
        deployment = self._running.running(deployment_id)
        if deployment.auto_failover == enabled:
            return
        deployment.auto_failover = enabled
        await deployment.emit(ev.AutoFailoverSet(enabled))
        waits = deployment.choice is not None and not deployment.choice.done()
        if enabled and waits:
            self._choice(deployment_id, "next")

    def _choice(self, deployment_id: str, choice: str) -> None:
        deployment = self._running.running(deployment_id)
        if deployment.choice is None or deployment.choice.done():
            raise UsageError(
                f"deployment {deployment_id} is not waiting for a choice",
                "wait until its attempt has failed",
            )
        deployment.choice.set_result(choice)

    # -- exclusions ------------------------------------------------------------------------------

    async def exclusions(self) -> Sequence[Exclusion]:
        return await self._failover.exclusions()

    async def exclude(self, kind: str, key: str, reason: str = "") -> Exclusion:
        self._refuse_read_only("exclude")
        return await self._failover.exclude(kind, key, reason)

    async def clear_exclusions(self, key: str | None = None) -> int:
        self._refuse_read_only("clear exclusions")
        return await self._failover.clear(key)

    # -- sessions --------------------------------------------------------------------------------

    async def sessions(self) -> Sequence[SessionRow]:
        open_ones = {row.session_id: row.endpoint for row in await self._tunnels.rows()}
        public = {row.session_id: row.url for row in await self._publisher.rows()}
        return [
            replace(row, endpoint=open_ones.get(row.session.id), public=public.get(row.session.id))
            for row in await self._sessions.rows()
        ]

    async def hold_tunnel(
        self,
        ident: str,
        port: int | None,
        tell: Callable[[str], None],
        opened: Callable[[TunnelRow], None],
    ) -> str:
        return await self._tunnels.hold(ident, port, tell, opened)

    async def tunnels(self) -> Sequence[TunnelRow]:
        return await self._tunnels.rows()

    async def stop_tunnel(self, row: TunnelRow) -> None:
        await self._tunnels.stop(row)

    async def make_public(self, ident: str, tell: Callable[[str], None]) -> PublicRow:
        self._refuse_read_only("making public")
        return await self._publisher.open(ident, tell)

    async def watch_public(self, ident: str) -> AsyncGenerator[PublicRow]:
        async with aclosing(self._publisher.watch(ident)) as rows:
            async for row in rows:
                yield row

    async def stop_public(self, ident: str) -> str:
        self._refuse_read_only("ending what is public")
        return await self._publisher.stop(ident)

    async def public_rows(self) -> Sequence[PublicRow]:
        return await self._publisher.rows()

    async def destroy(self, ident: str) -> SessionRow:
        self._refuse_read_only("destroy")
        row = await self._sessions.row(ident)
        active = self._running.with_session(row.session.id)
        if active is not None:
            if active.decision is not None and not active.decision.done():
                active.decision.set_result("destroy")
            else:
                await self.cancel(active.id)
            finished = await self.wait(active.id)
            if finished.billing not in (Billing.NONE, Billing.RELEASED):
                # An attached deployment only closes its tunnel when it is cancelled.
                await self._sessions.destroy(row)
        else:
            await self._sessions.destroy(row)
        for tunnel in await self._tunnels.rows():
            if tunnel.session_id == row.session.id:
                await self._tunnels.stop(tunnel)
        return await self._sessions.gone(row)

    async def extend(self, ident: str, hours: int) -> datetime | None:
        self._refuse_read_only("extend")
        row = await self._sessions.row(ident)
        return await backends.extend(self._backend, row.session.id, hours)

    async def health(self, ident: str) -> Sequence[Check]:
        attempt, deployment = self._serving(ident), self._running.get(ident)
        if attempt is not None and attempt.endpoint is not None and deployment is not None:
            found = await attempt.endpoint.check(
                deployment.model.served_name,
                pid=attempt.server.pid,
                has_gpu=bool(deployment.rental and deployment.rental.has_gpu),
            )
            deployment.keep_round(found)
            return found
        return await self._visits.health(await self._sessions.find(ident))

    async def watch_health(self, ident: str) -> AsyncGenerator[tuple[HealthSample, bool]]:
        rental = await self._sessions.find(ident)
        async with aclosing(self._visits.watch_health(rental)) as samples:
            async for each in samples:
                yield each

    def health_now(self, deployment_id: str) -> HealthSample | None:
        deployment = self._running.get(deployment_id)
        return None if deployment is None else deployment.health

    def gpu_now(self, deployment_id: str) -> GpuLoad | None:
        deployment = self._running.get(deployment_id)
        return None if deployment is None else deployment.gpu

    def check_rounds(self, deployment_id: str) -> Sequence[CheckRound]:
        deployment = self._running.get(deployment_id)
        return () if deployment is None else tuple(deployment.rounds)

    async def estimates(self, deployment_id: str) -> Mapping[Phase, float]:
        past = await history.phase_times(self._journal, self.backend_name, deployment_id)
        return typical(past, self.state(deployment_id).served_name)

    async def bench(self, ident: str, load: BenchLoad = OWN_LOAD) -> BenchReport:
        self._refuse_read_only("bench")
        attempt = self._serving(ident)
        if attempt is not None:
            return await attempt.benchmark(load)
        return await self._visits.bench(await self._sessions.find(ident), load)

    async def keep_benchmarks(
        self,
        ident: str,
        reports: Sequence[BenchReport],
        workload: str,
        best: BenchReport | None = None,
    ) -> str:
        rental = await self._sessions.find(ident)
        return await self._measurements.keep(rental, reports, workload=workload, best=best)

    async def publish(self, ident: str, report: BenchReport, workload: str) -> str:
        self._refuse_read_only("publish")
        rental = await self._sessions.find(ident)
        one = await self._measurements.publication(rental, report, workload)
        return await backends.publish(self._backend, one)

    async def sweep(self, ident: str, most: int, on_point: Callable[[BenchReport], None]) -> str:
        async with self.reach(ident) as reached:
            reports, best, said = await sweep(reached, most, on_point)
        if best is not None:
            standing = await self.keep_benchmarks(ident, reports, SWEPT, best)
            said = f"{said}. {standing}"
        return said

    async def benchmarks(
        self, model: str | None = None, gpu: str | None = None
    ) -> Sequence[Measurement]:
        return await self._measurements.kept(model, gpu)

    @asynccontextmanager
    async def reach(self, ident: str) -> AsyncIterator[ReachedEndpoint]:
        self._refuse_read_only("bench")
        async with self._visits.reach(await self._sessions.find(ident)) as reached:
            yield reached

    async def chat(
        self, deployment_id: str, messages: Sequence[ChatMessage]
    ) -> AsyncGenerator[ChatPiece | ChatDone]:
        attempt, deployment = self._serving(deployment_id), self._running.get(deployment_id)
        way = attempt.endpoint.way if attempt is not None and attempt.endpoint is not None else None
        if way is None or deployment is None:
            raise UsageError("this deployment does not serve here", "attach to its session first")
        async with aclosing(chat.talk(way, deployment.model.served_name, messages)) as parts:
            async for part in parts:
                yield part

    async def shell(self, ident: str) -> Sequence[str]:
        self._refuse_read_only("a shell")
        deployment = self._running.get(ident)
        rental = deployment.rental if deployment is not None else None
        if rental is None or not rental.open:
            rental = await self._sessions.find(ident)
        return await asyncio.to_thread(shell.argv, rental)

    def _serving(self, ident: str) -> Attempt | None:
        """The attempt of a deployment that serves in this process."""
        deployment = self._running.get(ident)
        if deployment is None or deployment.state.phase is not Phase.SERVING:
            return None
        return self._attempts.get(ident)

    def _refuse_read_only(self, what: str) -> None:
        if self._settings.read_only:
            raise UsageError(f"{what} is not possible in read-only mode", "leave out --read-only")

    # -- ending ----------------------------------------------------------------------------------

    async def aclose(self) -> None:
        await self._running.aclose()
        await self._backend.aclose()
        await self._journal.aclose()
