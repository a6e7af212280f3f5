"""An answer typed before its question is on the screen is no answer to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual.events import Key, MouseDown, MouseUp
from textual.geometry import Offset
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from gdl.tui.app import GdlApp
from gdl.tui.screens.deploy_dialog import DeployDialog
from gdl.tui.screens.deployment import DeploymentScreen
from gdl.tui.screens.dialogs import Confirm, QuitDialog
from gdl.tui.screens.offers import OffersScreen
from tui_pilot import SIZE, choose, loaded, screen_text, show, shows, until
from tui_support import make_app, to_serving

TOLD = "typed before the question: ignored"


async def typed_ahead(
    pilot: Pilot[Any], asks: str, dialog: type[Screen[Any]], *answers: str
) -> None:
    """`answers` come while the question is on its way, and not on the screen."""
    pilot.app.post_message(Key(asks, asks if len(asks) == 1 else None))
    async with asyncio.timeout(30):
        while not isinstance(pilot.app.screen, dialog):
            await asyncio.sleep(0)
    for key in answers:
        pilot.app.post_message(Key(key, key if len(key) == 1 else None))


async def test_a_yes_typed_ahead_rents_nothing_until_the_plan_was_shown() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await loaded(pilot)
        await choose(pilot, "qwen2.5-0.5b")
        await typed_ahead(pilot, "enter", DeployDialog, "plus", "y")
        await until(pilot, lambda: TOLD in screen_text(app))
        assert isinstance(app.screen, DeployDialog) and "2 h at" in screen_text(app)
        assert not orchestrator.specs
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
    assert [spec.hours for spec in orchestrator.specs] == [2]


@pytest.mark.parametrize(
    ("asks", "answer", "dialog"),
    [("R", "y", Confirm), ("q", "l", QuitDialog), ("q", "r", QuitDialog)],
)
async def test_what_ends_a_machine_is_not_answered_before_it_is_asked(
    asks: str, answer: str, dialog: type[Confirm | QuitDialog]
) -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await show(pilot, orchestrator, to_serving)
        await typed_ahead(pilot, asks, dialog, answer)
        await until(pilot, lambda: TOLD in screen_text(app))
        assert isinstance(app.screen, dialog)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
    assert orchestrator.calls == []


async def test_escape_typed_ahead_is_taken() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await choose(pilot, "qwen2.5-0.5b")
        await typed_ahead(pilot, "enter", DeployDialog, "escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
    assert not orchestrator.specs


def press_mouse(pilot: Pilot[Any], at: Offset) -> None:
    """As the terminal tells it: the pilot's own clicks pass by the application."""
    for kind in (MouseDown, MouseUp):
        pilot.app.post_message(kind(None, at.x, at.y, 0, 0, 1, False, False, False))


async def test_the_second_half_of_a_double_click_rents_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, orchestrator = make_app()
    monkeypatch.setattr(GdlApp, "CLICK_CHAIN_TIME_THRESHOLD", 3600)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await loaded(pilot)
        await choose(pilot, "qwen2.5-0.5b")
        yes = await place_of_yes(pilot)
        press_mouse(pilot, yes)
        await pilot.press("enter")
        await drawn(pilot)
        for _impatient in range(3):  # and the hand slips
            press_mouse(pilot, yes)
            yes += Offset(1, 0)
        await pilot.press("plus")
        await until(pilot, shows(app, "3 h at"))
        assert isinstance(app.screen, DeployDialog) and not orchestrator.specs
        monkeypatch.setattr(GdlApp, "CLICK_CHAIN_TIME_THRESHOLD", 0)
        press_mouse(pilot, yes)
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
    assert len(orchestrator.specs) == 1


async def place_of_yes(pilot: Pilot[Any]) -> Offset:
    """Where a click would rent, while the plan is shown."""
    await pilot.press("enter")
    await drawn(pilot)
    yes = pilot.app.screen.query_one("#deploy").region.offset + Offset(2, 1)
    await pilot.press("escape")
    await until(pilot, lambda: isinstance(pilot.app.screen, OffersScreen))
    return yes


async def drawn(pilot: Pilot[Any]) -> None:
    def is_drawn() -> bool:
        shown = pilot.app.screen
        return isinstance(shown, DeployDialog) and shown.drawn_at is not None

    await until(pilot, is_drawn)


async def test_who_types_in_a_line_answers_no_question_that_comes_up_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, _orchestrator = make_app()
    monkeypatch.setattr(GdlApp, "CLICK_CHAIN_TIME_THRESHOLD", 3600)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await loaded(pilot)
        app.post_message(Key("slash", "/"))
        await until(pilot, lambda: isinstance(app.focused, Input))
        app.post_message(Key("m", "m"))
        await until(pilot, lambda: isinstance(app.focused, Input) and app.focused.value == "m")
        asked = Confirm("Continue it?", [], "", "Continue")
        answers: list[bool | None] = []
        await app.push_screen(asked, answers.append)
        await until(pilot, lambda: asked.drawn_at is not None)
        for letter in "yny":
            app.post_message(Key(letter, letter))
        await until(pilot, lambda: TOLD in screen_text(app))
        await pilot.pause()
        assert app.screen is asked and not answers
        monkeypatch.setattr(GdlApp, "CLICK_CHAIN_TIME_THRESHOLD", 0)
        app.post_message(Key("y", "y"))
        await until(pilot, lambda: answers == [True])
