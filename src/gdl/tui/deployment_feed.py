"""Follows deployments, whatever screen is in front."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from textual.app import App

from gdl.domain.errors import GdlError, RemoteCodeNotAllowed
from gdl.tui.context import AppContext
from gdl.tui.screens.base import GdlScreen

if TYPE_CHECKING:
    # Not needed for the first frame.
    from datetime import datetime

    from gdl.domain.events import Recorded
    from gdl.domain.spec import DeploymentSpec
    from gdl.tui.store import Followed

_REPAINT_S = 0.08
"""At most this often, however fast events come."""
SESSIONS_EVERY_S = 60.0
"""So often what is rented is asked for while anything costs: it may be ended from elsewhere."""
_YIELD_AFTER = 64
"""Events folded before others on the loop get their turn."""


class DeploymentFeed:
    """Folds the events of each followed deployment into the store, and has the screens painted
    again. One worker for each, of the app and not of a screen: a screen that goes takes its
    workers with it."""

    def __init__(self, app: App[None], context: AppContext) -> None:
        """Both are the application: what runs the workers, and what the screens may ask of it."""
        self._app, self._context = app, context
        self._dirty = False
        self._began = False
        self._sampled_at = context.now

    def begin(self) -> None:
        """Take up what runs already, and look after it from now on."""
        for deployment_id in self._context.orchestrator.deployments.active:
            self.follow(deployment_id)
        if not self._began:
            self._began = True
            self._app.set_interval(1.0, self.tick)
            self._app.set_interval(SESSIONS_EVERY_S, self._look_while_it_costs)
        self._app.call_after_refresh(self._look_for_sessions)
        self._app.call_after_refresh(self._offer_to_resume)

    def _offer_to_resume(self) -> None:
        from gdl.tui.resuming import offer_to_resume

        self._app.run_worker(offer_to_resume(self._context), group="resume")

    def start(self, spec: DeploymentSpec) -> None:
        """Deploy, and show it."""
        self._app.run_worker(self._start(spec), group="start")

    async def _start(self, spec: DeploymentSpec) -> None:
        deployments = self._context.orchestrator.deployments
        try:
            try:
                ident = await deployments.deploy(spec)
            except RemoteCodeNotAllowed as error:
                if not await self._allows(error, spec):
                    return
                ident = await deployments.deploy(replace(spec, trust_remote_code=True))
            self.open(ident)
        except GdlError as error:
            self._context.report(error)

    async def _allows(self, error: RemoteCodeNotAllowed, spec: DeploymentSpec) -> bool:
        """Whether a model's own code may run on the machine; nothing is rented yet."""
        from rich.text import Text

        from gdl.presentation.lines import plain
        from gdl.tui.screens.dialogs import Confirm

        dialog = Confirm(
            "Let the model's own code run on the machine?",
            [("Model", Text(plain(spec.model, 120), "bold")), ("Why", Text(plain(error.message)))],
            "Allow it only if you trust its authors. Nothing has been rented.",
            "Allow it, and deploy",
        )
        return await self._context.ask(dialog) is True

    def open(self, deployment_id: str) -> None:
        """Follow a deployment and show its screen."""
        self.follow(deployment_id)
        self._context.action_show("deployment")

    def follow(self, deployment_id: str) -> None:
        """Follow its events from now to its end, whatever screen is shown."""
        store, workers = self._context.store, self._app.workers
        if any(w.name == deployment_id and not w.is_finished for w in workers):
            store.add(deployment_id)
        else:
            store.deployments.pop(deployment_id, None)
            followed = store.add(deployment_id)
            self._app.run_worker(self._follow(followed), name=deployment_id, group="follow")
            self._app.run_worker(self._estimate(followed), group="estimate")

    async def _follow(self, followed: Followed) -> None:
        """Fold every event. A break is shown, never fatal: a machine may be billing."""
        began = self._context.now
        try:
            count = 0
            async for recorded in self._context.orchestrator.deployments.events(
                followed.state.deployment_id
            ):
                followed.fold(recorded)
                self._tell(recorded, began)
                self.touch()
                count += 1
                if count % _YIELD_AFTER == 0:
                    await asyncio.sleep(0)
        except GdlError as error:
            followed.trouble = error.message
        except Exception as error:
            followed.trouble = f"{type(error).__name__}: {error}"
        self.touch()

    def _tell(self, recorded: Recorded, began: datetime) -> None:
        """Why what was chosen cannot be done: the panel may have said so before the key, too."""
        from gdl.domain.events import ChoiceAwaited

        event = recorded.event
        if isinstance(event, ChoiceAwaited) and event.reason and recorded.at >= began:
            self._context.say(event.reason, severity="warning")

    async def _estimate(self, followed: Followed) -> None:
        with contextlib.suppress(GdlError):
            ident = followed.state.deployment_id
            followed.usual = await self._context.orchestrator.endpoints.estimates(ident)
            self.touch()

    @property
    def repaint_due(self) -> bool:
        """Something changed that is not painted yet."""
        return self._dirty

    def touch(self) -> None:
        """Something changed: paint soon, once for all that comes meanwhile."""
        if not self._dirty:
            self._dirty = True
            self._app.set_timer(_REPAINT_S, self._repaint)

    def _repaint(self) -> None:
        self._dirty = False
        for screen in self._app.screen_stack:
            if isinstance(screen, GdlScreen):
                screen.poke()
        self._context.show_title()

    def tick(self) -> None:
        """Once a second: sample what each machine does, and paint what only time has changed."""
        if (now := self._context.now) != self._sampled_at:
            self._sampled_at = now
            self._sample()
        if not self._dirty:
            self._repaint()

    def _sample(self) -> None:
        orchestrator = self._context.orchestrator
        for ident, followed in self._context.store.deployments.items():
            if followed.state.finished is None:
                readings = orchestrator.endpoints.readings(ident)
                followed.samples.take(readings.gpu, readings.health)

    def _look_for_sessions(self) -> None:
        self._app.run_worker(list_sessions(self._context), group="sessions")
        self._app.run_worker(self._ask_again(), group="unproven ends")

    def _look_while_it_costs(self) -> None:
        if self._context.store.bills(self._context.now):
            self._app.run_worker(list_sessions(self._context), group="sessions")

    async def _ask_again(self) -> None:
        """For the ends that earlier runs asked for and that are not proven yet."""
        with contextlib.suppress(GdlError):
            await self._context.orchestrator.sessions.ask_again()


async def list_sessions(context: AppContext) -> None:
    """What is rented, for the cost bar. The sessions screen says what goes wrong."""
    with contextlib.suppress(GdlError):
        context.store.list_sessions(await context.orchestrator.sessions.rows(), context.now)
        context.touch()
