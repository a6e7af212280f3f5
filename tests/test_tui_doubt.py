"""Machines whose end is not proven, in the terminal UI: shown, counted, and settled by the user."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from textual.pilot import Pilot

from gdl.domain.session import SessionStatus
from gdl.tui.screens.dialogs import Confirm
from gdl.tui.screens.sessions import SessionsScreen
from tui_pilot import app_of, screen_text, until
from tui_support import ScriptedOrchestrator, make_app, session_row

WHY = "asked once in 0:07: it ended with an error (manual cleanup)"


def in_doubt(status: SessionStatus = SessionStatus.FAILED) -> ScriptedOrchestrator:
    made = ScriptedOrchestrator()
    row = session_row("s-1", ours=True)
    session = replace(row.session, status=status, ssh=None, error="manual cleanup")
    made.rows = [replace(row, session=session, billing="unknown", doubt=WHY)]
    return made


async def to_sessions(pilot: Pilot[Any]) -> None:
    await pilot.press("4")
    await until(pilot, lambda: "Rented machines · 1 · just now" in screen_text(app_of(pilot)))
    assert isinstance(pilot.app.screen, SessionsScreen)


async def test_a_machine_in_doubt_is_shown_and_counted() -> None:
    app, _ = make_app(in_doubt())
    async with app.run_test(size=(120, 40)) as pilot:
        # On every screen, before anybody looks at the sessions.
        await until(pilot, lambda: "May still be billing" in screen_text(app))
        await to_sessions(pilot)
        text = screen_text(app)
        assert "s-1 may still be billing: asked once in 0:07" in text
        assert "! failed" in text
        await pilot.press("d")
        await until(pilot, lambda: "In doubt" in screen_text(app))


async def test_the_user_who_has_looked_says_that_it_is_gone() -> None:
    app, orchestrator = make_app(in_doubt())
    async with app.run_test(size=(120, 40)) as pilot:
        await to_sessions(pilot)
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        text = " ".join(screen_text(app).split())
        assert "Is this machine gone?" in text and "own console" in text
        assert app.focused is not None and app.focused.id == "cancel"
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, SessionsScreen))
        assert ("confirm_gone", "s-1") not in orchestrator.calls
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: ("confirm_gone", "s-1") in orchestrator.calls)
        await until(pilot, lambda: "May still be billing" not in screen_text(app))


async def test_what_is_still_there_is_asked_for_again() -> None:
    app, orchestrator = make_app(in_doubt(SessionStatus.STOPPING))
    async with app.run_test(size=(120, 40)) as pilot:
        await to_sessions(pilot)
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: ("destroy", "s-1") in orchestrator.calls)
