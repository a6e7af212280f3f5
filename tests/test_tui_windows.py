"""What is over a screen: a window that closes, for which nothing is on its way; toasts, which leave
the cost in view; the palette, which names what our own keys do. And what is
hidden on a screen, where nothing is typed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from textual import work
from textual.app import ComposeResult
from textual.css import parse as css_parser
from textual.css import stylesheet
from textual.events import Key
from textual.widgets import OptionList, Static

from gdl.domain.events import DeploymentFinished
from gdl.domain.fleet_view import FleetView
from gdl.tui.screens.deployment import DeploymentScreen
from gdl.tui.screens.dialogs import Choose, QuitDialog, QuitProgress
from gdl.tui.screens.modal import Modal
from gdl.tui.screens.offers import OffersScreen
from gdl.tui.screens.spending import SpendingScreen
from gdl.tui.screens.watch_dialog import WatchDialog
from gdl.tui.widgets.log_view import LogView
from test_tui_fleet import fleet
from tui_pilot import SIZE, loaded, screen_text, show, shows, until
from tui_support import SPEC, make_app, to_installing, to_serving


class Window(Modal[None]):
    """It begins to look whenever it is told, as by a timer."""

    looked = 0

    def compose(self) -> ComposeResult:
        yield Static("looking", id="found")

    @work
    async def look(self) -> None:
        self.looked += 1


async def test_nothing_begins_in_a_window_that_closes() -> None:
    app, _orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        window = Window()
        await app.push_screen(window)
        window.look()
        await until(pilot, lambda: window.looked == 1)
        closed = window.dismiss()
        late = window.look()
        await closed
        await pilot.pause()
        assert late.is_cancelled and window.looked == 1


async def test_fleets_that_come_while_their_window_closes_are_for_nobody() -> None:
    app, orchestrator = make_app()

    async def rows(*, past: bool = False) -> Sequence[FleetView]:
        window = app.screen
        while window.query("#replicas"):
            await asyncio.sleep(0)
        return [fleet()]

    orchestrator.fleets.rows = rows  # type: ignore[method-assign]  # answers as it closes
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("f9")
        await until(pilot, lambda: "Asking" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))


async def test_what_is_said_leaves_the_cost_in_view() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await show(pilot, orchestrator, to_serving)
        await until(pilot, lambda: "so far, ends in" in screen_text(app))
        await pilot.press("c")
        await until(pilot, lambda: "copied a curl command" in screen_text(app))
        await pilot.pause()
        assert "so far, ends in" in screen_text(app)


async def test_the_palette_has_our_help_and_our_words_for_quitting() -> None:
    app, _orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        for key in ("", "m"):  # on a screen, and in a window over it
            await pilot.press(*key)
            await until(pilot, lambda key=key: not key or "Which model?" in screen_text(app))  # type: ignore[misc]
            told = {each.title: each.help for each in app.get_system_commands(app.screen)}
            assert "Keys" not in told and told["Quit"].startswith("Asks first while")
            assert key or "Help" in told


async def test_the_help_of_a_line_to_type_in_has_no_keys_that_scroll_it() -> None:
    app, _orchestrator = make_app()
    async with app.run_test(size=(120, 60)) as pilot:
        await loaded(pilot)
        await pilot.press("slash", "f1")
        await until(pilot, lambda: "Esc closes" in screen_text(app))
        text = screen_text(app)
        assert "Move cursor left a word" in text and "Scroll up" not in text


async def test_the_help_of_what_scrolls_one_way_has_the_keys_for_that_way() -> None:
    app, _orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("d", "f1")
        await until(pilot, lambda: "details.close" in screen_text(app))
        assert "Page up" in screen_text(app) and "Page left" not in screen_text(app)


async def test_a_window_tells_its_keys_too() -> None:
    app, _orchestrator = make_app()
    async with app.run_test(size=(120, 60), notifications=True) as pilot:
        await loaded(pilot)
        await pilot.press("f8")
        await until(pilot, lambda: isinstance(app.screen, SpendingScreen))
        await pilot.press("question_mark")
        await until(pilot, lambda: "In this window" in screen_text(app))
        assert "By month: The last 12 months" in screen_text(app)
        assert "? f1" in screen_text(app).split("Everywhere")[1], "one line for one action"
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, SpendingScreen))
        await pilot.press("r")
        await until(pilot, shows(app, "counted again"))
        await pilot.press("escape", "w")
        await until(pilot, lambda: isinstance(app.screen, WatchDialog))
        await pilot.press("question_mark")
        assert isinstance(app.screen, WatchDialog), "it can be typed there"
        await pilot.press("f1")
        await until(pilot, lambda: "Watch for an offer" not in screen_text(app))
        await until(pilot, lambda: "In this window" in screen_text(app))
        everywhere = screen_text(app).split("Everywhere")[1].split("✓ done")[0].split()
        assert {"f1", "^q", "^g"} <= set(everywhere) and "?" not in everywhere
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, WatchDialog))


async def test_no_style_sheet_is_parsed_twice_while_the_variables_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed: list[tuple[str, str, int]] = []
    parse = css_parser.parse

    def counted(scope: str, css: str, *where: Any, **more: Any) -> Any:
        parsed.append((scope, css, more["tie_breaker"]))
        return parse(scope, css, *where, **more)

    monkeypatch.setattr(stylesheet, "parse", counted)
    app, _orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        for key in "2345":
            await pilot.press(f"alt+{key}")
            await pilot.pause()
        assert len(parsed) == len(set(parsed)) and len(parsed) > 10
        before = len(parsed)
        app.theme = "textual-light"
        await until(pilot, lambda: len(parsed) >= before + len(app.stylesheet.source))


async def test_the_keys_of_a_log_that_is_not_shown_do_nothing() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await loaded(pilot)
        await pilot.press("2")
        await until(pilot, lambda: "No deployment yet" in screen_text(app))
        await pilot.press("e", "slash", "ctrl+s")
        await pilot.pause()
        assert app.focused is None and "no error" not in screen_text(app)
        await show(pilot, orchestrator, to_installing)
        await until(pilot, lambda: isinstance(app.focused, LogView))


async def test_the_log_of_a_deployment_that_begins_in_view_has_the_focus() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("2")
        await until(pilot, lambda: "No deployment yet" in screen_text(app))
        ident = orchestrator.begin(SPEC)
        to_installing(orchestrator, ident)
        app.follow(ident)
        await until(pilot, lambda: isinstance(app.focused, LogView))


async def test_a_second_enter_closes_no_window_below() -> None:
    app, _orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("f8")
        await until(pilot, lambda: isinstance(app.screen, SpendingScreen))
        words = Choose("Which?", ["one", "other"])
        await app.push_screen(words)
        await until(pilot, lambda: isinstance(app.focused, OptionList))
        for _held_down in range(3):
            app.post_message(Key("enter", None))
        await until(pilot, lambda: app.screen is not words)
        await pilot.pause()
        assert isinstance(app.screen, SpendingScreen)


async def test_leaving_that_is_not_confirmed_ends_though_its_help_is_read() -> None:
    app, orchestrator = make_app()
    late = asyncio.Event()

    async def wait(deployment_id: str) -> DeploymentFinished:
        await late.wait()
        raise TimeoutError

    orchestrator.deployments.wait = wait  # type: ignore[method-assign]  # nothing is confirmed
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await show(pilot, orchestrator, to_serving)
        await pilot.press("q")
        await until(
            pilot, lambda: isinstance(app.screen, QuitDialog) and app.screen.drawn_at is not None
        )
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, QuitProgress))
        await pilot.press("f1")
        await until(pilot, lambda: "In this window" in screen_text(app))
        late.set()
        await until(pilot, shows(app, "not confirmed: see 4 Sessions"))
        assert isinstance(app.screen, DeploymentScreen)


async def test_help_in_jump_mode_is_that_of_the_screen() -> None:
    app, _orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        for _again in range(2):
            await pilot.press("ctrl+g", "f1")
            await until(pilot, lambda: "On this screen" in screen_text(app))
            assert len(app.screen_stack) == 2
            await pilot.press("f1")
            await until(pilot, lambda: isinstance(app.screen, OffersScreen))
