"""The application: screens, keys that work everywhere, and how it speaks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from gdl.domain.errors import GdlError
from gdl.tui import format as fmt
from gdl.tui.following import Following
from gdl.tui.screens.offers import OffersScreen

if TYPE_CHECKING:
    from gdl.orchestrator.api import OrchestratorApi
    from gdl.settings import Settings
    from gdl.tui.screens.dialogs import Confirm


def _deployment() -> Screen[Any]:
    from gdl.tui.screens.deployment import DeploymentScreen

    return DeploymentScreen()


def _health() -> Screen[Any]:
    from gdl.tui.screens.health import HealthScreen

    return HealthScreen()


def _sessions() -> Screen[Any]:
    from gdl.tui.screens.sessions import SessionsScreen

    return SessionsScreen()


class GdlApp(Following):
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
        Binding("question_mark", "help", "Help", id="app.help", tooltip="The keys that work here"),
        Binding("f1", "help", "Help", id="app.help_anywhere", tooltip="The keys that work here"),
        Binding("q", "quit", "Quit", id="app.quit",
                tooltip="Asks first while a machine is rented"),
        Binding("ctrl+q", "quit", "Quit", priority=True, id="app.quit_anywhere",
                tooltip="Asks first while a machine is rented"),
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
        super().__init__(orchestrator, clock)
        self.settings, self.version, self.reduced_motion = settings, version, reduced_motion
        self.sub_title = version
        if reduced_motion:
            self.animation_level = "none"

    @property
    def read_only(self) -> bool:
        return self.settings.read_only

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

    def action_help(self) -> None:
        from gdl.tui.screens.help import HelpScreen, keys_of

        self.push_screen(HelpScreen(keys_of(self.screen)))

    async def action_quit(self) -> None:
        from gdl.tui.leaving import quit_politely

        self.run_worker(quit_politely(self), group="quit")

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every action that has a name, for the palette."""
        from gdl.tui.palette import commands

        yield from super().get_system_commands(screen)
        yield from commands(self, screen)
