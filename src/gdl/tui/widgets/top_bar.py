"""The names of the screens, above each of them."""

from __future__ import annotations

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from gdl.presentation.lines import plain
from gdl.tui.screen_registry import MAIN_SCREENS, ScreenEntry


class ScreenTab(Static):
    """The name of a screen; a click goes there."""

    ALLOW_SELECT = False

    def __init__(self, entry: ScreenEntry, *, active: bool) -> None:
        super().__init__(Text(f" {entry.key} {entry.title} "), classes="-active" if active else "")
        self.mode = entry.name

    async def on_click(self, event: events.Click) -> None:
        event.stop()
        await self.app.run_action(f"show({self.mode!r})")


class TopBar(Horizontal):
    """Screens on the left, backend and read-only notice on the right."""

    def __init__(self, mode: str, backend: str, *, read_only: bool) -> None:
        super().__init__()
        self._mode, self._backend, self._read_only = mode, backend, read_only

    def compose(self) -> ComposeResult:
        for entry in MAIN_SCREENS:
            yield ScreenTab(entry, active=entry.name == self._mode)
        text = Text(no_wrap=True, overflow="ellipsis", justify="right")
        if self._read_only:
            text.append("read-only", "bold")
            text.append(" · ")
        text.append(plain(self._backend, 20))
        yield Static(text, id="where")
