"""What questions say of machines and money is so wherever they are asked: on rented machines and on
one's own, of one and of several, before a machine is rented and while its end is in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gdl.domain import events as ev
from gdl.domain.decisions import AfterServing, Decision
from gdl.domain.deployment import DeploymentState
from gdl.domain.event import Event
from gdl.domain.events import DeploymentFinished
from gdl.domain.health import Condition
from gdl.domain.phase import Billing, Phase
from gdl.domain.spec import DeploymentSpec, Membership
from gdl.orchestrator.api.views import SessionRow
from gdl.tui.consequences import (
    destroyed,
    of_cancelling,
    of_destroying,
    of_ending,
    of_keeping,
    of_quitting,
    of_releasing,
)
from gdl.tui.screens.deployment_commands import machine_fields
from gdl.tui.screens.dialogs import Confirm, QuitDialog
from gdl.tui.store import Bill, Followed
from gdl.tui.widgets.failure import PanelSize, failure
from gdl.tui.widgets.phase_rail import phase_words
from test_tui_fleet import fleet, replica
from tui_pilot import SIZE, caught_up, ended, loaded, screen_text, show, shows, until
from tui_support import (
    SPEC,
    ScriptedDeployments,
    ScriptedOrchestrator,
    make_app,
    rented,
    renting,
    session_row,
    to_installing,
    to_serving,
)


def own(events: Sequence[Event]) -> list[Event]:
    """The same on a machine for which nobody bills."""
    return [
        replace(each, billing=Billing.NONE) if isinstance(each, ev.BillingChanged) else each
        for each in events
    ]


def state_after(*events: Event, spec: DeploymentSpec = SPEC) -> DeploymentState:
    orchestrator = ScriptedOrchestrator()
    ident = orchestrator.begin(spec)
    orchestrator.push(ident, 1, *events)
    return orchestrator.states[ident]


def scripted_state(script: Callable[[ScriptedOrchestrator, str], None]) -> DeploymentState:
    orchestrator = ScriptedOrchestrator()
    ident = orchestrator.begin(SPEC)
    script(orchestrator, ident)
    return orchestrator.states[ident]


def on_own(state: DeploymentState) -> DeploymentState:
    return replace(state, billing=Billing.NONE)


SERVING = scripted_state(to_serving)
INSTALLING = scripted_state(to_installing)
ATTACHED = state_after(*renting(), *rented(), spec=replace(SPEC, attached=True))
ENDING = replace(SERVING, phase=Phase.STOPPING)
CANCELLED = replace(INSTALLING, phase=Phase.CANCELLED)
DEAD = replace(SERVING, health=ev.HealthChanged(1, Condition.DEAD, "no answer"))
REPLICA = replace(SERVING, spec=replace(SPEC, member=Membership("fleet-1", 1, "/k")))
NOTHING_YET = state_after()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (INSTALLING, "its machine is released"),
        (on_own(INSTALLING), "what runs for it on your machine ends"),
        (NOTHING_YET, "no machine is rented"),
        (state_after(*renting()), "a machine that is rented by then is released"),
        (replace(INSTALLING, billing=Billing.RELEASED), "no machine is rented"),
        (replace(INSTALLING, billing=Billing.UNKNOWN), "not proven"),
    ],
)
def test_cancelling_says_what_becomes_of_the_machine_there_is(
    state: DeploymentState, said: str
) -> None:
    assert said in of_cancelling(state)
    assert ("its machine is released" in of_cancelling(state)) == (state is INSTALLING)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (ENDING, "releasing the machine"),
        (on_own(ENDING), "ending what runs on your machine"),
        (CANCELLED, "releasing the machine"),
        (replace(CANCELLED, billing=Billing.RELEASED), "cancelled"),
        (SERVING, "serving"),
    ],
)
def test_what_is_being_done_with_the_machine(state: DeploymentState, said: str) -> None:
    assert phase_words(state.phase, state) == said


def test_what_one_asks_for_ones_own_machine_goes_on_being_counted() -> None:
    orchestrator = ScriptedOrchestrator()
    one = Followed(on_own(SERVING))
    told = dict(machine_fields(one, one.state.cost(orchestrator.clock())))
    assert "so far" in str(told["Price"]) and "ended" not in str(told["Price"])
    one.state = replace(SERVING, billing=Billing.RELEASED)
    assert "billing has ended" in str(dict(machine_fields(one, 0.1))["Price"])


def test_ones_own_machine_is_not_released_and_does_not_bill() -> None:
    assert "is released" in of_releasing(SERVING) and "billing" in of_keeping(SERVING)
    assert "stays" in of_releasing(on_own(SERVING))
    assert "released" not in of_releasing(on_own(SERVING))
    assert "bill" not in of_keeping(on_own(SERVING))


def test_what_was_not_reached_is_not_said_to_serve() -> None:
    for state in (ATTACHED, DEAD):
        assert "serving on" not in of_keeping(state) and "stays as it is" in of_keeping(state)
        left = of_quitting([state], (), can_leave=True, read_only=False)
        assert left == "If left running, it stays as it is and the machine keeps billing."


def test_a_replica_is_not_replaced_by_its_fleet() -> None:
    for say in (of_cancelling, of_releasing, of_keeping):
        assert "fleet does not replace it" in say(REPLICA)
        assert "fleet" not in say(SERVING)


def own_row(name: str) -> SessionRow:
    return replace(session_row(name, ours=True), billing="none")


ROWS = (session_row("s-1", ours=True), session_row("s-2", ours=True))
OWN = (own_row("h-1"), own_row("h-2"))


@pytest.mark.parametrize("rows", [ROWS[:1], ROWS])
def test_what_is_destroyed_is_lost(rows: Sequence[SessionRow]) -> None:
    assert "released" in of_destroying(rows) and "is lost" in of_destroying(rows)
    assert "gone: confirmed" in destroyed(rows, len(rows)).replace("are gone", "gone")


@pytest.mark.parametrize("rows", [OWN[:1], OWN])
def test_on_ones_own_machine_nothing_but_what_we_ran_there_ends(
    rows: Sequence[SessionRow],
) -> None:
    assert "your own" in of_destroying(rows) and "lost" not in of_destroying(rows)
    assert "gone" not in destroyed(rows, len(rows))


def test_of_both_together_each_is_told() -> None:
    note = of_destroying([*ROWS, *OWN])
    assert "rented are released" in note and "on your own" in note
    assert destroyed([*ROWS, *OWN], 4) == "4 of 4 sessions have ended: confirmed"


def test_who_destroys_a_replica_is_told_what_its_fleet_does() -> None:
    replica_row = replace(ROWS[0], fleet="fleet-1", deployment_id="d-7")
    assert "rents another" in of_destroying([replica_row])
    assert "rents another" in of_destroying([replica_row, ROWS[1]], ("d-1",))
    assert of_destroying([replica_row], ("d-7",)).endswith("Its fleet does not replace it.")
    assert "fleet" not in of_destroying(ROWS)


def test_a_fleet_of_ones_own_machines_loses_none() -> None:
    assert "lost" in of_ending(fleet())
    mine = fleet(replicas=tuple(replica(n, billing=Billing.NONE) for n in (1, 2)))
    assert "lost" not in of_ending(mine) and "your own" in of_ending(mine)


SURE = Bill(0.3, 0.1, None, True)
DOUBTED = Bill(0.3, 0.1, None, False)


def quitting(states: Sequence[DeploymentState], bills: Sequence[Bill] = (), **how: Any) -> str:
    return of_quitting(states, bills, **{"can_leave": True, "read_only": False, **how})


def test_quitting_beside_what_was_rented_earlier() -> None:
    assert quitting([], [SURE]) == (
        "Rented earlier; it goes on billing when you quit. 4 Sessions to destroy it."
    )
    assert "it may go on billing" in quitting([], [DOUBTED])
    assert "some may go on billing" in quitting([], [SURE, DOUBTED])
    assert "4 Sessions shows them" in quitting([], [SURE, SURE], read_only=True)
    assert "end when this program ends" in quitting([], [SURE], can_leave=False)


@pytest.mark.parametrize(
    ("states", "can_leave", "said"),
    [
        ([ENDING], True, "The machine is still being released"),
        ([CANCELLED], True, "The machine is still being released"),
        ([ENDING, CANCELLED], True, "The machines are still being released"),
        ([on_own(ENDING)], True, "What runs on your machine is still being ended"),
        ([SERVING], True, "the model keeps serving and the machine keeps billing."),
        ([SERVING, SERVING], True, "the models keep serving and the machines keep billing."),
        ([on_own(SERVING)], True, "the model keeps serving on your own machine."),
        ([SERVING, on_own(SERVING)], True, "the models keep serving, and what is rented keeps"),
        ([SERVING, ENDING], True, "keeps billing. What is being released is waited for."),
        ([SERVING], False, "end when this program ends"),
        ([INSTALLING], False, "It is not serving yet"),
        ([SERVING, INSTALLING], False, "Not all of them serve yet"),
    ],
)
def test_quitting_while_something_runs(
    states: Sequence[DeploymentState], can_leave: bool, said: str
) -> None:
    assert said in quitting(states, can_leave=can_leave)


# Of an attempt that has failed


def followed(spec: DeploymentSpec, *after: Event) -> Followed:
    """One whose first machine fails, in the terminal UI's store."""
    orchestrator = ScriptedOrchestrator()
    ident = orchestrator.begin(spec)
    failed = ev.AttemptFailed(1, Phase.CONNECTING, "ssh", "no answer", "try on")
    over = ev.PhaseChanged(1, Phase.FAILED)
    orchestrator.push(ident, 1, *renting(), *rented(), *after, failed, over)
    one = Followed(DeploymentState(ident))
    for recorded in orchestrator.recorded(ident):
        one.fold(recorded)
    return one


SEVERAL = replace(SPEC, max_attempts=3, ask_on_failure=True)
ASKED = ev.ChoiceAwaited(1, None, "")
AUTOMATIC, WAITS = "The next offer is tried automatically", "It waits for your choice, once this"


@pytest.mark.parametrize(
    ("spec", "after", "said"),
    [
        (SEVERAL, (), AUTOMATIC),
        (replace(SEVERAL, max_attempts=1), (), WAITS),
        (replace(SEVERAL, max_attempts=1, ask_on_failure=False), (), "It ends, once this"),
        (SEVERAL, (ev.AutoFailoverSet(False),), WAITS),
        (SEVERAL, (ASKED, ev.ChoiceMade(1, "next")), "It goes on as you chose"),
        (SEVERAL, (ASKED, ev.ChoiceMade(1, "")), AUTOMATIC),
        (SEVERAL, (ASKED, ev.ChoiceMade(1, "fix")), AUTOMATIC),
    ],
)
def test_what_follows_a_failure_is_what_will(
    spec: DeploymentSpec, after: tuple[Event, ...], said: str
) -> None:
    told = failure(followed(spec, *after), PanelSize(100, 4)).plain
    assert said in told and told.count("once this machine is released") == (said != AUTOMATIC)


# On the screen


async def test_what_it_costs_goes_on_in_a_question_that_stays_open() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_serving)
        for key in "Rq":
            await pilot.press(key)
            await until(pilot, lambda: isinstance(app.screen, Confirm | QuitDialog))
            before = orchestrator.states["d-1"].cost(orchestrator.clock())
            assert f"${before:.2f} so far" in screen_text(app)
            orchestrator.clock.forward(36_000)
            await until(pilot, shows(app, f"${before + 1.31:.2f} so far"))
            await pilot.press("escape")


async def test_what_a_session_costs_goes_on_while_it_is_asked_about() -> None:
    orchestrator = ScriptedOrchestrator()
    orchestrator.rows = [session_row("s-1", ours=True)]
    app, _ = make_app(orchestrator)
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("4")
        await until(pilot, shows(app, "✓ ours"))
        await pilot.press("D")
        await until(pilot, shows(app, "$0.289/h, $0.14 so far"))
        orchestrator.clock.forward(36_000)
        await until(pilot, shows(app, "$0.289/h, $3.03 so far"))


@pytest.mark.parametrize("away", [{}, {"runpod": "HTTP 503"}])
async def test_nothing_is_said_to_be_rented_only_by_those_who_know(away: dict[str, str]) -> None:
    orchestrator = ScriptedOrchestrator()
    orchestrator.away = away
    app, _ = make_app(orchestrator)
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("4")
        await until(pilot, shows(app, "Nothing is rented"))
        assert ("runpod did not tell" in screen_text(app)) == bool(away)


async def test_who_may_change_nothing_is_offered_no_keys_that_would() -> None:
    orchestrator = ScriptedOrchestrator()
    row = session_row("s-1", ours=True)
    orchestrator.rows = [replace(row, public="https://a.example/v1", doubt="not proven")]
    app, _ = make_app(orchestrator, read_only=True)
    async with app.run_test(size=(160, 30)) as pilot:
        await loaded(pilot)
        await pilot.press("4")
        await until(pilot, shows(app, "is public"))
        text = screen_text(app)
        assert "P to end that" not in text and "D to ask again" not in text


class Slow(ScriptedDeployments):
    """What is decided is done once that is allowed."""

    def __init__(self, o: ScriptedOrchestrator) -> None:
        super().__init__(o)
        self.allowed = asyncio.Event()

    async def decide(self, deployment_id: str, decision: Decision, **how: Any) -> None:
        self._o.calls.append(("decide", deployment_id, decision))

    async def wait(self, deployment_id: str) -> DeploymentFinished:
        await self.allowed.wait()
        state = self._o.states[deployment_id]
        kept = state.phase is Phase.SERVING
        outcome, billing = ("serving", state.billing) if kept else ("released", Billing.RELEASED)
        return DeploymentFinished(outcome, None, "m", "s-1", billing, ())


async def test_all_are_told_before_one_is_waited_for() -> None:
    """Who then quits without waiting loses nothing that was to be left serving."""
    orchestrator = ScriptedOrchestrator()
    orchestrator.deployments = orchestrator.resumption = slow = Slow(orchestrator)
    app, _ = make_app(orchestrator)
    async with app.run_test(size=SIZE) as pilot:
        first = await show(pilot, orchestrator, to_serving)
        second = await show(pilot, orchestrator, to_serving)
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, QuitDialog))
        await pilot.press("l")
        kept = [("decide", ident, AfterServing.KEEP) for ident in (first, second)]
        await until(pilot, lambda: orchestrator.calls == kept)
        slow.allowed.set()
        await ended(app)


async def test_one_can_be_left_serving_while_another_is_being_released() -> None:
    orchestrator = ScriptedOrchestrator()
    orchestrator.deployments = orchestrator.resumption = slow = Slow(orchestrator)
    app, _ = make_app(orchestrator)
    async with app.run_test(size=SIZE) as pilot:
        going = await show(pilot, orchestrator, to_serving)
        over = await show(pilot, orchestrator, to_serving)
        orchestrator.push(over, 500, ev.PhaseChanged(1, Phase.STOPPING))
        await caught_up(pilot, orchestrator, over)
        await pilot.press("q")
        await until(pilot, shows(app, "What is being released is waited for."))
        await pilot.press("l")
        await until(pilot, lambda: orchestrator.calls == [("decide", going, AfterServing.KEEP)])
        slow.allowed.set()
        await ended(app)


async def test_destroying_on_ones_own_machine_says_that_it_stays() -> None:
    orchestrator = ScriptedOrchestrator()
    orchestrator.rows = [own_row("ssh-1")]
    app, _ = make_app(orchestrator)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await loaded(pilot)
        await pilot.press("4")
        await until(pilot, shows(app, "✓ ours"))
        await pilot.press("D")
        await until(pilot, shows(app, "your own, and stays"))
        await pilot.press("y")
        await until(pilot, shows(app, "what ran there has ended"))
