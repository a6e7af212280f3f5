"""What can be done without a key."""

from __future__ import annotations

import pytest
from textual.command import CommandPalette

from gdl.tui.mouse import key_at
from gdl.tui.screens.dialogs import Confirm, Details
from gdl.tui.screens.help import HelpScreen
from gdl.tui.screens.offers import OffersScreen
from gdl.tui.screens.sessions import SessionsScreen
from gdl.tui.screens.spending import SpendingScreen
from gdl.tui.screens.watch_dialog import WatchDialog
from gdl.tui.widgets.keyed_table import KeyedTable
from tui_pilot import SIZE, loaded, shows, until
from tui_support import make_app, session_row

LINE = "d by day · + one more · Ctrl+X quits without waiting · Esc closes"


@pytest.mark.parametrize(
    ("word", "key"),
    [("d by", "d"), ("day", "d"), ("one more", "plus"), ("quits", "ctrl+x"), ("closes", "escape")],
)
def test_a_line_that_names_keys_is_clicked(word: str, key: str) -> None:
    assert key_at(LINE, LINE.index(word), {"d", "plus", "ctrl+x", "escape"}) == key
    assert key_at(LINE, LINE.index(word), set()) is None
    assert key_at(LINE, LINE.index(" · "), {"d"}) is None
    assert key_at("y is how many requests are sent side by side here", 0, {"y"}) is None


async def test_windows_are_worked_and_left_by_the_mouse() -> None:
    app, orchestrator = make_app()
    orchestrator.rows = [session_row("s-1", ours=True)]
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        app.action_help()
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.click(".dialog-note", offset=(14, 0))
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        await pilot.press("f8")
        await until(pilot, lambda: isinstance(app.screen, SpendingScreen))
        await pilot.click(".dialog-note", offset=(12, 0))
        await until(pilot, shows(app, "by month"))
        await pilot.click(offset=(0, 0))
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, WatchDialog))
        await pilot.click(offset=(0, 0))
        await pilot.pause()
        assert isinstance(app.screen, WatchDialog), "what was typed is not lost"
        await pilot.click("#cancel")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        await pilot.press("4")
        await until(pilot, lambda: isinstance(app.screen, SessionsScreen))
        await until(pilot, lambda: app.screen.query_one("#sessions", KeyedTable).has_focus)
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.click(".dialog-note")
        assert isinstance(app.screen, Confirm), "prose is no key"
        await pilot.click(offset=(0, 0))
        await until(pilot, lambda: isinstance(app.screen, SessionsScreen))
        assert "destroy" not in {call[0] for call in orchestrator.calls}
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Details))
        await pilot.click(app.screen.query(".dialog-note").last(), offset=(1, 0))
        await until(pilot, lambda: isinstance(app.screen, SessionsScreen))
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(app.screen, CommandPalette))
        await pilot.click(offset=(0, 0))
        await until(pilot, lambda: isinstance(app.screen, SessionsScreen))
        await pilot.pause()
        assert isinstance(app.screen, SessionsScreen), "the palette is left by itself, and it alone"
