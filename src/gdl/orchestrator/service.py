"""The orchestrator: every command of the program, and the owner of every task."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from gdl.backends.base import Backend
from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.events import Phase
from gdl.domain.models import (
    BenchReport,
    Check,
    CostReport,
    DeploymentSpec,
    Finding,
    Offer,
    OfferQuery,
    RankedOffer,
)
from gdl.domain.sizing import needed
from gdl.engines.base import Engine, Model
from gdl.journal.store import DeploymentRow, Journal
from gdl.orchestrator import doctor, failover
from gdl.orchestrator.api import ModelRow, SessionRow, Story
from gdl.orchestrator.bus import Channel
from gdl.orchestrator.deployment import Deployment
from gdl.orchestrator.pipeline import Attempt
from gdl.orchestrator.renting import Renter
from gdl.orchestrator.runner import Runner
from gdl.orchestrator.sessions import Sessions
from gdl.settings import Settings


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Orchestrator:
    """See `api.OrchestratorApi` for what each method promises. One per process."""

    def __init__(
        self,
        *,
        settings: Settings,
        backend: Backend,
        engine: Engine,
        journal: Journal,
        consumer_id: str,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.backend_name = backend.name
        self._settings = settings
        self._backend = backend
        self._engine = engine
        self._journal = journal
        self._clock = clock
        self._renter = Renter(backend, journal, settings, consumer_id, clock)
        self._sessions = Sessions(backend, journal, settings, self._renter, clock)
        self._deployments: dict[str, Deployment] = {}
        self._attempts: dict[str, Attempt] = {}
        self._past: dict[str, Channel] = {}

    # -- looking ---------------------------------------------------------------------------------

    async def offers(self, query: OfferQuery) -> Sequence[RankedOffer]:
        return await failover.list_offers(self._backend, self._engine, query)

    def models(self) -> Sequence[ModelRow]:
        return [_model_row(model) for model in self._engine.models()]

    async def costs(self) -> CostReport:
        return await self._backend.costs()

    async def doctor(self) -> Sequence[Finding]:
        return await doctor.examine(self._settings, self._backend, self._journal)

    async def stories(self) -> Sequence[Story]:
        return await self._sessions.stories()

    # -- deploying -------------------------------------------------------------------------------

    async def deploy(self, spec: DeploymentSpec) -> str:
        self._refuse_read_only("deploy")
        model = self._engine.resolve(spec.model)
        self._engine.check(spec, model, self._settings)
        if spec.query.model is None:
            spec = _with_model(spec)
        deployment = await self._new(spec, model)
        runner = Runner(deployment, self._make_attempt, self._choose, self._clock)
        self._start(deployment, runner.run())
        return deployment.id

    async def attach(self, ident: str) -> str:
        rental = await self._sessions.find(ident)
        active = self._active_with(rental.session_id)
        if active is not None:
            return active.id
        spec = DeploymentSpec(
            model=rental.served_name, backend=self.backend_name, bench=False, after="hold"
        )
        model = Model(rental.served_name, "attached", rental.model, rental.served_name)
        deployment = await self._new(spec, model)
        runner = Runner(deployment, self._make_attempt, self._choose, self._clock)
        begin = partial(self._sessions.reopen, deployment, rental)
        self._start(deployment, runner.run(begin))
        return deployment.id

    async def _new(self, spec: DeploymentSpec, model: Model) -> Deployment:
        now = self._clock()
        ident = f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        channel = Channel(ident, self._journal, self._clock)
        deployment = Deployment(ident, spec, model, channel, self._settings.logs_dir / ident)
        await self._journal.add_deployment(
            DeploymentRow(ident, now, model.served_name, self.backend_name, "", os.getpid())
        )
        await deployment.emit(
            ev.DeploymentPlanned(
                spec, model.location, model.served_name, failover.needed_vram_gb(model)
            )
        )
        self._deployments[ident] = deployment
        return deployment

    def _start(self, deployment: Deployment, work: Awaitable[None]) -> None:
        deployment.task = asyncio.create_task(
            self._run(deployment, work), name=f"deployment {deployment.id}"
        )

    async def _run(self, deployment: Deployment, work: Awaitable[None]) -> None:
        try:
            await work
        finally:
            self._attempts.pop(deployment.id, None)
            finished = deployment.state.finished
            outcome = finished.outcome if finished else "interrupted"
            await asyncio.shield(self._journal.set_outcome(deployment.id, outcome, 0))

    def _make_attempt(self, deployment: Deployment) -> Attempt:
        attempt = Attempt(
            deployment, self._backend, self._engine, self._renter, self._journal, self._settings
        )
        self._attempts[deployment.id] = attempt
        return attempt

    async def _choose(self, deployment: Deployment) -> Offer:
        return await failover.choose(deployment, self._backend, self._engine)

    # -- following -------------------------------------------------------------------------------

    async def events(self, deployment_id: str) -> AsyncIterator[ev.Recorded]:
        channel = await self._channel(deployment_id)
        async for recorded in channel.follow():
            yield recorded

    def state(self, deployment_id: str) -> DeploymentState:
        if deployment_id in self._deployments:
            return self._deployments[deployment_id].state
        if deployment_id in self._past:
            return self._past[deployment_id].state
        raise UsageError(f"no deployment {deployment_id}", "`gdl-tui sessions` lists what there is")

    def active(self) -> Sequence[str]:
        return [d.id for d in self._deployments.values() if d.state.finished is None]

    async def wait(self, deployment_id: str) -> ev.DeploymentFinished:
        channel = await self._channel(deployment_id)
        async for recorded in channel.follow():
            if isinstance(recorded.event, ev.DeploymentFinished):
                return recorded.event
        raise GdlError(f"deployment {deployment_id} has no end")

    async def _channel(self, deployment_id: str) -> Channel:
        if deployment_id in self._deployments:
            return self._deployments[deployment_id].channel
        if deployment_id not in self._past:
            history = await self._journal.events(deployment_id)
            if not history:
                raise UsageError(
                    f"no deployment {deployment_id}", "`gdl-tui sessions` lists what there is"
                )
            self._past[deployment_id] = Channel.replay(
                deployment_id, history, self._journal, self._clock
            )
        return self._past[deployment_id]

    # -- deciding --------------------------------------------------------------------------------

    async def cancel(self, deployment_id: str) -> None:
        self._cancel(self._running(deployment_id))

    def _cancel(self, deployment: Deployment) -> None:
        """Once, and not when it has said its last word already."""
        over = deployment.cancelling or deployment.state.finished is not None
        if not over and deployment.task is not None:
            deployment.cancelling = True
            deployment.task.cancel()

    async def release(self, deployment_id: str) -> None:
        self._decide(deployment_id, "destroy")

    async def keep(self, deployment_id: str) -> None:
        self._decide(deployment_id, "keep")

    def _decide(self, deployment_id: str, decision: str) -> None:
        deployment = self._running(deployment_id)
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

    def _choice(self, deployment_id: str, choice: str) -> None:
        deployment = self._running(deployment_id)
        if deployment.choice is None or deployment.choice.done():
            raise UsageError(
                f"deployment {deployment_id} is not waiting for a choice",
                "wait until its attempt has failed",
            )
        deployment.choice.set_result(choice)

    def _running(self, deployment_id: str) -> Deployment:
        deployment = self._deployments.get(deployment_id)
        if deployment is None or deployment.state.finished is not None:
            raise UsageError(
                f"deployment {deployment_id} does not run here",
                "`gdl-tui sessions` lists what is rented",
            )
        return deployment

    # -- sessions --------------------------------------------------------------------------------

    async def sessions(self) -> Sequence[SessionRow]:
        return await self._sessions.rows()

    async def destroy(self, ident: str) -> SessionRow:
        self._refuse_read_only("destroy")
        row = await self._sessions.row(ident)
        active = self._active_with(row.session.id)
        if active is not None:
            if active.decision is not None and not active.decision.done():
                active.decision.set_result("destroy")
            else:
                await self.cancel(active.id)
            await self.wait(active.id)
        else:
            await self._sessions.destroy(row)
        return await self._sessions.gone(row)

    async def extend(self, ident: str, hours: int) -> datetime | None:
        self._refuse_read_only("extend")
        row = await self._sessions.row(ident)
        return await self._backend.extend(row.session.id, hours)

    async def health(self, ident: str) -> Sequence[Check]:
        attempt = self._serving(ident)
        if attempt is not None and attempt.endpoint is not None:
            rental = self._deployments[ident].rental
            return await attempt.endpoint.check(
                self._deployments[ident].model.served_name,
                pid=attempt.server.pid,
                has_gpu=bool(rental and rental.has_gpu),
            )
        return await self._sessions.health(await self._sessions.find(ident))

    async def bench(self, ident: str) -> BenchReport:
        self._refuse_read_only("bench")
        attempt = self._serving(ident)
        if attempt is not None:
            return await attempt.benchmark()
        return await self._sessions.bench(await self._sessions.find(ident))

    def _serving(self, ident: str) -> Attempt | None:
        """The attempt of a deployment that serves in this process."""
        deployment = self._deployments.get(ident)
        if deployment is None or deployment.state.phase is not Phase.SERVING:
            return None
        return self._attempts.get(ident)

    def _active_with(self, session_id: str | None) -> Deployment | None:
        for deployment in self._deployments.values():
            rental = deployment.rental
            if (
                deployment.state.finished is None
                and rental is not None
                and rental.session_id == session_id
            ):
                return deployment
        return None

    def _refuse_read_only(self, what: str) -> None:
        if self._settings.read_only:
            raise UsageError(f"{what} is not possible in read-only mode", "leave out --read-only")

    # -- ending ----------------------------------------------------------------------------------

    async def aclose(self) -> None:
        tasks = []
        for deployment in self._deployments.values():
            if deployment.task is not None and not deployment.task.done():
                self._cancel(deployment)
                tasks.append(deployment.task)
        if tasks:
            await asyncio.wait(tasks)
        await self._backend.aclose()
        await self._journal.aclose()


def _with_model(spec: DeploymentSpec) -> DeploymentSpec:

    return replace(spec, query=replace(spec.query, model=spec.model))


def _model_row(model: Model) -> ModelRow:
    need = None if model.shape is None else needed(model.shape)
    return ModelRow(
        alias=model.typed,
        location=model.location,
        source=model.source,
        gated=model.gated,
        parameters_b=None if model.shape is None else model.shape.parameters_b,
        vram_gb=None if need is None else round(need.vram_gb, 1),
        disk_gb=None if need is None else need.disk_gb,
    )
