"""Jump mode: a letter on everything that can have the focus, and how it is left."""

from __future__ import annotations

from textual.command import CommandPalette
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Button, Input, TabbedContent, TextArea

from gdl.tui.app import GdlApp
from gdl.tui.screens.chat import ChatScreen
from gdl.tui.screens.dialogs import Confirm
from gdl.tui.screens.jump import JumpScreen, Label
from gdl.tui.screens.model_dialog import ModelDialog
from gdl.tui.screens.offers import OffersScreen
from gdl.tui.widgets.filter_row import FilterRow
from gdl.tui.widgets.keyed_table import KeyedTable
from gdl.tui.widgets.log_pane import LogTabs
from gdl.tui.widgets.log_view import LogView
from gdl.tui.widgets.phase_rail import Rail
from gdl.tui.widgets.slider import Slider
from tui_pilot import SIZE, loaded, screen_text, show, shows, until
from tui_support import make_app, to_installing, to_serving


def labels(app: GdlApp) -> dict[str, tuple[int, int]]:
    """Where each letter is."""
    found = {}
    for label in app.screen.query(Label):
        found[str(label.render()).strip()] = (label.region.x, label.region.y)
    return found


async def jumping(pilot: Pilot[None], app: GdlApp) -> None:
    await pilot.press("ctrl+g")
    await until(pilot, lambda: isinstance(app.screen, JumpScreen))
    await until(pilot, shows(app, "a letter goes there"))


async def left(pilot: Pilot[None], app: GdlApp) -> None:
    await until(pilot, lambda: not isinstance(app.screen, JumpScreen))


async def test_a_letter_goes_to_a_pane_and_escape_leaves_all_as_it_was() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await until(pilot, lambda: isinstance(app.focused, KeyedTable))
        await jumping(pilot, app)
        assert set(labels(app)) == {"1", "2", "3", "4", "5", "a", "s"}
        assert labels(app)["1"] == (0, 0) and labels(app)["a"][1] == 2
        await pilot.press("escape")
        await left(pilot, app)
        assert isinstance(app.focused, KeyedTable)
        await jumping(pilot, app)
        await pilot.press("ctrl+g")
        await left(pilot, app)
        await jumping(pilot, app)
        await pilot.press("m", "enter", "y", "f10")  # nothing has these letters
        assert isinstance(app.screen, JumpScreen)
        await pilot.press("a")
        await left(pilot, app)
        assert isinstance(app.focused, Input)


async def test_what_is_typed_next_is_typed_there_however_fast() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        app.simulate_key("ctrl+g")
        for letter in "aa100":
            app.post_message(Key(letter, letter))
        line = app.screen.query_one(FilterRow)
        await until(pilot, lambda: line.line == "a100")
        assert isinstance(app.screen, OffersScreen)


async def test_tabs_are_opened_and_the_rail_is_reached() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_installing)
        await jumping(pilot, app)
        keys = labels(app)
        assert set(keys) - set("12345") == set("asdfg")
        rail, *tabs, log = (keys[key] for key in "asdfg")
        assert rail[0] == 0 and len({y for _x, y in tabs}) == 1 and log[1] > tabs[0][1]
        await pilot.press("f")
        await left(pilot, app)
        tabbed = app.screen.query_one(TabbedContent)
        await until(pilot, lambda: tabbed.active == "timeline")
        inside = list(tabbed.query("#timeline *"))
        await until(pilot, lambda: app.focused in inside)
        await jumping(pilot, app)
        await pilot.press("d")
        await until(pilot, lambda: tabbed.active == "engine" and isinstance(app.focused, LogView))
        await jumping(pilot, app)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.focused, Rail))


async def test_only_what_is_seen_has_a_letter() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_installing)
        await pilot.press("z")
        await until(pilot, lambda: isinstance(app.screen.maximized, LogTabs))
        await jumping(pilot, app)
        assert set(labels(app)) == set("asdf")
        await pilot.press("s")
        await until(pilot, lambda: app.screen.query_one(TabbedContent).active == "engine")
        assert isinstance(app.screen.maximized, LogTabs)


async def test_in_a_window_what_was_typed_stays() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        await pilot.press(*"mistral")
        await jumping(pilot, app)
        assert "1" not in labels(app), "the screens are behind the window"
        await pilot.press("s")
        await left(pilot, app)
        assert isinstance(app.screen, ModelDialog) and isinstance(app.focused, Slider)
        line = app.screen.query(Input).first()
        assert line.value == "mistral"
        await jumping(pilot, app)
        await pilot.press("a")
        await left(pilot, app)
        await pilot.press("end", "x")
        await until(pilot, lambda: line.value == "mistralx")


async def test_a_button_is_focused_and_not_pressed() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_serving)
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await jumping(pilot, app)
        yes, _cancel = (key for key in labels(app))
        await pilot.press(yes)
        await left(pilot, app)
        assert isinstance(app.screen, Confirm)
        assert isinstance(app.focused, Button) and app.focused.id == "yes"
        assert not any(call[0] == "decide" for call in orchestrator.calls)


async def test_from_the_chat_line_to_another_screen() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_serving)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        line = app.screen.query_one(TextArea)
        await until(pilot, lambda: line.has_focus)
        await pilot.press(*"hello")
        await jumping(pilot, app)
        await pilot.press("1")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        assert line.text == "hello"


async def test_the_mouse_and_another_size() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await jumping(pilot, app)
        await pilot.click(offset=labels(app)["a"])
        await left(pilot, app)
        assert isinstance(app.focused, Input)
        await jumping(pilot, app)
        await pilot.resize_terminal(50, 15)
        await left(pilot, app)
        await jumping(pilot, app)
        assert set("as") <= set(labels(app))
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.focused, KeyedTable))


async def test_not_over_the_palette_and_offered_by_it() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(app.screen, CommandPalette))
        await pilot.press("ctrl+g")
        assert isinstance(app.screen, CommandPalette)
        await pilot.press(*"jump")
        await until(pilot, shows(app, "Put a letter on everything"))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, JumpScreen))
        assert "a letter goes there" in screen_text(app)
