"""Two panes that share the screen: the border between them is moved, kept, and clamped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from gdl.domain import events as ev
from gdl.settings import Settings
from gdl.tui.app import GdlApp
from gdl.tui.remembered import Remembered
from gdl.tui.screens.compare import CompareScreen
from gdl.tui.screens.help import HelpScreen
from gdl.tui.widgets.details_pane import DetailsPane
from gdl.tui.widgets.log_pane import LogTabs
from gdl.tui.widgets.log_view import LogView
from gdl.tui.widgets.phase_rail import Rail
from test_tui_snapshots_deploy import USUAL
from test_tui_snapshots_market import STORIES
from tui_pilot import SIZE, caught_up, loaded, screen_text, show, shows, until
from tui_support import (
    ScriptedOrchestrator,
    make_app,
    session_row,
    to_installing,
)
from waiting import wait_until


def started(folder: Path) -> tuple[GdlApp, ScriptedOrchestrator]:
    orchestrator = ScriptedOrchestrator()
    settings = Settings(backend="shopper", data_dir=folder)
    app = GdlApp(orchestrator, settings, clock=orchestrator.clock, version="1", reduced_motion=True)
    return app, orchestrator


def widths(app: GdlApp) -> tuple[int, int]:
    """Of rail and logs."""
    rail, logs = app.screen.query_one(Rail), app.screen.query_one(LogTabs)
    return rail.outer_size.width, logs.outer_size.width


async def changed_to(pilot: Pilot[None], app: GdlApp, wish: tuple[int, int]) -> None:
    await until(pilot, lambda: widths(app) == wish)


async def test_the_focused_pane_grows_and_shrinks_and_the_size_is_kept(tmp_path: Path) -> None:
    app, orchestrator = started(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_installing)
        await changed_to(pilot, app, (35, 45))
        await pilot.press("greater_than_sign")
        await changed_to(pilot, app, (33, 47))
        await pilot.press("less_than_sign", "less_than_sign")
        await changed_to(pilot, app, (37, 43))
        app.screen.query_one(Rail).focus()
        await pilot.press("greater_than_sign")
        await changed_to(pilot, app, (39, 41))
        file = tmp_path / "ui.json"
        await until(pilot, lambda: file.exists() and "39" in file.read_text())
    again, orchestrator = started(tmp_path)
    async with again.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_installing)
        await changed_to(pilot, again, (39, 41))
        await pilot.press("equals_sign")
        await changed_to(pilot, again, (35, 45))
        await until(pilot, lambda: json.loads(file.read_text())["panes"] == {})


async def test_a_smaller_terminal_clamps_it_and_a_larger_one_gives_it_back() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, orchestrator, to_installing)
        await changed_to(pilot, app, (42, 78))
        app.screen.query_one(Rail).focus()
        await pilot.press("greater_than_sign")
        await app.run_action("screen.resize_pane(40)")
        await changed_to(pilot, app, (96, 24))
        await pilot.resize_terminal(80, 24)
        await changed_to(pilot, app, (56, 24))
        await pilot.resize_terminal(50, 15)
        await changed_to(pilot, app, (26, 24))
        assert "Connect" in screen_text(app) and "Downloading" in screen_text(app)
        await pilot.resize_terminal(120, 40)
        await changed_to(pilot, app, (96, 24))
        await app.run_action("screen.resize_pane(-40)")
        await changed_to(pilot, app, (24, 96))


async def test_no_step_is_cut_at_80_by_24() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_installing)
        for name in ("Make the environment", "Pull vllm/vllm-openai:v0.32.0-cu129"):
            orchestrator.push(ident, 70, ev.StepStarted(1, name, name, 3, 3))
            orchestrator.push(ident, 71, ev.StepFinished(1, name, "done", 754.0))
        await caught_up(pilot, orchestrator, ident)
        await until(pilot, shows(app, "Pull"))
        rail = [line[:32].split() for line in screen_text(app).splitlines()]
        assert ["✓", "Make", "the", "environment", "12:34"] in rail
        assert ["✓", "Pull", "12:34"] in rail
        assert "vllm/vllm-openai:v0.32.0-c" in screen_text(app)


async def test_what_phases_usually_take_gives_way_to_their_names() -> None:
    app, orchestrator = make_app()
    orchestrator.usual = USUAL
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_installing)
        await until(pilot, shows(app, "~1:24"))
        await pilot.press(*["greater_than_sign"] * 9)
        await changed_to(pilot, app, (24, 56))
        await until(pilot, lambda: "~1:24" not in screen_text(app))
        for words in ("✓ Connect", "▶ Install", "· Start vLLM", "· Load model"):
            assert words in screen_text(app)


async def test_the_mouse_drags_the_border(tmp_path: Path) -> None:
    app, orchestrator = started(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_installing)
        await changed_to(pilot, app, (35, 45))
        await pilot.mouse_down(offset=(34, 12))
        await pilot.hover(offset=(28, 12))
        await changed_to(pilot, app, (29, 51))
        await pilot.mouse_up(offset=(44, 3))
        await changed_to(pilot, app, (45, 35))
        await pilot.hover(offset=(50, 12))
        await until(pilot, lambda: Remembered(tmp_path).pane("deployment.rail") == 45)
        assert widths(app) == (45, 35), "it was let go"
        assert not app.screen.get_selected_text()


async def test_tables_above_each_other_and_the_details(tmp_path: Path) -> None:
    app, orchestrator = started(tmp_path)
    orchestrator.rows = [session_row("s-1", ours=True)]
    orchestrator.told = list(STORIES)
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot)
        assert not app.screen.check_action("resize_pane", (1,)), "there is one pane"
        await pilot.press("d")
        pane = app.screen.query_one(DetailsPane)
        await until(pilot, lambda: pane.outer_size.height == 13)
        await pilot.press("less_than_sign")
        await until(pilot, lambda: pane.outer_size.height == 14)
        top = pane.region.y
        await pilot.mouse_down(offset=(30, top))
        await pilot.mouse_up(offset=(30, top - 3))
        await until(pilot, lambda: pane.outer_size.height == 17)
        await pilot.press("4")
        past = app.screen.query_one("#history")
        await until(pilot, lambda: past.outer_size.height > 0)
        before = past.outer_size.height
        await pilot.press("greater_than_sign")
        await until(pilot, lambda: past.outer_size.height == before - 1)
        line = app.screen.query_one("#history-line").region.y
        await pilot.mouse_down(offset=(30, line))
        await pilot.mouse_up(offset=(30, line + 2))
        await until(pilot, lambda: past.outer_size.height == before - 3)
        await pilot.press("tab")
        await until(pilot, lambda: past.has_focus)
        await app.run_action("screen.resize_pane(50)")
        await until(pilot, lambda: app.screen.query_one("#sessions").outer_size.height == 3)
        await pilot.resize_terminal(50, 15)
        await until(pilot, lambda: app.screen.query_one("#sessions").outer_size.height == 3)
        await until(pilot, lambda: past.region.bottom <= 13)
        assert "RTX 4090" in screen_text(app)


async def test_a_size_of_a_larger_terminal_hides_nothing_in_a_smaller_one() -> None:
    app, _orchestrator = make_app()
    async with app.run_test(size=(120, 100)) as pilot:
        await loaded(pilot)
        await pilot.press("d")
        pane, table = app.screen.query_one(DetailsPane), app.screen.query_one("#offers")
        await until(pilot, lambda: pane.outer_size.height == 13)
        await pilot.mouse_down(offset=(30, pane.region.y))
        await pilot.mouse_up(offset=(30, 4))
        await until(pilot, lambda: table.outer_size.height == 4)
        await pilot.resize_terminal(120, 40)
        # At once, not line by line with every second.
        fits = lambda: table.outer_size.height == 4 and pane.region.bottom == 39  # noqa: E731
        await wait_until(fits, limit_s=6, pause=pilot.pause)
        await pilot.resize_terminal(120, 100)
        await until(pilot, lambda: pane.region.bottom == 99 and table.outer_size.height == 4)


async def test_charts_and_table() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        app.push_screen(CompareScreen(None, None))
        await until(pilot, lambda: isinstance(app.screen, CompareScreen))
        table = app.screen.query_one("#measured-table")
        await until(pilot, lambda: table.outer_size.height > 5)
        before = table.outer_size.height
        await pilot.press("less_than_sign")
        await until(pilot, lambda: table.outer_size.height == before - 1)


async def test_help_tells_it_where_it_works_and_text_takes_the_keys() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=(120, 60)) as pilot:
        await loaded(pilot)
        await pilot.press("slash", *"price", "less_than_sign")
        line = app.screen.query_one("#filter", Input)
        await until(pilot, lambda: line.value == "price<")
        await pilot.press("escape")
        await show(pilot, orchestrator, to_installing)
        await until(pilot, lambda: isinstance(app.focused, LogView))
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.press("G")
        await until(pilot, shows(app, "Larger pane: Make the focused pane larger"))
        await pilot.press("escape", "z")
        await until(pilot, lambda: app.screen.maximized is not None)
        assert not app.screen.check_action("resize_pane", (1,))


@pytest.mark.parametrize("panes", ["3", '{"a": "x"}', '{"a": -1}', '{"a": 5000}', '{"a": true}'])
def test_sizes_that_are_wrong_are_none(tmp_path: Path, panes: str) -> None:
    (tmp_path / "ui.json").write_text(f'{{"panes": {panes}, "theme": "nord"}}')
    told = Remembered(tmp_path)
    assert (told.panes, told.theme) == ({}, "nord")


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    app, orchestrator = started(tmp_path / "file")
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_installing)
        await changed_to(pilot, app, (35, 45))
        await pilot.press("greater_than_sign")
        await until(pilot, lambda: len(app._notifications) > 0)
        (news,) = app._notifications
        assert news.message.startswith("for this run only: cannot write")
        assert widths(app) == (33, 47)
        await pilot.press("greater_than_sign", "equals_sign")
        await changed_to(pilot, app, (35, 45))
        await until(pilot, lambda: not any(w.group == "panes" for w in app.workers))
        assert len(app._notifications) == 1, "once is enough"
