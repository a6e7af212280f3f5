"""How a deployment ended: outcome, money, words, JSON and exit code agree in every combination."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

import sandbox_support as support
from deployment_support import told
from gdl.cli import exit_codes
from gdl.cli.narrator import Narrator
from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState, apply
from gdl.domain.events import DeploymentFinished, Recorded
from gdl.domain.phase import Billing, Phase
from gdl.domain.serialization import recorded_to_plain
from gdl.domain.spec import DeploymentSpec
from gdl.orchestrator.deployment.summary import summaries
from gdl.presentation.endings import outcome_words, reason_words
from gdl.tui.store import Followed
from gdl.tui.widgets.failure import PanelSize
from gdl.tui.widgets.status_panel import status

START = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)
OUTCOMES = ("serving", "released", "cancelled", "failed")
# (outcome, billing): the word, why, what the terminal UI says of the money, the exit code.
TABLE: dict[tuple[str, str], tuple[str, str, str, int]] = {
    ("serving", "none"): ("serving", "left serving", "Left serving. 4 Sessions", 0),
    ("serving", "requested"): (
        *("serving", "left serving; it is not known whether a machine was rented"),
        *("It is not known whether a machine was rented.", 9),
    ),
    ("serving", "active"): (
        *("serving", "left serving; the machine keeps billing"),
        *("The machine keeps billing. 4 Sessions to attach", 0),
    ),
    ("serving", "released"): (
        "ended",
        "it served; the machine was released",
        "The machine was released.",
        0,
    ),
    ("serving", "unknown"): (
        *("serving", "left serving; the machine may still be billing"),
        *("! The machine may still be billing", 9),
    ),
    ("released", "none"): ("done", "done", "Done.", 0),
    ("released", "requested"): (
        *("done", "done; it is not known whether a machine was rented"),
        *("It is not known whether a machine was rented.", 9),
    ),
    ("released", "active"): (
        "done",
        "done; the machine keeps billing",
        "The machine keeps billing.",
        9,
    ),
    ("released", "released"): (
        "released",
        "done, and released",
        "Done. The machine was released.",
        0,
    ),
    ("released", "unknown"): (
        *("done", "done; the machine may still be billing"),
        *("! The machine may still be billing", 9),
    ),
    ("cancelled", "none"): (
        "cancelled",
        "cancelled by you while LOADING",
        "Nothing was rented.",
        8,
    ),
    ("cancelled", "requested"): (
        *(
            "cancelled",
            "cancelled by you while LOADING; it is not known whether a machine was rented",
        ),
        *("It is not known whether a machine was rented.", 9),
    ),
    ("cancelled", "active"): (
        *("cancelled", "cancelled by you while LOADING; the machine keeps billing"),
        *("The machine keeps billing.", 9),
    ),
    ("cancelled", "released"): (
        "cancelled",
        "cancelled by you while LOADING",
        "The machine was released.",
        8,
    ),
    ("cancelled", "unknown"): (
        *("cancelled", "cancelled by you while LOADING; the machine may still be billing"),
        *("! The machine may still be billing", 9),
    ),
    ("failed", "none"): ("failed", "", "", 5),
    ("failed", "requested"): ("failed", "", "! It is not known whether a machine was rented", 9),
    ("failed", "active"): ("failed", "", "keeps billing", 9),
    ("failed", "released"): ("failed", "", "", 5),
    ("failed", "unknown"): ("failed", "", "! The machine may still be billing", 9),
}


def state_of(billing: Billing, *, session: str = "s-1") -> DeploymentState:
    """Of a deployment that had a machine for two minutes, up to LOADING."""
    return folded(
        DeploymentState("d-1"),
        ev.AttemptStarted(1, "o-1", "vastai", "RTX 4090", 1, 24.0, 0.60),
        ev.PhaseChanged(1, Phase.RENTING),
        ev.SessionRented(1, session, "vastai", 0.60),
        ev.PhaseChanged(1, Phase.CONNECTING),
        ev.PhaseChanged(1, Phase.PREFLIGHT),
        ev.PhaseChanged(1, Phase.INSTALLING),
        ev.PhaseChanged(1, Phase.STARTING),
        ev.PhaseChanged(1, Phase.LOADING),
        ev.BillingChanged(1, billing, session),
    )


def folded(state: DeploymentState, *events: ev.Event) -> DeploymentState:
    for event in events:
        at = START + timedelta(seconds=15 * (state.last_seq + 1))
        state = apply(state, Recorded("d-1", state.last_seq + 1, at, event))
    return state


def finished(state: DeploymentState, outcome: str) -> Recorded:
    now = START + timedelta(minutes=3)
    event = DeploymentFinished(
        outcome=outcome,
        endpoint=None,
        model="smollm2",
        session_id="s-1",
        billing=state.billing,
        attempts=summaries(state, outcome, None, now, rents=True),
        kind="deploy" if outcome == "failed" else "",
    )
    return Recorded("d-1", state.last_seq + 1, now, event)


def test_the_table_is_whole() -> None:
    assert set(TABLE) == set(product(OUTCOMES, (str(billing) for billing in Billing)))


@pytest.mark.parametrize(("outcome", "billing"), TABLE)
def test_words_json_and_exit_code_agree(outcome: str, billing: str) -> None:
    word, reason, shown, code = TABLE[outcome, billing]
    state = state_of(Billing(billing))
    end = finished(state, outcome)
    event = end.event
    assert isinstance(event, DeploymentFinished)
    after = apply(state, end)

    assert outcome_words(outcome, Billing(billing)) == word
    assert event.attempts[0].reason == reason == reason_words(outcome, event.billing, "LOADING")
    said = "\n".join(Narrator().lines(end, after))
    assert f"{word}: smollm2, billing {billing}, $" in said
    told = recorded_to_plain(end)
    assert (told["outcome"], told["billing"]) == (outcome, billing)
    assert exit_codes.of_finished(event) == code
    panel, _ = status(Followed(after, ended=True), end.at, moving=False, panel=PanelSize(80, 0))
    assert shown in panel.plain
    if billing not in ("released", "none"):
        assert "was released" not in panel.plain + reason + said
        assert "and released" not in panel.plain + reason + said


def test_an_earlier_machine_in_doubt_is_named_in_its_own_row() -> None:
    state = folded(
        state_of(Billing.UNKNOWN),
        ev.AttemptFailed(1, Phase.LOADING, "deploy", "no memory", ""),
        ev.PhaseChanged(1, Phase.FAILED),
        ev.AttemptStarted(2, "o-2", "vastai", "RTX 4090", 1, 24.0, 0.60),
        ev.PhaseChanged(2, Phase.RENTING),
        ev.SessionRented(2, "s-2", "vastai", 0.60),
        ev.BillingChanged(2, Billing.RELEASED, "s-2"),
    )
    now = START + timedelta(minutes=5)
    first, second = summaries(state, "released", None, now, rents=True, doubts=["s-1"])
    assert first.reason == "no memory; the machine may still be billing"
    assert second.reason == "done, and released"


def test_what_each_machine_cost() -> None:
    """A machine of eleven seconds, and one that ran for an hour."""
    rented = state_of(Billing.ACTIVE).attempts[0]
    begun = rented.rented_at
    assert begun is not None
    short = replace(rented, released_at=begun + timedelta(seconds=11))
    long = replace(rented, released_at=begun + timedelta(hours=1))
    assert short.cost(START) == pytest.approx(0.60 * 11 / 3600)
    assert long.cost(START) == pytest.approx(0.60)


async def test_the_time_that_is_left_follows_an_extension(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    support.isolate(monkeypatch, tmp_path)
    async with support.sandbox(support.settings(tmp_path, "calm")) as (orchestrator, _):
        spec = DeploymentSpec("tinyllama", "sandbox", bench=False, after="hold", max_attempts=1)
        ident = await orchestrator.deployments.deploy(spec)
        async for recorded in orchestrator.deployments.events(ident):
            if isinstance(recorded.event, ev.Noted) and recorded.event.text.startswith("holding"):
                break
        attempt = orchestrator.deployments.state(ident).attempt
        assert attempt is not None and attempt.session_id and attempt.expires_at
        until = await orchestrator.sessions.extend(attempt.session_id, 2)
        after = orchestrator.deployments.state(ident).attempt
        await orchestrator.deployments.cancel(ident)
        await told(orchestrator, ident)
    assert after is not None and until is not None
    assert after.expires_at == until > attempt.expires_at
    assert after.rented_at == attempt.rented_at
