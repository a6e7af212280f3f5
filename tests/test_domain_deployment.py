"""The state machine of a deployment, over every pair of phases, and the fold over all events."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product

import pytest

from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState, apply
from gdl.domain.events import Recorded
from gdl.domain.health import Check, CheckStatus
from gdl.domain.phase import Billing, Phase
from gdl.domain.spec import DeploymentSpec
from gdl.domain.transitions import ACTIVE, TRANSITIONS, IllegalTransition
from gdl.orchestrator.deployment.summary import summaries
from gdl.tui.widgets.phase_rail import spent

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def told(*events: ev.Event, every_s: float = 10.0) -> DeploymentState:
    """The state after these events, one every `every_s` seconds."""
    state = DeploymentState("d1")
    for seq, event in enumerate(events, 1):
        at = START + timedelta(seconds=(seq - 1) * every_s)
        state = apply(state, Recorded("d1", seq, at, event))
    return state


def started(attempt: int = 1, provider: str = "vastai", price: float = 0.36) -> ev.AttemptStarted:
    return ev.AttemptStarted(attempt, f"{provider}-{attempt}", provider, "RTX 3090", 1, 24, price)


def test_a_second_machine_of_one_attempt_bills_beside_the_first() -> None:
    """A request that is made again, after a machine of the first one was found and destroyed."""
    state = told(
        started(price=0.36),
        ev.SessionRented(1, "s-1", "vastai", 0.36, None),
        ev.BillingChanged(1, Billing.RELEASED, None, "the machine that it created is destroyed"),
        ev.SessionRented(1, "s-2", "vastai", 0.72, None),
    )
    assert state.attempt is not None and state.attempt.released_at is None
    an_hour = START + timedelta(seconds=30 + 3600)
    assert state.cost(an_hour) == pytest.approx(0.36 * 10 / 3600 + 0.72)


def test_waiting_for_the_user_is_no_work_of_a_step() -> None:
    """One event every ten seconds: the server fails at 30 s, and is started again at 50 s."""
    state = told(
        started(),
        ev.PhaseChanged(1, Phase.RENTING),
        ev.PhaseChanged(1, Phase.CONNECTING),
        ev.PhaseChanged(1, Phase.PREFLIGHT),
        ev.PhaseChanged(1, Phase.INSTALLING),
        ev.PhaseChanged(1, Phase.STARTING),
        ev.ChoiceAwaited(1),
        ev.ChoiceMade(1, "change"),
        ev.PhaseChanged(1, Phase.INSTALLING),
        ev.PhaseChanged(1, Phase.STARTING),
        ev.ChoiceAwaited(1),
    )
    attempt = state.attempt
    assert attempt is not None
    an_hour = START + timedelta(hours=1)
    # Twice ten seconds until it failed; the second wait still lasts.
    assert spent(attempt, an_hour)[Phase.STARTING] == 10 + 10 + 10
    assert spent(attempt, an_hour)[Phase.INSTALLING] == 20
    (line,) = summaries(state, "failed", None, an_hour, rents=True)
    assert line.seconds == 100 - 10
    # A process that was killed meanwhile has told of no choice: the next phase ends the wait.
    later = apply(state, Recorded("d1", 12, an_hour, ev.PhaseChanged(1, Phase.INSTALLING)))
    assert later.attempt is not None
    assert spent(later.attempt, an_hour + timedelta(seconds=5))[Phase.INSTALLING] == 25


@pytest.mark.parametrize(("before", "after"), list(product(Phase, Phase)))
def test_every_pair_of_phases_is_either_legal_or_refused(before: Phase, after: Phase) -> None:
    state = replace(DeploymentState("d1"), phase=before)
    change = Recorded("d1", 1, START, ev.PhaseChanged(1, after))
    if after in TRANSITIONS[before]:
        assert apply(state, change).phase is after
    else:
        with pytest.raises(IllegalTransition):
            apply(state, change)


def test_every_active_phase_can_fail_and_be_cancelled() -> None:
    for phase in ACTIVE:
        assert {Phase.FAILED, Phase.CANCELLED} <= TRANSITIONS[phase]


def test_the_straight_way_through_is_legal_and_the_ends_are_ends() -> None:
    for before, after in pairwise(ACTIVE):
        assert after in TRANSITIONS[before]
    assert TRANSITIONS[Phase.STOPPED] == frozenset()
    assert TRANSITIONS[Phase.CANCELLED] == frozenset()


def test_failing_does_not_mean_that_billing_has_stopped() -> None:
    state = told(
        ev.DeploymentPlanned(DeploymentSpec("tinyllama", "shopper"), "hub/tiny", "tinyllama"),
        started(),
        ev.PhaseChanged(1, Phase.RENTING),
        ev.BillingChanged(1, Billing.ACTIVE, "s1"),
        ev.SessionRented(1, "s1", "vastai", 0.36),
        ev.PhaseChanged(1, Phase.FAILED),
    )
    assert state.phase is Phase.FAILED
    assert state.billing is Billing.ACTIVE
    hour_later = START + timedelta(seconds=40, hours=1)
    assert state.cost(hour_later) == pytest.approx(0.36)


def test_the_meter_stops_when_the_release_is_confirmed() -> None:
    state = told(
        started(),
        ev.PhaseChanged(1, Phase.RENTING),
        ev.SessionRented(1, "s1", "vastai", 0.36),
        ev.BillingChanged(1, Billing.ACTIVE, "s1"),
        ev.PhaseChanged(1, Phase.FAILED),
        ev.BillingChanged(1, Billing.RELEASED, "s1"),
    )
    # Rented at 20 s, released at 50 s: thirty seconds, whenever one asks.
    assert state.cost(START + timedelta(days=1)) == pytest.approx(0.36 * 30 / 3600)


def test_the_next_attempt_forgets_the_tunnel_and_keeps_the_story() -> None:
    state = told(
        started(1),
        ev.PhaseChanged(1, Phase.RENTING),
        ev.TunnelOpened(1, "http://127.0.0.1:5000/v1", "forward"),
        ev.AttemptFailed(1, Phase.RENTING, "offer_gone", "gone", "next"),
        ev.PhaseChanged(1, Phase.FAILED),
        started(2, "tensordock"),
        ev.PhaseChanged(2, Phase.RENTING),
    )
    assert [a.provider for a in state.attempts] == ["vastai", "tensordock"]
    assert state.attempts[0].failure is not None and state.attempts[1].failure is None
    assert state.endpoint is None


def test_steps_are_told_apart_by_name_and_a_repeated_step_replaces_itself() -> None:
    state = told(
        started(),
        ev.StepStarted(1, "venv", "Make the environment", 1, 2),
        ev.StepFinished(1, "venv", "done", 0.1),
        ev.StepStarted(1, "install", "Install vLLM", 2, 2),
        ev.StepStarted(1, "install", "Install vLLM", 2, 2),
        ev.StepFinished(1, "install", "repaired", 3.0, "after a known repair"),
    )
    assert state.attempt is not None
    outcomes = [(s.name, s.outcome) for s in state.attempt.steps]
    assert outcomes == [("venv", "done"), ("install", "repaired")]


def test_checks_are_kept_by_name_the_latest_wins() -> None:
    failed = Check("health", CheckStatus.FAILED, "503")
    passed = Check("health", CheckStatus.PASSED, "200")
    state = told(started(), ev.Checked(1, failed), ev.Checked(1, passed))
    assert state.checks == {"health": passed}
