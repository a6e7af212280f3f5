"""The names of the screens, above each of them."""

from __future__ import annotations

from collections.abc import Collection

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
        self.mode, self.key = entry.name, entry.key

    async def on_click(self, event: events.Click) -> None:
        event.stop()
        await self.app.run_action(f"show({self.mode!r})")


class TopBar(Horizontal):
    """Screens on the left, backends and read-only notice on the right."""

    def __init__(self, mode: str, backend: str, *, read_only: bool) -> None:
        super().__init__()
        self._mode, self._read_only = mode, read_only
        self._backends = backend.split(",")
        self._shown: frozenset[str] = frozenset()

    def compose(self) -> ComposeResult:
        for entry in MAIN_SCREENS:
            yield ScreenTab(entry, active=entry.name == self._mode)
        yield Static(self._where(), id="where")

    def show(self, away: Collection[str]) -> None:
        """Say which backends do not answer."""
        now = frozenset(away)
        if now != self._shown:
            self._shown = now
            self.query_one("#where", Static).update(self._where())

    def _where(self) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis", justify="right")
        if self._read_only:
            text.append("read-only", "bold")
            text.append(" · ")
        for number, name in enumerate(self._backends):
            text.append(", " if number else "")
            text.append(plain(name, 20))
            if name in self._shown and len(self._backends) > 1:
                text.append(" away", "bold red")
        return text
