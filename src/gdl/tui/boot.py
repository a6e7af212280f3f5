"""The first frame, at once, while everything else is imported and opened behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING

from rich.text import Text
from textual import work
from textual.screen import Screen

from gdl.domain.errors import GdlError, UsageError
from gdl.tui.app import GdlApp
from gdl.tui.screen_registry import style_sheets

if TYPE_CHECKING:
    from gdl.orchestrator.api.ports import OrchestratorApi
    from gdl.settings import Settings

_FIRST_FRAME_S = 0.2
"""At most; a terminal that takes nothing does not keep the program from starting."""
Opened = tuple["OrchestratorApi", "Settings"]
Connect = Callable[[str | None, str | None], Awaitable[Opened]]
"""`connect(backend, host)`: reads the settings and opens an orchestrator, in place of the one that
it opened before; None leaves it to the settings. Raises GdlError when it cannot be done."""


class BootScreen(Screen[None]):
    """A line that says what goes on, drawn without widgets and style sheets: these take their time,
    and there is nothing to show yet."""

    def __init__(self) -> None:
        super().__init__()
        self._since = time.monotonic()

    def on_mount(self) -> None:
        self.set_interval(1.0, self.refresh)

    def render(self) -> Text:
        lasted = time.monotonic() - self._since
        return Text(f"\n  gdl-tui {self.app.sub_title} · Starting… {lasted:.0f} s")


class BootApp(GdlApp):
    """The app for a process that has opened nothing yet. `failure`: why it could not be opened."""

    can_change_backend = True
    DEFAULT_MODE = "start"
    CSS_PATH = None  # until there is something to show

    def __init__(
        self,
        connect: Connect,
        *,
        clock: Callable[[], datetime],
        version: str,
        leave: Callable[[], object] = lambda: None,
    ) -> None:
        """leave: ends the process where nothing is open yet."""
        super().__init__(None, None, clock=clock, version=version)
        self._connect = connect
        self._leave = leave
        self.failure: GdlError | None = None

    def get_default_screen(self) -> Screen[None]:
        """The start's, which becomes a mode once it has been drawn: for a mode's first screen all
        styles are read again."""
        return BootScreen()

    def on_mount(self) -> None:
        self.call_after_refresh(self._open)

    def settle(self) -> None:
        from gdl.tui import garbage_collection

        garbage_collection.settle()

    def terminal_gone(self) -> None:
        if not self.connected:
            self._leave()  # what is still being imported is waited for by nobody
        super().terminal_gone()

    @work(exclusive=True, group="open")
    async def _open(self) -> None:
        """Connect, and go on with the offers; end when that cannot be done."""
        if self.terminal is not None:
            # While all that is imported now, the thread that writes hardly gets its turn.
            await asyncio.to_thread(self.terminal.taken, _FIRST_FRAME_S)
        try:
            orchestrator, settings = await self._connect(None, None)
        except GdlError as error:
            self.failure = error
            self.exit()
            return
        self.connect(orchestrator, settings)
        self.add_mode("start", BootScreen)
        self._read_sheets()
        await self.switch_mode("offers")
        self.begin()

    async def use(self, backend: str, host: str | None) -> None:
        if self.orchestrator.deployments.active:
            raise UsageError(
                "a deployment is still running", "end it first, then change the backend"
            )
        orchestrator, settings = await self._connect(backend, host)
        # New screens: all that the old ones hold came from another backend.
        await self.switch_mode("start")
        for mode, screen in GdlApp.MODES.items():
            await self.remove_mode(mode)
            self.add_mode(mode, screen)
        self.connect(orchestrator, settings)
        await self.switch_mode("offers")
        self.begin()
        self._remember(backend, host)

    def _remember(self, backend: str, host: str | None) -> None:
        """Simulated machines are for trying; all else is what somebody wants next time, too."""
        if self.orchestrator.simulated:
            self.say("simulated machines: nothing is rented · F6 to choose again")
            return
        from gdl.settings import write_first

        try:
            self.say(f"remembered in {write_first(backend, host)}")
        except UsageError as error:
            self.say(f"for this run only: {error.message} · {error.hint}", severity="warning")

    def _read_sheets(self) -> None:
        """All sheets at once, before there is much that they restyle."""
        self.stylesheet.read_all(style_sheets())
        self.stylesheet.reparse()
