"""The application: screens, keys that work everywhere, and how it speaks."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App, SuspendNotSupported, SystemCommand
from textual.binding import BindingType
from textual.events import Click, Event, InputEvent, Key
from textual.screen import Screen, SystemModalScreen

from gdl.domain.errors import GdlError, UsageError
from gdl.presentation.lines import plain
from gdl.tui.app_keys import BINDINGS
from gdl.tui.deployment_feed import DeploymentFeed
from gdl.tui.gestures import Gestures
from gdl.tui.legible import Legible
from gdl.tui.parsed_styles import ParsedStyles
from gdl.tui.remembered import Remembered
from gdl.tui.screen_registry import MAIN_SCREENS, style_sheets, window
from gdl.tui.screens.modal import Question
from gdl.tui.themes import HIGH_CONTRAST

if TYPE_CHECKING:
    from pathlib import Path, PurePath

    from textual.driver import Driver
    from textual.filter import LineFilter

    from gdl.domain.spec import DeploymentSpec
    from gdl.orchestrator.api.ports import OrchestratorApi
    from gdl.settings import Settings
    from gdl.tui.context import Answer, Severity
    from gdl.tui.store import Store
    from gdl.tui.terminal import TerminalDriver


class GdlApp(App[None]):
    """The terminal UI over an orchestrator, which it neither builds nor closes. Importing this
    imports little more than Textual: the first frame waits for it."""

    orchestrator: OrchestratorApi
    settings: Settings
    remembered: Remembered
    """There is none of them before `connect`."""
    can_change_backend = False

    TITLE = "gdl-tui"
    # All at once: a sheet that comes later restyles everything.
    CSS_PATH: ClassVar[list[str | PurePath] | None] = [*style_sheets()]
    DEFAULT_MODE = "offers"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        entry.name: entry.make for entry in MAIN_SCREENS
    }
    VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-tall")]  # noqa: RUF012 - as the base has it
    BINDINGS: ClassVar[list[BindingType]] = BINDINGS

    def __init__(
        self,
        orchestrator: OrchestratorApi | None,
        settings: Settings | None,
        *,
        clock: Callable[[], datetime],
        version: str,
        reduced_motion: bool = False,
    ) -> None:
        """`clock` gives the time now, in UTC, as the events' times are. Without orchestrator and
        settings, `connect` must be called before another screen than the first is shown."""
        super().__init__()
        self.stylesheet = ParsedStyles(self.get_css_variables())
        self.clock = clock
        self.feed = DeploymentFeed(self, self)
        self.connected = self.handed_over = False
        self.terminal: TerminalDriver | None = None
        self._gestures = Gestures()
        if orchestrator is not None and settings is not None:
            self.connect(orchestrator, settings)
        self.version = version
        self.sub_title = version
        self.register_theme(HIGH_CONTRAST)
        self._legible = Legible()
        if reduced_motion:
            self.animation_level = "none"

    def terminal_gone(self) -> None:
        """Called from a thread once there is no terminal any more: the program ends as by a
        SIGTERM."""
        os.kill(os.getpid(), signal.SIGTERM)

    def get_driver_class(self) -> type[Driver]:
        """Textual's, but on a terminal that may go away."""
        usual = super().get_driver_class()
        if usual.__name__ != "LinuxDriver":
            return usual
        from gdl.tui.terminal import TerminalDriver, tell_alt_digits

        tell_alt_digits()
        return TerminalDriver

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual's, then ours, which is to see the colours as they come to the terminal."""
        return (*super().get_line_filters(), self._legible)

    @cached_property
    def store(self) -> Store:
        from gdl.tui.store import Store

        return Store()

    @property
    def reduced_motion(self) -> bool:
        """Asked for by us, by the settings, or by TEXTUAL_ANIMATIONS."""
        return self.animation_level == "none"

    def begin(self) -> None:
        """Connected: take up what runs already, and what the settings say of keys and theme."""
        self.feed.begin()
        if keys := self.settings.keys:
            from gdl.tui.keymap_check import problems

            self.set_keymap(keys)
            for problem in problems(type(self), keys)[:3]:
                self.say(problem, severity="warning")
        if theme := self.settings.theme or self.remembered.theme:
            if theme in self.available_themes:
                self.theme = theme
            else:
                self.say(f"there is no theme {plain(theme, 40)}", severity="warning")

    def settle(self) -> None:
        """Called when much has been read and shown. Does nothing where others share the process."""

    def connect(self, orchestrator: OrchestratorApi, settings: Settings) -> None:
        self.orchestrator, self.settings, self.connected = orchestrator, settings, True
        self.remembered = Remembered(settings.data_dir)
        if settings.reduced_motion:
            self.animation_level = "none"

    @property
    def config_file(self) -> Path:
        """Where the configuration is, or would be."""
        from gdl.settings import config_file

        return config_file()

    async def use(self, backend: str, host: str | None) -> None:
        """Take machines from this backend from now on. Raises GdlError when that cannot be."""
        raise UsageError("this run cannot change its backend", f"start with --backend {backend}")

    def on_mount(self) -> None:
        if self.connected:
            self.begin()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("show", "open", "help", "jump") and not self.connected:
            return False
        return super().check_action(action, parameters)

    @property
    def escape_to_minimize(self) -> bool:
        """Unless what has the focus in a maximized pane has a use for Escape itself."""
        bound = self.screen.active_bindings.get("escape")
        return bound is None or bound.node in (self.screen, self)

    @property
    def now(self) -> datetime:
        return self.clock()

    @property
    def read_only(self) -> bool:
        return self.settings.read_only

    # Saying things

    def say(self, text: str, *, severity: Severity = "information") -> None:
        self.notify(plain(text, 300), severity=severity, markup=False)

    def report(self, error: GdlError) -> None:
        text = f"{error.message}\n{error.hint}" if error.hint else error.message
        lines = "\n".join(plain(line, 300) for line in text.splitlines())
        self.notify(lines, severity="error", timeout=12, markup=False)

    async def ask(self, dialog: Screen[Answer]) -> Answer | None:
        return await self.push_screen_wait(dialog)

    async def hand_over(self, command: Sequence[str]) -> int:
        """Give the terminal to a program until it ends; its exit status. Everything else goes on
        meanwhile. Raises UsageError where a terminal cannot be given away."""
        try:
            with self.batch_update(), self.suspend():
                self.handed_over = True
                process = await asyncio.create_subprocess_exec(*command)
                return await process.wait()
        except SuspendNotSupported:
            raise UsageError(
                "a shell needs a terminal, not a browser", "use gdl-tui in a terminal"
            ) from None
        except OSError as error:
            raise UsageError(f"cannot run {command[0]}: {error.strerror}", "check it") from None
        finally:
            self.handed_over = False
            self.refresh(layout=True)

    def copy(self, text: str, name: str) -> None:
        self.copy_to_clipboard(text)
        self.say(f"copied {name}")

    def do(self, command: Coroutine[Any, Any, None], words: str) -> None:
        """Await a command to the orchestrator in the background and say how it went."""
        self.run_worker(self._do(command, words), group="commands")

    async def _do(self, command: Coroutine[Any, Any, None], words: str) -> None:
        try:
            await command
        except GdlError as error:
            self.report(error)
        else:
            self.say(words)

    # Deployments

    def start(self, spec: DeploymentSpec) -> None:
        self.feed.start(spec)

    def open_deployment(self, deployment_id: str) -> None:
        self.feed.open(deployment_id)

    def follow(self, deployment_id: str) -> None:
        self.feed.follow(deployment_id)

    def touch(self) -> None:
        self.feed.touch()

    def show_title(self) -> None:
        if self.terminal is not None:
            from gdl.tui.window_title import window_title

            self.terminal.entitle(window_title(self.store, self.now))

    # Screens and actions

    def action_show(self, name: str) -> None:
        self.switch_mode(name)

    def open_window(self, name: str, *arguments: object) -> None:
        entry = window(name)
        if not any(isinstance(shown, entry.load()) for shown in self.screen_stack):
            self.push_screen(entry.make(*arguments))

    def action_open(self, name: str) -> None:
        self.open_window(name)

    def action_help(self) -> None:
        from gdl.tui.screens.help import toggle_help

        toggle_help(self)

    def action_commands(self) -> None:
        """As people are used to from k9s and vi. No binding of Textual's own action: Textual gives
        that no Ctrl+P then."""
        self.action_command_palette()

    def action_jump(self) -> None:
        """Letters on what can have the focus; pressed again, they go away."""
        from gdl.tui.screens.jump import JumpScreen, targets

        shown = self.screen
        if isinstance(shown, JumpScreen):
            shown.dismiss()
        elif not isinstance(shown, SystemModalScreen) and (found := targets(shown)):
            self.push_screen(JumpScreen(found))

    def action_change_theme(self) -> None:
        """In place of Textual's, which shows no theme before it is chosen."""
        self.run_worker(self._choose_theme(), group="dialog", exclusive=True)

    async def _choose_theme(self) -> None:
        from gdl.tui.screens.theme_dialog import ThemeDialog

        name = await self.ask(ThemeDialog())
        if name is None or not self.connected:
            return
        if self.settings.theme:
            self.say(f"for this run only: {self.config_file} says theme = {self.settings.theme}")
            return
        try:
            await asyncio.to_thread(self.remembered.keep_theme, name)
        except OSError as error:
            self.say(f"for this run only: cannot write {self.settings.data_dir}: {error.strerror}")

    def action_suspend(self) -> None:
        """Stop this process, unless something depends on it."""
        if self.connected and self.orchestrator.deployments.active:
            self.say(
                "not while a deployment runs: it and its tunnel would stop, what it costs would "
                "not · use a second terminal",
                severity="warning",
            )
        elif self.terminal is None or not self.terminal.can_suspend:
            self.say("in a browser there is no shell to go back to")
        else:
            self.action_suspend_process()

    async def on_event(self, event: Event) -> None:
        """All input comes in here. A question takes none that was meant for what it hides."""
        if isinstance(event, InputEvent) and not event.is_forwarded:
            shown, since = self.screen, self._gestures.since(event, self)
            if isinstance(shown, Question) and not shown.is_answered_by(event, since):
                shown.tell_ignored(event)
                return
        await super().on_event(event)

    def on_key(self, event: Key) -> None:
        """A key that is offered and does nothing says why."""
        from gdl.tui.screens.base import Explains

        bound = self.screen.active_bindings.get(event.key)
        if bound is not None and not bound.enabled and isinstance(self.screen, Explains):
            self.say(self.screen.why_not(bound.binding.action), severity="warning")

    def on_click(self, event: Click) -> None:
        from gdl.tui.mouse import key_clicked

        if (key := key_clicked(self.screen, event)) is not None:
            self.simulate_key(key)

    async def action_quit(self) -> None:
        if not self.connected:
            self.exit()
            return
        from gdl.tui.quit import quit_or_ask

        self.run_worker(quit_or_ask(self), group="quit")

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every action that has a name, for the palette."""
        from gdl.tui.palette_commands import OURS, commands
        from gdl.tui.screens.base import GdlScreen

        yield from (each for each in super().get_system_commands(screen) if each.title not in OURS)
        yield from commands(self, screen)
        if isinstance(screen, GdlScreen):
            yield from screen.palette()
