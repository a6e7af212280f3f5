"""Ends, ages and lists that stay true while time passes, and while others act elsewhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gdl.domain.session import SessionStatus
from gdl.tui.screens.dialogs import Confirm, QuitDialog
from gdl.tui.screens.offers import OffersScreen
from tui_pilot import SIZE, loaded, screen_text, show, until
from tui_support import (
    START,
    ScriptedOrchestrator,
    make_app,
    offer,
    session_row,
    to_serving,
)


def rented(ident: str) -> ScriptedOrchestrator:
    orchestrator = ScriptedOrchestrator()
    orchestrator.rows = [session_row(ident, ours=True)]
    return orchestrator


async def test_an_hour_more_is_in_the_bar_and_the_quit_dialog_at_once() -> None:
    app, orchestrator = make_app(rented("s-1"))
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_serving)
        await pilot.press("4")
        await until(pilot, lambda: "Rented machines · 1" in screen_text(app))
        before = app.store.bills(app.now)[0].expires_at
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        after = START + timedelta(minutes=107 + 60)
        await until(pilot, lambda: app.store.bills(app.now)[0].expires_at == after)
        assert before is not None and before < after
        left = f"ends in {(after - app.now) // timedelta(hours=1)}h"
        await until(pilot, lambda: left in screen_text(app))
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, QuitDialog))
        assert left in screen_text(app)


async def test_a_session_that_is_ended_elsewhere_is_noticed_on_any_screen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gdl.tui.deployment_feed.SESSIONS_EVERY_S", 0.05)
    app, orchestrator = make_app(rented("s-7"))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: "Still billing" in screen_text(app))
        (row,) = orchestrator.rows
        gone = replace(row.session, status=SessionStatus.STOPPED)
        orchestrator.rows[0] = replace(row, session=gone, billing="released")
        await until(pilot, lambda: "Still billing" not in screen_text(app))
        assert isinstance(app.screen, OffersScreen)


async def test_the_ages_of_offers_tick() -> None:
    app, orchestrator = make_app()
    orchestrator.listed = [offer("one", "L4", 24, 0.4, "p", fetched_at=START)]
    async with app.run_test(size=(200, 40)) as pilot:
        await loaded(pilot)
        now = orchestrator.clock()
        orchestrator.clock.forward(300)
        shown = f"{(now - START + timedelta(seconds=300)) // timedelta(minutes=1)} min"
        await until(pilot, lambda: shown in screen_text(app))
