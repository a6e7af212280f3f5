"""The half of the application that follows deployments, whatever screen is in front."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from textual.app import App

from gdl.domain.errors import GdlError
from gdl.tui.screens.base import GdlScreen

if TYPE_CHECKING:
    # Not needed for the first frame.
    from gdl.domain.spec import DeploymentSpec
    from gdl.orchestrator.api.ports import OrchestratorApi
    from gdl.tui.store import Followed, Store

_REPAINT_S = 0.08
"""At most this often, however fast events come."""
_YIELD_AFTER = 64
"""Events folded before others on the loop get their turn."""


class DeploymentFeed(App[None]):
    """Owns the store and one worker per followed deployment. Workers of the app, not of a screen:
    a screen that goes takes its workers with it.

    orchestrator: there is none before `begin`.
    """

    orchestrator: OrchestratorApi

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__()
        self.clock = clock
        self._dirty = False
        self._began = False
        self._looked_at = clock()

    @cached_property
    def store(self) -> Store:
        from gdl.tui.store import Store

        return Store()

    def begin(self) -> None:
        """Take up what runs already, and look after it from now on."""
        for deployment_id in self.orchestrator.active():
            self.follow(deployment_id)
        if not self._began:
            self._began = True
            self.set_interval(1.0, self._tick)
        self.call_after_refresh(self._look_for_sessions)

    def report(self, error: GdlError) -> None:
        """Say what went wrong."""
        raise NotImplementedError

    def action_show(self, mode: str) -> None:
        self.switch_mode(mode)

    def start(self, spec: DeploymentSpec) -> None:
        """Deploy, and show it."""
        self.run_worker(self._start(spec), group="start")

    async def _start(self, spec: DeploymentSpec) -> None:
        try:
            self.open(await self.orchestrator.deploy(spec))
        except GdlError as error:
            self.report(error)

    def open(self, deployment_id: str) -> None:
        """Follow a deployment and show its screen."""
        self.follow(deployment_id)
        self.action_show("deployment")

    def follow(self, deployment_id: str) -> None:
        """Follow its events from now to its end, whatever screen is shown."""
        if any(w.name == deployment_id and not w.is_finished for w in self.workers):
            self.store.add(deployment_id)
        else:
            self.store.deployments.pop(deployment_id, None)
            followed = self.store.add(deployment_id)
            self.run_worker(self._follow(followed), name=deployment_id, group="follow")
            self.run_worker(self._estimate(followed), group="estimate")

    async def _follow(self, followed: Followed) -> None:
        """Fold every event. A break is shown, never fatal: a machine may be billing."""
        try:
            count = 0
            async for recorded in self.orchestrator.events(followed.state.deployment_id):
                followed.fold(recorded)
                self.touch()
                count += 1
                if count % _YIELD_AFTER == 0:
                    await asyncio.sleep(0)
        except GdlError as error:
            followed.trouble = error.message
        except Exception as error:
            followed.trouble = f"{type(error).__name__}: {error}"
        self.touch()

    async def _estimate(self, followed: Followed) -> None:
        with contextlib.suppress(GdlError):
            ident = followed.state.deployment_id
            followed.usual = await self.orchestrator.estimates(ident)
            self.touch()

    def touch(self) -> None:
        """Something changed: paint soon, once for all that comes meanwhile."""
        if not self._dirty:
            self._dirty = True
            self.set_timer(_REPAINT_S, self._repaint)

    def _repaint(self) -> None:
        self._dirty = False
        for screen in self.screen_stack:
            if isinstance(screen, GdlScreen):
                screen.poke()

    def _tick(self) -> None:
        if (now := self.clock()) != self._looked_at:
            self._looked_at = now
            self._look()
        if not self._dirty:
            self._repaint()

    def _look(self) -> None:
        """A sample of what each machine does."""
        for ident, followed in self.store.deployments.items():
            if followed.state.finished is None:
                look = self.orchestrator
                followed.gauges.take(look.gpu_now(ident), look.health_now(ident))

    def _look_for_sessions(self) -> None:
        self.run_worker(self._list_sessions(), group="sessions")

    async def _list_sessions(self) -> None:
        """What was rented earlier, for the cost bar. The sessions screen says what goes wrong."""
        try:
            self.store.list_sessions(await self.orchestrator.sessions(), self.clock())
        except GdlError:
            return
        self.touch()
