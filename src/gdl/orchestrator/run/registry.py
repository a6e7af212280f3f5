"""The deployments of this process, and those of the past whose events somebody reads."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from gdl.domain import events as ev
from gdl.domain.change import Change
from gdl.domain.decisions import AfterFailure, AfterServing, Decision
from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery, RankedOffer
from gdl.domain.phase import Phase
from gdl.domain.rental import Rental
from gdl.domain.spec import DeploymentSpec, Membership
from gdl.engines.base import Engine, EngineResolver
from gdl.journal.store import Journal
from gdl.orchestrator.api.read_only import changing, refuse_read_only
from gdl.orchestrator.api.views import ResumableDeployment
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.deployment.event_channel import EventChannel
from gdl.orchestrator.deployment.siblings import Siblings
from gdl.orchestrator.deployment.summary import broken_off
from gdl.orchestrator.leasing.deployed_model import to_deploy
from gdl.orchestrator.leasing.engine_choice import engine_for
from gdl.orchestrator.leasing.markets import Markets
from gdl.orchestrator.leasing.model_lookup import ModelLookup
from gdl.orchestrator.leasing.selection import OfferSelection
from gdl.orchestrator.leasing.spending import carried_over
from gdl.orchestrator.leasing.uninterrupted import uninterrupted
from gdl.orchestrator.notify.notifier import Notifier
from gdl.orchestrator.run.attempt_calls import Begin, MakeAttempt, Reopen
from gdl.orchestrator.run.changes import adopt
from gdl.orchestrator.run.deciding import answer
from gdl.orchestrator.run.deployment_task import DeploymentTask
from gdl.orchestrator.run.left_open import tell_left_open
from gdl.orchestrator.run.past import PastDeployments
from gdl.orchestrator.run.planned import planned
from gdl.orchestrator.run.resumed import Resumed
from gdl.orchestrator.run.resumption import Resumptions
from gdl.settings import Settings

if TYPE_CHECKING:
    from gdl.orchestrator.run.attempt import Attempt


class DeploymentRegistry:
    """See `api.ports.Deployments`. Owns every deployment's task: it has a last word, and is waited
    for at the end. find_rental: the rental of an id or its beginning; raises UsageError."""

    def __init__(
        self,
        markets: Markets,
        engines: EngineResolver,
        journal: Journal,
        settings: Settings,
        clock: Callable[[], datetime],
        *,
        lookup: ModelLookup,
        selection: OfferSelection,
        make_attempt: MakeAttempt,
        find_rental: Callable[[str], Awaitable[Rental]],
        reopen: Reopen,
        notifier: Notifier,
    ) -> None:
        self.read_only = settings.read_only
        self._markets = markets
        self._engines = engines
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._lookup = lookup
        self._selection = selection
        self._make_attempt = make_attempt
        self._find_rental = find_rental
        self._reopen = reopen
        self._notifier = notifier
        self._resumptions = Resumptions(markets, engines, journal, settings, clock, lookup)
        self._here: dict[str, Deployment] = {}
        self._fleets: dict[str, Siblings] = defaultdict(Siblings)
        self._attempts: dict[str, Attempt] = {}
        self._past = PastDeployments(journal, clock)

    async def resumable(self) -> Sequence[ResumableDeployment]:
        here = set(self.active)
        return [r for r in await self._resumptions.rows() if r.deployment_id not in here]

    @changing("resume")
    async def resume(self, ident: str, *, ask_on_failure: bool = False) -> str:
        found = await self._resumptions.find(ident)
        siblings = None if found.state.spec is None else self.siblings_of(found.state.spec)
        deployment, where = await self._resumptions.take_over(
            found, ask_on_failure=ask_on_failure, siblings=siblings
        )
        self._here[deployment.id] = deployment
        self._past.forget(deployment.id)
        await self._start(deployment, self._run(deployment, resumed=where))
        return deployment.id

    @changing("deploy")
    async def deploy(self, spec: DeploymentSpec) -> str:
        engine, spec, why = await engine_for(
            spec, self._engines, self._markets, self._lookup, self._settings
        )
        spec, model = await to_deploy(engine, spec, self._lookup, self._settings)
        deployment = await self._add(spec, engine, model, self._markets.name)
        await self._start(deployment, self._run_telling_orphans(deployment, why))
        return deployment.id

    async def attach(self, ident: str, *, member: Membership | None = None) -> str:
        """See `api.ports.Deployments`. member: as a replica of that fleet from now on."""
        rental = await self._find_rental(ident)
        if (active := self.with_session(rental.backend, rental.session_id)) is not None:
            return active.id
        for row in await self.resumable():
            same = (row.deployment_id, row.session_id) == (rental.deployment_id, rental.session_id)
            if same and row.phase is not Phase.SERVING:
                return await self.resume(row.deployment_id)
        limits = await carried_over(self._journal, rental, self._clock())
        if member is not None:
            await self._markets.of(rental.backend).backend.sessions()  # else it is tried later
            limits["spent_before"] = 0.0  # is counted by the fleet
        spec = DeploymentSpec(
            model=rental.served_name,
            backend=rental.backend,
            bench=False,
            after="hold",
            query=OfferQuery(nodes=1 + len(rental.joined)),
            engine=rental.engine,
            attached=True,
            member=member,
            **limits,
        )
        model = Model(rental.served_name, "attached", rental.model, rental.served_name)
        deployment = await self._add(spec, self._engines(rental.engine), model, rental.backend)
        begin = partial(self._reopen, deployment, rental)
        await self._start(deployment, self._run(deployment, begin, backend=rental.backend))
        return deployment.id

    async def _run_telling_orphans(self, deployment: Deployment, why: str) -> None:
        telling = asyncio.create_task(tell_left_open(deployment, self._markets))
        try:
            await self._run(deployment, why=why)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _run(
        self,
        deployment: Deployment,
        begin: Begin | None = None,
        *,
        resumed: Resumed | None = None,
        backend: str = "",
        why: str = "",
    ) -> None:
        task = DeploymentTask(
            deployment, self._attempt_of, self._selection, self._clock, rents=self._markets.bill
        )
        try:
            await task.run(begin, resumed=resumed, backend=backend, why=why)
        finally:
            self._attempts.pop(deployment.id, None)

    def _attempt_of(self, deployment: Deployment, backend: str) -> Attempt:
        attempt = self._attempts[deployment.id] = self._make_attempt(deployment, backend)
        return attempt

    async def _add(
        self, spec: DeploymentSpec, engine: Engine, model: Model, backend: str
    ) -> Deployment:
        """Planned and journaled. Raises GdlError when the journal does not take it."""
        siblings = self.siblings_of(spec)
        deployment = await planned(
            self._journal, self._clock, self._settings, spec, engine, model, backend, siblings
        )
        self._here[deployment.id] = deployment
        return deployment

    async def _start(self, deployment: Deployment, work: Awaitable[None]) -> None:
        self._notifier.follow(deployment)
        deployment.task = asyncio.create_task(
            self._to_the_end(deployment, work), name=f"deployment {deployment.id}"
        )
        # A task that is cancelled before its first step would never tell its end.
        await asyncio.sleep(0)

    async def _to_the_end(self, deployment: Deployment, work: Awaitable[None]) -> None:
        try:
            await work
        finally:
            await uninterrupted(self._end(deployment))

    async def _end(self, deployment: Deployment) -> None:
        """Whatever happened, there is a last word, and the journal knows that it is over."""
        await deployment.channel.settled()
        state = deployment.state
        if state.finished is None:
            rents = self._markets.bill
            await deployment.emit(broken_off(state, self._clock(), rents=rents))
        finished = deployment.state.finished
        with contextlib.suppress(GdlError):
            outcome = finished.outcome if finished else "interrupted"
            await self._journal.set_outcome(deployment.id, outcome, 0)

    # -- finding ---------------------------------------------------------------------------------

    def siblings(self, fleet: str) -> Siblings:
        """What the replicas of a fleet know of each other, in this process."""
        return self._fleets[fleet]

    def siblings_of(self, spec: DeploymentSpec) -> Siblings | None:
        return None if spec.member is None else self._fleets[spec.member.fleet]

    def get(self, deployment_id: str) -> Deployment | None:
        """One of this process, ended or not."""
        return self._here.get(deployment_id)

    def attempt(self, deployment_id: str) -> Attempt | None:
        """The latest attempt of one that runs in this process."""
        return self._attempts.get(deployment_id)

    def serving(self, deployment_id: str) -> tuple[Deployment, Attempt] | None:
        """One that serves in this process, and its attempt."""
        deployment, attempt = self.get(deployment_id), self.attempt(deployment_id)
        if deployment is None or attempt is None or deployment.state.phase is not Phase.SERVING:
            return None
        return deployment, attempt

    def _running(self, deployment_id: str) -> Deployment:
        """One that runs. Raises UsageError."""
        deployment = self._here.get(deployment_id)
        if deployment is None or deployment.state.finished is not None:
            raise UsageError(
                f"deployment {deployment_id} does not run here",
                "`gdl-tui sessions` lists what is rented",
            )
        return deployment

    @property
    def active(self) -> Sequence[str]:
        return [d.id for d in self._here.values() if d.state.finished is None]

    def with_session(self, backend: str, session_id: str | None) -> Deployment | None:
        """The one that works on a session at this moment."""
        for deployment in self._here.values():
            rental = deployment.rental
            there = rental is not None and rental.subject == (backend, session_id)
            if there and deployment.state.finished is None:
                return deployment
        return None

    def state(self, deployment_id: str) -> DeploymentState:
        if deployment_id in self._here:
            return self._here[deployment_id].state
        return self._past.known(deployment_id).state

    async def events(self, deployment_id: str) -> AsyncIterator[ev.Recorded]:
        channel = await self._channel(deployment_id)
        async for recorded in channel.follow():
            yield recorded

    async def wait(self, deployment_id: str) -> ev.DeploymentFinished:
        channel = await self._channel(deployment_id)
        async for recorded in channel.follow():
            if isinstance(recorded.event, ev.DeploymentFinished):
                return recorded.event
        raise GdlError(f"deployment {deployment_id} has no end")

    async def _channel(self, deployment_id: str) -> EventChannel:
        """Of one of this process, or of one in the journal. Raises UsageError."""
        if deployment_id in self._here:
            return self._here[deployment_id].channel
        return await self._past.channel(deployment_id)

    # -- deciding --------------------------------------------------------------------------------

    async def next_offer(self, deployment_id: str, *, other_source: bool = False) -> RankedOffer:
        return await self._selection.preview(self._running(deployment_id), other_source)

    async def decide(
        self,
        deployment_id: str,
        decision: Decision,
        *,
        max_price: float | None = None,
        change: Change | None = None,
    ) -> None:
        if decision is not AfterServing.KEEP:
            refuse_read_only(self, "deciding")
        if change is not None:
            await adopt(self._running(deployment_id), change, self._lookup, self._settings)
        answer(self._running(deployment_id), self._markets, decision, max_price)

    @changing("including a provider")
    async def include_provider(self, deployment_id: str, provider: str) -> None:
        await self._selection.excluding.include_provider(self._running(deployment_id), provider)

    @changing("setting automatic failover")
    async def set_auto_failover(self, deployment_id: str, enabled: bool) -> None:
        deployment = self._running(deployment_id)
        if deployment.auto_failover == enabled:
            return
        deployment.auto_failover = enabled
        await deployment.emit(ev.AutoFailoverSet(enabled))
        if enabled and deployment.decisions.asks:
            deployment.decisions.answer(AfterFailure.NEXT, deployment.state.phase)

    # -- ending ----------------------------------------------------------------------------------

    async def cancel(self, deployment_id: str) -> None:
        self._cancel(self._running(deployment_id))

    async def end(self, deployment: Deployment) -> ev.DeploymentFinished:
        """Release what serves, or did, or cancel it; its last event."""
        try:
            deployment.decisions.answer(AfterServing.RELEASE, deployment.state.phase)
        except UsageError:
            await self.cancel(deployment.id)
        return await self.wait(deployment.id)

    @staticmethod
    def _cancel(deployment: Deployment) -> None:
        """Once, and not when it has said its last word already."""
        over = deployment.cancelling or deployment.state.finished is not None
        if not over and deployment.task is not None:
            deployment.cancelling = True
            deployment.task.cancel()

    async def aclose(self) -> None:
        """Cancel what runs, which releases what it rented, and wait for that."""
        tasks = []
        for deployment in self._here.values():
            if deployment.task is not None and not deployment.task.done():
                self._cancel(deployment)
                tasks.append(deployment.task)
        if tasks:
            await asyncio.wait(tasks)
        await self._notifier.aclose()
