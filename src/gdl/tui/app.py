"""The application: screens, keys that work everywhere, and the workers that follow events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from gdl.domain.errors import GdlError
from gdl.domain.models import DeploymentSpec
from gdl.tui import format as fmt
from gdl.tui.screens.base import GdlScreen
from gdl.tui.screens.offers import OffersScreen
from gdl.tui.store import Followed, Store

if TYPE_CHECKING:
    from gdl.orchestrator.api import OrchestratorApi
    from gdl.settings import Settings
    from gdl.tui.screens.dialogs import Confirm

_REPAINT_S = 0.08
_YIELD_AFTER = 64


def _deployment() -> Screen[Any]:
    from gdl.tui.screens.deployment import DeploymentScreen

    return DeploymentScreen()


def _health() -> Screen[Any]:
    from gdl.tui.screens.health import HealthScreen

    return HealthScreen()


def _sessions() -> Screen[Any]:
    from gdl.tui.screens.sessions import SessionsScreen

    return SessionsScreen()


class GdlApp(App[None]):
    """The terminal UI over an orchestrator, which it neither builds nor closes."""

    TITLE = "gdl-tui"
    CSS_PATH = [  # noqa: RUF012 - all at once: a sheet that comes later restyles everything
        "styles/app.tcss",
        "screens/dialogs.tcss",
        "screens/offers.tcss",
        "screens/deployment.tcss",
        "screens/health.tcss",
        "screens/sessions.tcss",
        "screens/help.tcss",
    ]
    DEFAULT_MODE = "offers"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "offers": OffersScreen,
        "deployment": _deployment,
        "health": _health,
        "sessions": _sessions,
    }
    VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-tall")]  # noqa: RUF012 - as the base has it
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "show('offers')", "Offers", show=False, id="app.offers"),
        Binding("2", "show('deployment')", "Deployment", show=False, id="app.deployment"),
        Binding("3", "show('health')", "Health and benchmark", show=False, id="app.health"),
        Binding("4", "show('sessions')", "Sessions", show=False, id="app.sessions"),
        Binding("question_mark,f1", "help", "Help", key_display="?", id="app.help",
                tooltip="The keys that work here"),
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True, id="app.quit_anywhere",
                tooltip="Quit; asks first while a machine is rented"),
        Binding("q", "quit", "Quit", id="app.quit",
                tooltip="Quit; asks first while a machine is rented"),
    ]  # fmt: skip

    def __init__(
        self,
        orchestrator: OrchestratorApi,
        settings: Settings,
        *,
        clock: Callable[[], datetime],
        version: str,
        reduced_motion: bool = False,
    ) -> None:
        """`clock` gives the time now, in UTC, as the events' times are."""
        super().__init__()
        self.orchestrator, self.settings, self.clock = orchestrator, settings, clock
        self.version, self.reduced_motion = version, reduced_motion
        self.store = Store()
        self._dirty = False
        if reduced_motion:
            self.animation_level = "none"

    @property
    def read_only(self) -> bool:
        return self.settings.read_only

    def on_mount(self) -> None:
        self.sub_title = self.version
        for deployment_id in self.orchestrator.active():
            self.follow(deployment_id)
        self.set_interval(1.0, self._tick)
        self.call_after_refresh(self._look_for_sessions)

    # Following deployments

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

    async def _follow(self, followed: Followed) -> None:
        """Fold every event. A break is shown, never fatal: a machine may be billing."""
        try:
            count = 0
            async for recorded in self.orchestrator.events(followed.state.deployment_id):
                followed.fold(recorded)
                self._touch()
                count += 1
                if count % _YIELD_AFTER == 0:
                    await asyncio.sleep(0)
        except GdlError as error:
            followed.trouble = error.message
        except Exception as error:
            followed.trouble = f"{type(error).__name__}: {error}"
        self._touch()

    def _touch(self) -> None:
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
        if not self._dirty:
            self._repaint()

    def _look_for_sessions(self) -> None:
        self.run_worker(self._list_sessions(), group="sessions")

    async def _list_sessions(self) -> None:
        """What was rented earlier, for the cost bar. The sessions screen says what goes wrong."""
        try:
            self.store.list_sessions(await self.orchestrator.sessions(), self.clock())
        except GdlError:
            return
        self._touch()

    # Saying things

    def say(
        self, text: str, *, severity: Literal["information", "warning", "error"] = "information"
    ) -> None:
        self.notify(fmt.plain(text, 300), severity=severity, markup=False)

    def report(self, error: GdlError) -> None:
        text = f"{error.message}\n{error.hint}" if error.hint else error.message
        lines = "\n".join(fmt.plain(line, 300) for line in text.splitlines())
        self.notify(lines, severity="error", timeout=12, markup=False)

    async def ask(self, dialog: Confirm) -> bool:
        """Show a confirmation (from a worker) and wait for the answer."""
        answer = await self.push_screen_wait(dialog)
        return bool(answer)

    def copy(self, text: str, name: str) -> None:
        self.copy_to_clipboard(text)
        self.say(f"copied {name}")

    def do(self, going: Coroutine[Any, Any, None], words: str) -> None:
        """Await a command to the orchestrator in the background and say how it went."""
        self.run_worker(self._do(going, words), group="commands")

    async def _do(self, going: Coroutine[Any, Any, None], words: str) -> None:
        try:
            await going
        except GdlError as error:
            self.report(error)
        else:
            self.say(words)

    # Actions

    def action_show(self, mode: str) -> None:
        self.switch_mode(mode)

    def action_help(self) -> None:
        from gdl.tui.screens.help import HelpScreen, keys_of

        self.push_screen(HelpScreen(keys_of(self.screen)))

    async def action_quit(self) -> None:
        from gdl.tui.leaving import quit_politely

        self.run_worker(quit_politely(self), group="quit", exclusive=True)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every action that has a name, for the palette."""
        from gdl.tui.palette import commands

        yield from super().get_system_commands(screen)
        yield from commands(self, screen)
