"""The deployments of this process, and those of the past that somebody looks at."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.spec import DeploymentSpec
from gdl.engines.base import Model
from gdl.journal.store import DeploymentRow, Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.deployment.event_channel import EventChannel
from gdl.orchestrator.deployment.summary import summaries
from gdl.orchestrator.leasing import process_liveness
from gdl.orchestrator.leasing.releasing import uninterrupted
from gdl.orchestrator.leasing.requirements import needed_of
from gdl.settings import Settings


class DeploymentRegistry:
    """Owns the task of every deployment: it has a last word, and is waited for at the end."""

    def __init__(
        self,
        backend_name: str,
        rents: bool,
        journal: Journal,
        settings: Settings,
        clock: Callable[[], datetime],
    ) -> None:
        self._backend_name = backend_name
        self._rents = rents
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._here: dict[str, Deployment] = {}
        self._past: dict[str, EventChannel] = {}

    # -- beginning -------------------------------------------------------------------------------

    async def add(self, spec: DeploymentSpec, model: Model) -> Deployment:
        """Planned and journaled. Raises GdlError when the journal does not take it."""
        now = self._clock()
        ident = f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        deployment = Deployment(
            ident,
            spec,
            model,
            EventChannel(ident, self._journal, self._clock),
            self._settings.logs_dir / ident,
            auto_failover=spec.auto_failover,
        )
        await self._journal.add_deployment(
            DeploymentRow(
                ident,
                now,
                model.served_name,
                self._backend_name,
                "",
                os.getpid(),
                process_liveness.mark(os.getpid()),
                spec.engine,
            )
        )
        need = needed_of(model, spec.query, self._settings)
        vram_gb = None if need is None else need.vram_gb
        await deployment.emit(
            ev.DeploymentPlanned(spec, model.location, model.served_name, vram_gb)
        )
        self._here[ident] = deployment
        return deployment

    async def start(self, deployment: Deployment, work: Awaitable[None]) -> None:
        deployment.task = asyncio.create_task(
            self._run(deployment, work), name=f"deployment {deployment.id}"
        )
        # A task that is cancelled before its first step would never tell its end.
        await asyncio.sleep(0)

    async def _run(self, deployment: Deployment, work: Awaitable[None]) -> None:
        try:
            await work
        finally:
            await uninterrupted(self._end(deployment))

    async def _end(self, deployment: Deployment) -> None:
        """Whatever happened, there is a last word, and the journal knows that it is over."""
        await deployment.channel.settled()
        state = deployment.state
        if state.finished is None:
            attempt = state.attempt
            await deployment.emit(
                ev.DeploymentFinished(
                    "failed",
                    None,
                    state.served_name,
                    attempt.session_id if attempt else None,
                    state.billing,
                    summaries(state, "failed", None, self._clock(), rents=self._rents),
                    state.benchmark,
                    "internal error: the deployment broke off",
                    "`gdl-tui sessions` shows what is rented",
                    "error",
                )
            )
        finished = deployment.state.finished
        with contextlib.suppress(GdlError):
            outcome = finished.outcome if finished else "interrupted"
            await self._journal.set_outcome(deployment.id, outcome, 0)

    # -- finding ---------------------------------------------------------------------------------

    def get(self, deployment_id: str) -> Deployment | None:
        """One of this process, ended or not."""
        return self._here.get(deployment_id)

    def running(self, deployment_id: str) -> Deployment:
        """One that runs. Raises UsageError."""
        deployment = self._here.get(deployment_id)
        if deployment is None or deployment.state.finished is not None:
            raise UsageError(
                f"deployment {deployment_id} does not run here",
                "`gdl-tui sessions` lists what is rented",
            )
        return deployment

    def active(self) -> Sequence[str]:
        return [d.id for d in self._here.values() if d.state.finished is None]

    def with_session(self, session_id: str | None) -> Deployment | None:
        """The one that works on a session at this moment."""
        for deployment in self._here.values():
            rental = deployment.rental
            there = rental is not None and rental.session_id == session_id
            if there and deployment.state.finished is None:
                return deployment
        return None

    def state(self, deployment_id: str) -> DeploymentState:
        if deployment_id in self._here:
            return self._here[deployment_id].state
        if deployment_id in self._past:
            return self._past[deployment_id].state
        raise _unknown(deployment_id)

    async def channel(self, deployment_id: str) -> EventChannel:
        """Of one of this process, or of one in the journal. Raises UsageError."""
        if deployment_id in self._here:
            return self._here[deployment_id].channel
        if deployment_id not in self._past:
            history = await self._journal.events(deployment_id)
            if not history:
                raise _unknown(deployment_id)
            self._past[deployment_id] = EventChannel.replay(
                deployment_id, history, self._journal, self._clock
            )
        return self._past[deployment_id]

    # -- ending ----------------------------------------------------------------------------------

    def cancel(self, deployment: Deployment) -> None:
        """Once, and not when it has said its last word already."""
        over = deployment.cancelling or deployment.state.finished is not None
        if not over and deployment.task is not None:
            deployment.cancelling = True
            deployment.task.cancel()

    async def aclose(self) -> None:
        """Cancel what runs, which gives back what it rented, and wait for that."""
        tasks = []
        for deployment in self._here.values():
            if deployment.task is not None and not deployment.task.done():
                self.cancel(deployment)
                tasks.append(deployment.task)
        if tasks:
            await asyncio.wait(tasks)


def _unknown(deployment_id: str) -> UsageError:
    return UsageError(f"no deployment {deployment_id}", "`gdl-tui sessions` lists what there is")
