"""What the model is being asked: while it is verified, and while it is measured."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain import events as ev
from gdl.domain.benchmark import QUALITY_QUESTIONS
from gdl.domain.deployment import replayed
from gdl.domain.phase import Phase
from gdl.loadgen.quality import load_prompts
from gdl.tui.widgets.questions import measuring, verifying
from tui_pilot import SIZE, caught_up, screen_text, show, shows, until
from tui_support import (
    ANSWERS,
    CHECKS,
    ENDPOINT,
    KEY_FILE,
    OFFERS,
    REPORT,
    SPEC,
    ScriptedOrchestrator,
    make_app,
    rented,
    renting,
    to_installing,
    to_serving,
)


def to_verifying(o: ScriptedOrchestrator, ident: str) -> None:
    to_installing(o, ident)
    o.push(ident, 128, ev.PhaseChanged(1, Phase.STARTING))
    o.push(ident, 131, ev.PhaseChanged(1, Phase.LOADING))
    o.push(ident, 170, ev.TunnelOpened(1, ENDPOINT, "forward", KEY_FILE))
    o.push(ident, 170, ev.PhaseChanged(1, Phase.VERIFYING))


async def test_each_question_is_told_while_it_is_waited_for() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_verifying)
        await until(pilot, shows(app, "verifying: looking at the GPU (1 of 5)"))
        orchestrator.push(ident, 171, *(ev.Checked(1, check) for check in CHECKS[:-1]))
        await until(pilot, shows(app, "verifying: asking the model a question (5 of 5)"))
        orchestrator.push(ident, 172, ev.Checked(1, CHECKS[-1]))
        await until(pilot, shows(app, "verifying: reading what the server says"))
        orchestrator.push(ident, 173, ev.PhaseChanged(1, Phase.SERVING))
        await until(pilot, shows(app, "asking the model question 1 of 5"))
        assert "✓ Serving" in screen_text(app)
        orchestrator.push(ident, 174, *(ev.QualityAnswered(1, answer) for answer in ANSWERS[:2]))
        await until(pilot, shows(app, "asking the model question 3 of 5"))
        orchestrator.push(ident, 175, ev.BenchProgressed(1, 0, 8, 0.0))
        await until(pilot, shows(app, "measuring: 0 of 8 requests answered"))
        orchestrator.push(ident, 176, ev.BenchProgressed(1, 3, 8, 141.25))
        await until(pilot, shows(app, "measuring: 3 of 8 requests answered, 141.2 tokens/s"))
        orchestrator.push(ident, 177, ev.BenchFinished(1, REPORT))
        await caught_up(pilot, orchestrator, ident)
        await until(pilot, lambda: "measuring" not in screen_text(app))
        assert "asking" not in screen_text(app)


def test_what_another_machine_was_asked_does_not_count() -> None:
    orchestrator = ScriptedOrchestrator()
    ident = orchestrator.begin(SPEC)
    to_serving(orchestrator, ident)
    orchestrator.push(ident, 200, ev.AttemptFailed(1, Phase.SERVING, "gone", "gone", ""))
    orchestrator.push(ident, 200, ev.PhaseChanged(1, Phase.FAILED))
    orchestrator.push(ident, 201, *renting(2, OFFERS[2]), *rented(2, OFFERS[2]))
    state = replayed(ident, orchestrator.recorded(ident))
    assert (state.checks, state.quality) == ({}, ())
    assert verifying(state) == "verifying: looking at the GPU (1 of 5)"


def test_a_server_that_is_started_again_was_asked_nothing_yet() -> None:
    orchestrator = ScriptedOrchestrator()
    ident = orchestrator.begin(SPEC)
    to_serving(orchestrator, ident)
    assert len(orchestrator.deployments.state(ident).checks) == 5
    orchestrator.push(ident, 200, ev.PhaseChanged(1, Phase.STARTING))
    state = orchestrator.deployments.state(ident)
    assert state.checks == {}
    assert measuring(state) == "", "it was measured before"
    assert measuring(replace(state, benchmark=None, spec=replace(SPEC, bench=False))) == ""


def test_as_many_questions_as_there_are() -> None:
    assert len(load_prompts().quality) == QUALITY_QUESTIONS
