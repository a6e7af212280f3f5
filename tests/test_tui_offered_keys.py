"""Every key that the bottom line offers acts, or says why not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from gdl.domain import events as ev
from gdl.domain.phase import Billing, Phase
from gdl.domain.spec import DeploymentSpec
from gdl.tui.app import GdlApp
from gdl.tui.widgets.key_bar import KeyBar
from tui_pilot import SIZE, choose, loaded, screen_text, show, until
from tui_support import (
    ScriptedOrchestrator,
    make_app,
    session_row,
    to_failed,
    to_installing,
    to_remedy,
    to_serving,
    to_waiting,
)

Reach = Callable[[Pilot[Any], ScriptedOrchestrator], Awaitable[object]]


def deployed(script: Callable[[ScriptedOrchestrator, str], None], *keys: str) -> Reach:
    async def reach(pilot: Pilot[Any], orchestrator: ScriptedOrchestrator) -> None:
        spec = DeploymentSpec("smollm2-135m", "shopper", ask_on_failure=True)
        await show(pilot, orchestrator, script, spec)
        await pilot.press(*keys)

    return reach


def ended(o: ScriptedOrchestrator, ident: str) -> None:
    to_serving(o, ident)
    o.deployments._finish(ident, "released", Phase.STOPPED, Billing.RELEASED)


def two_attempts(o: ScriptedOrchestrator, ident: str) -> None:
    to_failed(o, ident)
    to_installing(o, ident, 2, 100)


async def offers(pilot: Pilot[Any], orchestrator: ScriptedOrchestrator) -> None:
    await loaded(pilot)


async def offers_for_a_model(pilot: Pilot[Any], orchestrator: ScriptedOrchestrator) -> None:
    await loaded(pilot)
    await choose(pilot, "smollm2")


async def sessions(pilot: Pilot[Any], orchestrator: ScriptedOrchestrator) -> None:
    orchestrator.rows = [session_row(f"s-{n}", ours=n != 2) for n in (1, 2)]
    await pilot.press("4")
    await until(pilot, lambda: "Rented machines · 2" in screen_text(_app(pilot)))


async def no_sessions(pilot: Pilot[Any], orchestrator: ScriptedOrchestrator) -> None:
    await pilot.press("4")
    await until(pilot, lambda: "Nothing is rented" in screen_text(_app(pilot)))


def _app(pilot: Pilot[Any]) -> GdlApp:
    assert isinstance(pilot.app, GdlApp)
    return pilot.app


STATES: dict[str, Reach] = {
    "offers": offers,
    "offers for a model": offers_for_a_model,
    "installing": deployed(to_installing),
    "waiting": deployed(to_waiting),
    "with a remedy": deployed(to_remedy),
    "serving": deployed(to_serving),
    "ended": deployed(ended),
    "the second attempt": deployed(two_attempts),
    "an earlier attempt": deployed(two_attempts, "comma"),
    "health": deployed(to_serving, "b"),
    "health while installing": deployed(to_installing, "3"),
    "chat": deployed(to_serving, "t"),
    "chat while installing": deployed(to_installing, "5"),
    "sessions": sessions,
    "no sessions": no_sessions,
}
LEFT_OUT = frozenset({"question_mark", "q", "ctrl+p"})


def _offered(app: GdlApp) -> list[str]:
    bar = app.screen.query_one(KeyBar)
    return [key.key for keys in bar._keys() for key in keys if key.key not in LEFT_OUT]


def _seen(app: GdlApp, orchestrator: ScriptedOrchestrator) -> tuple[object, ...]:
    """What a user can notice, and what was asked for."""
    return (
        screen_text(app),
        app.screen,
        app.focused,
        len(orchestrator.calls),
        len(orchestrator.queries),
        orchestrator.sessions.asked,
        len(app._notifications),
        app.clipboard,
    )


@pytest.mark.soak
@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("state", STATES)
async def test_every_key_that_is_offered_acts_or_says_why_not(state: str, read_only: bool) -> None:
    todo: list[str] | None = None
    dead = []
    while todo is None or todo:
        app, orchestrator = make_app(read_only=read_only)
        async with app.run_test(size=(200, 50), notifications=True) as pilot:
            await STATES[state](pilot, orchestrator)
            await pilot.pause()
            if todo is None:
                todo = _offered(app)
            if not todo:
                break
            key = todo.pop()
            before = _seen(app, orchestrator)
            await pilot.press(key)
            for _ in range(40):
                await pilot.pause(0.01)
                if _seen(app, orchestrator) != before:
                    break
            else:
                dead.append(key)
    assert dead == []


async def test_in_a_read_only_run_the_key_says_so() -> None:
    app, orchestrator = make_app(read_only=True)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await loaded(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "this run is read-only" in screen_text(app))
    app, orchestrator = make_app(read_only=True)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await sessions(pilot, orchestrator)
        await pilot.press("D")
        await until(pilot, lambda: "this run is read-only" in screen_text(app))
        assert orchestrator.calls == []


async def test_a_shell_is_not_offered_on_a_machine_that_was_given_back() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, orchestrator, to_waiting)
        assert not any(key == "s" for key in _offered(app))
    app, orchestrator = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, orchestrator, to_remedy)
        assert any(key == "s" for key in _offered(app))


async def test_an_attempt_before_the_first_is_not_offered() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, orchestrator, two_attempts)
        await until(pilot, lambda: "comma" in _offered(app))
        await pilot.press("comma")
        await until(pilot, lambda: "Attempt 1 of 2   . a later one   y copies" in screen_text(app))
        await until(pilot, lambda: "comma" not in _offered(app))
        await pilot.press("full_stop")
        await until(pilot, lambda: "comma" in _offered(app))


async def test_why_a_choice_came_to_nothing_is_said_each_time() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        ident = await show(pilot, orchestrator, to_waiting)
        for _ in range(2):
            before = len(app._notifications)
            orchestrator.push(ident, 95, ev.ChoiceAwaited(1, None, "vast-102 is no longer listed"))
            await until(pilot, lambda before=before: len(app._notifications) > before)  # type: ignore[misc]


async def test_ctrl_z_does_not_stop_a_deployment() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await show(pilot, orchestrator, to_installing)
        await pilot.press("ctrl+z")
        await until(pilot, lambda: "not while a deployment runs" in screen_text(app))


async def test_an_empty_question_is_answered_with_what_to_do() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await show(pilot, orchestrator, to_serving)
        await pilot.press("t", "enter")
        await until(pilot, lambda: "type a question first" in screen_text(app))
