"""Every key that the bottom line offers acts, or says why not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot

from gdl.domain import events as ev
from gdl.domain.chat import ChatPiece
from gdl.domain.errors import BackendUnreachable
from gdl.domain.fleet_view import FleetView
from gdl.domain.phase import Billing, Phase
from gdl.domain.session import SessionStatus
from gdl.domain.spec import DeploymentSpec
from gdl.tui.app import GdlApp
from gdl.tui.screens.dialogs import Confirm
from gdl.tui.widgets.key_bar import KeyBar
from test_tui_fleet import fleet
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


def only_this_machine(o: ScriptedOrchestrator, ident: str) -> None:
    to_failed(o, ident)
    done = ev.DeploymentFinished("failed", "it failed", "", "s-1", Billing.RELEASED, ())
    o.push(ident, 95, done)


def releasing(o: ScriptedOrchestrator, ident: str) -> None:
    to_serving(o, ident)
    o.push(ident, 400, ev.PhaseChanged(1, Phase.STOPPING))


def cancelled(o: ScriptedOrchestrator, ident: str) -> None:
    to_installing(o, ident)
    o.deployments._finish(ident, "cancelled", Phase.CANCELLED, Billing.RELEASED)


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


async def ended_sessions(pilot: Pilot[Any], orchestrator: ScriptedOrchestrator) -> None:
    row = session_row("s-1", ours=True)
    stopped = replace(row.session, status=SessionStatus.STOPPED)
    orchestrator.rows = [replace(row, session=stopped, billing="released")]
    await pilot.press("4")
    await until(pilot, lambda: "Rented machines · 1" in screen_text(_app(pilot)))


async def no_offers(pilot: Pilot[Any], orchestrator: ScriptedOrchestrator) -> None:
    orchestrator.listed = []
    await pilot.press("r")
    await until(pilot, lambda: "lists no offers" in screen_text(_app(pilot)))


async def loading(pilot: Pilot[Any], orchestrator: ScriptedOrchestrator) -> None:
    await loaded(pilot)
    orchestrator.gate = asyncio.Event()
    await pilot.press("r")
    await until(pilot, lambda: "refreshing" in screen_text(_app(pilot)))


async def unreachable(pilot: Pilot[Any], orchestrator: ScriptedOrchestrator) -> None:
    orchestrator.error = BackendUnreachable("nothing answers", "start it")
    await pilot.press("r")
    await until(pilot, lambda: "nothing answers" in screen_text(_app(pilot)))


def fleets(*views: FleetView) -> Reach:
    async def reach(pilot: Pilot[Any], orchestrator: ScriptedOrchestrator) -> None:
        orchestrator.fleets.known = list(views)
        await pilot.press("f9")
        await until(pilot, lambda: "Esc closes" in screen_text(_app(pilot)))

    return reach


def on(reach: Reach, *keys: str) -> Reach:
    async def further(pilot: Pilot[Any], orchestrator: ScriptedOrchestrator) -> None:
        await reach(pilot, orchestrator)
        for key in keys:
            await pilot.press(key)
            await pilot.pause(0.05)

    return further


async def answering(pilot: Pilot[Any], orchestrator: ScriptedOrchestrator) -> None:
    await deployed(to_serving, "t")(pilot, orchestrator)
    orchestrator.said, orchestrator.gate = [ChatPiece("never comes")], asyncio.Event()
    await pilot.press(*"Why?", "enter")
    await until(pilot, lambda: "Stop" in screen_text(_app(pilot)))


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
    "ended sessions": ended_sessions,
    "past deployments": on(sessions, "tab"),
    "no offers": no_offers,
    "loading": loading,
    "unreachable": unreachable,
    "the filter": on(offers, "slash"),
    "filtered to nothing": on(offers, "slash", *"zzzz", "enter"),
    "failed": deployed(only_this_machine),
    "releasing": deployed(releasing),
    "cancelled": deployed(cancelled),
    "finding in a log": deployed(to_installing, "slash"),
    "no deployment": on(offers, "2"),
    "no health": on(offers, "3"),
    "no chat": on(offers, "5"),
    "answering": answering,
    "compared": deployed(to_serving, "3", "c"),
    "compared with nothing": on(offers, "3", "c"),
    "fleet": fleets(fleet()),
    "a fleet that nobody works on": fleets(fleet(runs=False, here=False)),
    "a fleet of nothing": fleets(fleet(replicas=(), endpoint="")),
    "no fleet": fleets(),
    "help": on(offers, "question_mark"),
    "doctor": on(offers, "f7"),
    "spending": on(offers, "f8"),
    "sources": on(offers, "f6"),
    "a question": deployed(to_serving, "R"),
    "details": on(sessions, "d"),
    "what quitting means": deployed(to_serving, "q"),
    "changing what failed": deployed(to_remedy, "m"),
    "the plan": on(offers_for_a_model, "enter"),
    "the models": on(offers, "m"),
}
LEFT_OUT = frozenset({"question_mark", "q", "ctrl+q", "ctrl+p"})
MOVES = re.compile(
    r"table\.|log\.|(dialog|quit|plan|deploy|choose)\.(previous|next)|offers\.clear"
    r"|\w+\.look|compare\.refresh"
)
"""Ids of what moves about, or clears, without a word where there is nowhere to go; and of what asks
again, which is seen where something else comes back."""


def _offered(app: GdlApp) -> list[str]:
    """What the bottom line offers; with the window or screen's other keys, which help lists."""
    bar = app.screen.query(KeyBar)
    shown = [key.key for keys in bar.first()._keys() for key in keys] if bar else []
    others = [
        bound.binding.key
        for bound in app.screen.active_bindings.values()
        if bound.node is app.screen and bound.enabled and bound.binding.id
        if not MOVES.match(bound.binding.id)
    ]
    return [key for key in dict.fromkeys((*shown, *others)) if key not in LEFT_OUT]


def _seen(app: GdlApp, orchestrator: ScriptedOrchestrator) -> tuple[object, ...]:
    """What a user can notice, and what was asked for."""
    return (
        screen_text(app),
        app.screen,
        app.focused,
        len(orchestrator.calls),
        len(orchestrator.queries),
        orchestrator.sessions.asked,
        len(orchestrator.fleets.ordered),
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


WHY_NOT: list[tuple[Reach, str, str]] = [
    (on(offers, "3"), "h", "no deployment is shown here"),
    (deployed(to_installing, "3"), "b", "nothing answers yet"),
    (deployed(ended, "3"), "h", "the deployment is over"),
    (on(offers, "3", "c"), "m", "no model serves here"),
    (on(offers, "3", "c"), "w", "nothing serves here"),
    (ended_sessions, "space", "it has ended already"),
    (ended_sessions, "P", "it has ended already"),
    (on(offers, "x"), "x", "is excluded already"),
    (fleets(fleet(runs=False, here=False)), "plus", "no gdl-tui works on this fleet"),
    (fleets(fleet(replicas=(), endpoint="")), "enter", "no replica yet"),
    (fleets(fleet(replicas=(), endpoint="")), "y", "no address yet"),
]


@pytest.mark.parametrize(("reach", "key", "why"), WHY_NOT)
async def test_what_cannot_be_done_now_says_why(reach: Reach, key: str, why: str) -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await reach(pilot, orchestrator)
        await pilot.press(key)
        await until(pilot, lambda: why in screen_text(app))


async def test_a_search_for_nothing_goes_nowhere() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, orchestrator, to_installing)
        await pilot.press("slash")
        await until(pilot, lambda: "find in this log" in screen_text(app))
        assert not {"up", "down"} & set(_offered(app))
        await pilot.press(*"vllm")
        await until(pilot, lambda: {"up", "down"} <= set(_offered(app)))


async def test_thoughts_are_offered_where_a_model_thought() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, orchestrator, to_serving)
        orchestrator.said = [ChatPiece("Hm.", reasoning=True), ChatPiece("So.")]
        await pilot.press("t")
        await until(pilot, lambda: "escape" in _offered(app))
        assert "ctrl+t" not in _offered(app)
        await pilot.press(*"Why?", "enter")
        await until(pilot, lambda: "So." in screen_text(app))
        assert "ctrl+t" in _offered(app)


async def test_a_read_only_run_offers_no_change_of_a_fleet() -> None:
    app, orchestrator = make_app(read_only=True)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await fleets(fleet())(pilot, orchestrator)
        await until(pilot, lambda: "Enter opens one" in screen_text(app))
        assert "one more" not in screen_text(app)
        await pilot.press("plus")
        await until(pilot, lambda: "this run is read-only" in screen_text(app))


async def test_what_is_being_released_cannot_be_cancelled_or_entered() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, orchestrator, releasing)
        assert not {"a", "s", "ctrl+x", "left_square_bracket"} & set(_offered(app))
        await show(pilot, orchestrator, to_installing)
        assert {"a", "s", "ctrl+x", "left_square_bracket"} <= set(_offered(app))


async def test_a_failure_is_tried_again_with_the_mouse() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_waiting)
        await until(pilot, lambda: "Try again (r)" in screen_text(app))
        await pilot.click("TryAgain Button")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        assert "Rent the same offer again?" in screen_text(app)
    for read_only, script in ((True, to_waiting), (False, to_serving)):
        app, orchestrator = make_app(read_only=read_only)
        async with app.run_test(size=SIZE) as pilot:
            await show(pilot, orchestrator, script)
            await pilot.pause()
            assert "Try again" not in screen_text(app)


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


async def test_where_no_offer_passes_the_filter_there_is_none_to_sort() -> None:
    app, _orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        assert {"o", "O"} <= set(_offered(app))
        await pilot.press("slash", *"zzzz")
        await until(pilot, lambda: "Enter, then w waits for one" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "Esc clears it · w waits for one" in screen_text(app))
        assert not {"o", "O"} & set(_offered(app))
