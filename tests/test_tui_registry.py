"""The registry of screens: what is in it is reachable by key, bar, help and palette."""

from __future__ import annotations

from typing import Any

import pytest
from textual.binding import Binding

from gdl.tui.app import GdlApp
from gdl.tui.context import AppContext
from gdl.tui.keymap_check import places
from gdl.tui.palette_commands import commands
from gdl.tui.screen_registry import MAIN_SCREENS, WINDOWS, ScreenEntry
from gdl.tui.screens.base import GdlScreen
from gdl.tui.screens.help import keys_of
from tui_pilot import SIZE, loaded, screen_text, until
from tui_support import make_app


def test_names_and_keys_are_told_apart() -> None:
    entries = [*MAIN_SCREENS, *WINDOWS]
    assert len({entry.name for entry in entries}) == len({e.key for e in entries}) == len(entries)


@pytest.mark.parametrize("entry", MAIN_SCREENS, ids=lambda entry: entry.name)
async def test_a_main_screen_is_reached_by_its_key_and_by_its_name_on_the_bar(
    entry: ScreenEntry,
) -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        app.set_focus(None)
        await pilot.press(entry.key)
        await until(pilot, lambda: isinstance(app.screen, entry.load()))
        assert isinstance(app.screen, GdlScreen) and entry.name == app.screen.MODE
        assert f" {entry.key} {entry.title} " in screen_text(app).splitlines()[0]
        other = next(e for e in MAIN_SCREENS if e is not entry)
        start = screen_text(app).splitlines()[0].index(f"{other.key} {other.title}")
        await pilot.click(offset=(start, 0))
        await until(pilot, lambda: isinstance(app.screen, other.load()))


async def test_help_and_palette_name_every_screen_and_window() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        helped = {key.id for _title, keys in keys_of(app.screen) for key in keys}
        offered = {command.title for command in commands(app, app.screen)}
        for entry in (*MAIN_SCREENS, *WINDOWS):
            assert f"app.{entry.name}" in helped
            assert (entry.long_title or entry.title) in offered


def test_keys_of_the_configuration_reach_what_is_in_the_registry() -> None:
    known = {b.id for place in places(GdlApp) for b in place.BINDINGS if isinstance(b, Binding)}
    assert {f"app.{entry.name}" for entry in (*MAIN_SCREENS, *WINDOWS)} <= known


async def test_a_window_opens_once() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        for _ in range(2):
            context: AppContext = app
            context.open_window("welcome")
            await pilot.pause()
        found: list[Any] = [
            screen for screen in app.screen_stack if not isinstance(screen, GdlScreen)
        ]
        assert len(found) == 1
