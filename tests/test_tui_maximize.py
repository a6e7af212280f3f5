"""A pane that is given the whole screen, and every way back."""

from __future__ import annotations

from textual.command import CommandPalette
from textual.widgets import Input

from gdl.tui.screens.deployment import DeploymentScreen
from gdl.tui.screens.offers import OffersScreen
from gdl.tui.widgets.details_pane import DetailsPane
from gdl.tui.widgets.keyed_table import KeyedTable
from gdl.tui.widgets.log_pane import FindLine, LogPane, LogTabs
from gdl.tui.widgets.log_view import LogView
from tui_pilot import SIZE, loaded, screen_text, show, shows, until
from tui_support import make_app, session_row, to_installing


async def test_a_log_takes_the_whole_screen_and_is_used_as_ever() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_installing)
        before = app.screen.query_one("#install-log", LogPane).size
        await pilot.press("z")
        tabs = app.screen.query_one(LogTabs)
        await until(pilot, lambda: tabs.size == (80, 22))
        text = screen_text(app)
        assert "Downloading torch" in text and "Still billing" in text and "z Restore" in text
        assert "Inspect" not in text, "the phases gave way"
        assert before.width < 50 < app.screen.query_one("#install-log", LogPane).size.width
        await pilot.press("l")
        await until(pilot, shows(app, "vLLM has not started"))
        assert app.screen.maximized is tabs and tabs.size == (80, 22)
        await pilot.press("l", "l")
        await until(pilot, lambda: isinstance(app.focused, LogView))
        await pilot.press("slash", *"tor")
        await until(pilot, shows(app, "1/1 found"))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.focused, FindLine))
        assert app.screen.maximized is tabs, "the first Esc ends the search alone"
        await pilot.press("slash", "t", "enter", "escape")
        assert app.screen.maximized is tabs
        await pilot.press("escape")
        await until(pilot, shows(app, "Inspect"))
        assert isinstance(app.screen, DeploymentScreen)
        await pilot.press("z", "z")
        await until(pilot, shows(app, "Inspect"))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))


async def test_a_table_gives_way_to_what_is_typed_and_when_it_goes() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("z")
        await until(pilot, lambda: app.screen.query_one(KeyedTable).outer_size == (80, 23))
        await pilot.press("slash")
        await until(pilot, lambda: isinstance(app.focused, Input))
        await until(pilot, shows(app, "/filter"))
        assert app.screen.maximized is None, "what is typed is seen"
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.focused, KeyedTable))
        await pilot.press("z")
        await until(pilot, lambda: app.screen.maximized is not None)
        orchestrator.listed = []
        await pilot.press("r")
        await until(pilot, lambda: app.screen.maximized is None)
        await until(pilot, shows(app, "lists no offers now"))
        await pilot.press("z")
        assert app.screen.maximized is None, "nothing has the focus"


async def test_the_pane_with_the_focus_is_the_one() -> None:
    app, orchestrator = make_app()
    orchestrator.rows = [session_row("s-1", ours=True)]
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot)
        await pilot.press("d")
        pane = app.screen.query_one(DetailsPane)
        await until(pilot, lambda: pane.outer_size.height > 0)
        await pilot.press("tab")
        await until(pilot, lambda: pane.has_focus)
        await pilot.press("z")
        await until(pilot, lambda: pane.outer_size == (120, 38))
        await pilot.press("d")
        await until(pilot, lambda: app.screen.maximized is None)
        assert not pane.display
        await pilot.press("4")
        await until(pilot, lambda: app.screen.query_one("#sessions").has_focus)
        await pilot.press("z")
        await until(pilot, lambda: app.screen.query_one("#sessions").outer_size == (120, 38))


async def test_the_mouse_brings_it_back_and_the_palette_names_it_once() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        titles = [each.title for each in app.get_system_commands(app.screen)]
        assert titles.count("Maximize") == 1
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(app.screen, CommandPalette))
        await pilot.press(*"maximize")
        await until(pilot, shows(app, "or restore it"))
        await pilot.press("enter")
        await until(pilot, shows(app, "z Restore"))
        assert [t.title for t in app.get_system_commands(app.screen)].count("Minimize") == 0
        await pilot.click(offset=(4, 23))
        await until(pilot, shows(app, "1 Offers"))


async def test_what_is_not_seen_takes_no_screen() -> None:
    app, _orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("4")
        await until(pilot, shows(app, "Nothing is rented"))
        await pilot.press("z")
        assert app.screen.maximized is None and "Nothing is rented" in screen_text(app)
