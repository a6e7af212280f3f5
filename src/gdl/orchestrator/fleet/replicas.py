"""The replicas of one fleet: started, taken in and out, released. Each is a deployment like any
other.

Whatever takes its time is a task, so that a replica that dies is out within seconds whatever else
is being done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from gdl.domain import fleet_events as fe
from gdl.domain.backoff import Backoff
from gdl.domain.decisions import AfterServing
from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.fleet import Replica
from gdl.domain.health import HealthSample
from gdl.domain.phase import Billing, Phase
from gdl.domain.secret import Secret
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.fleet.admission import Models, explained, judged, root_of, why_out
from gdl.orchestrator.fleet.channel import FleetChannel
from gdl.orchestrator.fleet.router import Router
from gdl.orchestrator.run.registry import DeploymentRegistry

PROVEN = (Billing.NONE, Billing.RELEASED)
ENDS = "the fleet ends"
"""Why all of them leave."""
_DRAIN_S = 30.0
"""For what is being answered by a replica that leaves."""
_ANSWER_AGAIN_S = 1.0
_LOOK_S = 0.2

Destroy = Callable[[str], Awaitable[object]]
"""Releases a session and waits for the proof. Raises ReleaseUnconfirmed."""


class Replicas:
    """key: of the fleet. wake: called when there is something new to decide."""

    def __init__(
        self,
        channel: FleetChannel,
        registry: DeploymentRegistry,
        router: Router,
        destroy: Destroy,
        models: Models,
        key: Secret,
        wake: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._registry = registry
        self._router = router
        self._destroy = destroy
        self._models = models
        self._key = key
        self._wake = wake
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """What is being done with each replica, one thing at a time."""
        self._starting: dict[asyncio.Task[None], list[str]] = {}
        """Each with the id of its deployment, once it has one."""
        self._releasing: set[str] = set()
        self._watching: asyncio.Task[None] | None = None
        self._contexts_told = False
        self._not_begun: list[GdlError] = []
        self._defects: list[BaseException] = []

    @property
    def starting(self) -> int:
        """Replicas that are begun and not among those of the fleet's state yet."""
        known = self._channel.state.replicas
        return sum(not any(i in known for i in ids) for ids in self._starting.values())

    @property
    def busy(self) -> bool:
        return bool(self._tasks or self._starting)

    def deployment(self, replica: str) -> Deployment | None:
        """None while it is not gone on with yet, after a process that is gone."""
        return self._registry.get(replica)

    # -- starting --------------------------------------------------------------------------------

    def start(self, many: int, instead_of: str = "") -> None:
        for _ in range(many):
            ids: list[str] = []
            task = asyncio.create_task(self._start(instead_of, ids), name="replica-start")
            self._starting[task] = ids
            task.add_done_callback(self._started)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starting.pop(task, None)
        self._note_defect(task)
        self._wake()

    async def _start(self, instead_of: str, ids: list[str]) -> None:
        try:
            await self.start_one(instead_of, ids)
        except GdlError as error:
            self._not_begun.append(error)

    def take_not_begun(self) -> list[GdlError]:
        """Why replicas could not even begin, each told once."""
        found, self._not_begun = self._not_begun, []
        return found

    async def start_one(self, instead_of: str = "", ids: list[str] | None = None) -> None:
        """ids: takes the id of its deployment before anybody else knows of it. Raises GdlError when
        it cannot even begin."""
        state = self._channel.state
        assert state.spec is not None
        generation = state.generation
        spec = state.spec.of_member(state.fleet_id, generation, state.api_key_file)
        if (engine := self._engine()) is not None:
            # As it was chosen for the first of them, where it was left to be chosen.
            spec = replace(spec, engine=engine)
        ident = await self._registry.deploy(spec)
        if ids is not None:
            ids.append(ident)
        await self._channel.emit(
            fe.ReplicaStarted(
                ident, generation, instead_of, self._registry.state(ident).served_name
            )
        )

    def _engine(self) -> str | None:
        """That of the replicas there are; None while there is none."""
        for replica in self._channel.state.live:
            deployment = self._registry.get(replica.id)
            if deployment is not None:
                return deployment.spec.engine
        return None

    # -- looking ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take out what must not be asked, from now on. Not by `look`: whoever calls that may have
        to wait for the journal."""
        self._watching = asyncio.create_task(self._watch(), name="replicas-watch")
        self._watching.add_done_callback(self._note_defect)

    async def _watch(self) -> None:
        while True:
            serving = self._channel.state.serving
            left = [r for r in serving if r.id not in self._tasks]
            for replica in list(left):
                deployment = self._registry.get(replica.id)
                if deployment is None:
                    continue  # it is about to be gone on with
                health, others = deployment.readings.health, len(left) > 1
                if why := why_out(deployment.state, replica.url, health, others=others):
                    left.remove(replica)
                    self._do(replica.id, self.take_out(replica, why))
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> list[fe.ReplicaEnded]:
        """Take in what may be asked, and tell what has ended; the latter is the answer."""
        ended = []
        for replica in self._channel.state.live:
            deployment = self._registry.get(replica.id)
            if deployment is None or replica.taken_in or replica.id in self._tasks:
                continue
            state, health = deployment.state, deployment.readings.health
            if state.finished is not None:
                ended.append(await self._ended(replica, state))
            elif replica.counts and not why_out(state, root_of(state), health, others=True):
                self._do(replica.id, self._take_in(replica, state))
        return ended

    async def _take_in(self, replica: Replica, state: DeploymentState) -> None:
        try:
            found = await judged(self._channel.state, state, self._key, self._models)
            if found.never:
                await self._channel.emit(fe.ReplicaRefused(replica.id, found.why))
                return
            await self._router.add(found.url)
        except GdlError as error:
            why = explained(error)
            if replica.why_out != why:
                await self._channel.emit(fe.ReplicaTakenOut(replica.id, why))
            await asyncio.sleep(_ANSWER_AGAIN_S)
            return
        await self._channel.emit(fe.ReplicaTakenIn(replica.id, found.url, found.context))
        await self._tell_contexts()

    async def _tell_contexts(self) -> None:
        state = self._channel.state
        # While flags are changed, they differ for a while.
        alike = [r for r in state.serving if r.generation == state.generation]
        told = {r.context for r in alike if r.context is not None}
        if len(told) > 1 and not self._contexts_told:
            self._contexts_told = True
            await self._channel.note(
                f"the replicas serve contexts of {min(told)} to {max(told)} tokens: longer requests"
                f" are refused by some; `--context {min(told)}` makes them the same",
                "warning",
            )

    async def take_out(self, replica: Replica, why: str) -> None:
        """No new request goes to it."""
        trouble: GdlError | None = None
        try:
            await self._router.remove(replica.url)
        except GdlError as error:
            trouble = error
        finally:
            await self._channel.emit(fe.ReplicaTakenOut(replica.id, why))
        if trouble is not None:
            await self._channel.note(f"{replica.id}: {trouble.message}", "warning")

    # -- ends ------------------------------------------------------------------------------------

    async def _ended(self, replica: Replica, state: DeploymentState) -> fe.ReplicaEnded:
        finished, ending = state.finished, self._channel.state.ending
        assert finished is not None
        outcome = finished.outcome
        ends = replica.leaving in ("", ENDS)  # and was not to be released before that
        if ending is not None and ending.keep and ends and finished.billing is Billing.ACTIVE:
            # Its machine was left serving before, and was only about to be gone on with.
            outcome = "serving"
        end = fe.ReplicaEnded(
            replica.id,
            outcome,
            finished.billing,
            finished.kind,
            finished.error or "",
            finished.hint or "",
            round(state.cost(self._channel.clock()), 6),
            finished.session_id,
        )
        await self._channel.emit(end)
        if finished.billing in PROVEN or outcome == "serving":
            self._registry.siblings(self._channel.id).left(replica.id)
        else:
            # One that cannot be reached is not released by its deployment if it served before.
            self._do(replica.id, self._prove(end))
        return end

    async def _prove(self, end: fe.ReplicaEnded) -> None:
        """Release what its deployment did not, once more."""
        if end.session_id is None:
            return
        try:
            await self._destroy(end.session_id)
        except GdlError as error:
            await self._channel.note(f"{end.replica}: {explained(error)}", "error")
            return
        self._registry.siblings(self._channel.id).left(end.replica)
        await self._channel.emit(replace(end, billing=Billing.RELEASED))

    def release(self, replica: Replica, *, drain: bool) -> None:
        """It is leaving: let it answer what it was asked, and end its deployment."""
        if replica.id in self._releasing or (deployment := self.deployment(replica.id)) is None:
            return
        if (before := self._tasks.get(replica.id)) is not None:
            before.cancel()
        self._releasing.add(replica.id)
        self._do(replica.id, self._release(deployment, before, drain=drain))

    async def _release(
        self, deployment: Deployment, before: asyncio.Task[None] | None, *, drain: bool
    ) -> None:
        """before: what was being done with it, and is cancelled."""
        if before is not None:
            await asyncio.wait({before})
        replica = self._channel.state.replicas[deployment.id]
        try:
            if replica.taken_in:
                await self._empty(replica, deployment, drain=drain)
        finally:
            with contextlib.suppress(GdlError):  # it has ended by itself
                await self._registry.end(deployment)

    async def _empty(self, replica: Replica, deployment: Deployment, *, drain: bool) -> None:
        await self.take_out(replica, replica.leaving or replica.refused or "it is released")
        if drain:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    for pause in Backoff(_LOOK_S, _LOOK_S):
                        if not _busy(deployment.readings.health):
                            break
                        await asyncio.sleep(pause)

    def keep(self, replica: Replica) -> bool:
        """Let it serve on when its deployment ends; False when it does not serve. One of which that
        cannot be decided at this moment is to be asked again."""
        deployment = self.deployment(replica.id)
        if deployment is None:
            return True  # by whoever would go on with it
        phase, decisions = deployment.state.phase, deployment.decisions
        with contextlib.suppress(UsageError):
            decisions.answer(AfterServing.KEEP, phase)
        return decisions.end is AfterServing.KEEP or phase is Phase.SERVING

    # -- doing -----------------------------------------------------------------------------------

    def _do(self, replica: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"replica {replica}")
        self._tasks[replica] = task
        task.add_done_callback(lambda done: self._done(replica, done))

    def _done(self, replica: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(replica) is task:
            del self._tasks[replica]
        self._note_defect(task)
        self._wake()

    def _note_defect(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._defects.append(error)

    def raise_defects(self) -> None:
        """Raises what a task of ours ended with, and should not have."""
        if self._defects:
            raise self._defects.pop()

    async def aclose(self) -> None:
        """What is still being done is ended. Idempotent."""
        tasks = [*self._tasks.values(), *self._starting]
        if self._watching is not None:
            tasks.append(self._watching)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _busy(health: HealthSample | None) -> bool:
    """Whether it is answering something, as far as it tells."""
    return health is not None and bool(health.running or health.waiting)
