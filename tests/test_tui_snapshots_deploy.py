"""Pictures of a deployment from its first phase to a benchmark, dark and light, small and large.
Renew with `pytest --snapshot-update`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from textual.pilot import Pilot

from gdl.domain import events as ev
from gdl.domain.benchmark import Histogram
from gdl.domain.health import CheckStatus, Condition, HealthSample
from gdl.domain.phase import Billing, Phase
from gdl.domain.readings import CheckRound, GpuLoad
from gdl.domain.spec import DeploymentSpec
from gdl.tui.screens.change_dialog import ChangeDialog
from gdl.tui.screens.dialogs import Confirm
from gdl.tui.widgets.log_pane import FindLine
from test_tui_snapshots import LARGE, SMALL, Compare, at, followed, open_deployment, picture, settle
from tui_pilot import app_of, screen_text, until
from tui_support import (
    CHECKS,
    REPORT,
    SPEC,
    START,
    ScriptedOrchestrator,
    make_app,
    to_failed,
    to_installing,
    to_remedy,
    to_serving,
    to_third_attempt,
    to_waiting,
)

__all__ = ["picture"]

USUAL = {
    Phase.RENTING: 31.0, Phase.CONNECTING: 12.0, Phase.PREFLIGHT: 3.0, Phase.INSTALLING: 84.0,
    Phase.STARTING: 7.0, Phase.LOADING: 41.0, Phase.VERIFYING: 4.0,
}  # fmt: skip
WAITS = DeploymentSpec(
    SPEC.model, SPEC.backend, SPEC.query, auto_failover=False, ask_on_failure=True
)
LOOKS = (
    (pytest.param(SMALL, "textual-dark", id="80x24-dark")),
    (pytest.param(SMALL, "textual-light", id="80x24-light")),
    (pytest.param(LARGE, "textual-dark", id="120x40-dark")),
    (pytest.param(LARGE, "textual-light", id="120x40-light")),
)
looks = pytest.mark.parametrize(("size", "theme"), LOOKS)


def to_loading(o: ScriptedOrchestrator, ident: str) -> None:
    """Downloads are done, some shards are read."""
    to_installing(o, ident)
    o.push(ident, 100, ev.Progressed(1, "downloaded 1.9 GB", 0.8, "packages", 1.0))
    o.push(ident, 118, ev.StepFinished(1, "vllm", "done", 75.0))
    o.push(ident, 118, ev.StepStarted(1, "check", "check the import", 3, 3))
    o.push(ident, 126, ev.StepFinished(1, "check", "done", 8.0))
    o.push(ident, 126, ev.PhaseChanged(1, Phase.STARTING))
    o.push(ident, 131, ev.PhaseChanged(1, Phase.LOADING))
    o.push(ident, 140, ev.LogLines(1, "engine", LOADING_LINES, 0))
    text = "LOADING 58% (shard 5/8, 14.1 of 24 GiB on the GPU)"
    o.push(ident, 150, ev.Progressed(1, text, 0.58, "shards", 0.62))


LOADING_LINES = (
    "INFO 03-01 12:02:11 [api_server.py:1351] vLLM API server version 0.32.0",
    "INFO 03-01 12:02:15 [api_utils.py:286] non-default args: {'port': 8000}",
    "INFO 03-01 12:02:18 [model.py:547] Resolved architecture: LlamaForCausalLM",
    "INFO 03-01 12:02:19 [gpu_model_runner.py:2602] Starting to load model smollm2-135m...",
    "Loading safetensors checkpoint shards:  62% Completed | 5/8 [00:01<00:01,  1.76s/it]",
)

TROUBLED_LINES = (
    "WARNING 03-01 12:02:21 [fa_utils.py:12] FlashAttention 3 is not there; 2 is used",
    "(EngineCore pid=97) ERROR 03-01 12:02:22 [core.py:708] EngineCore failed to start.",
    "(EngineCore pid=97) ERROR 03-01 12:02:22 [core.py:708] Traceback (most recent call last):",
    "(EngineCore pid=97) ERROR 03-01 12:02:22 [core.py:708] ValueError: no memory for the KV cache",
)


def looking(orchestrator: ScriptedOrchestrator, app: Any, *, loaded: bool) -> None:
    """Two minutes of GPU and engine, as a run would have collected them."""
    samples = app.store.followed.samples
    for number in range(60):
        share = 0.5875 * min(number / 45, 1.0) if not loaded else 0.9
        gpu = GpuLoad(int(24576 * share), 24576, (number * 7) % 90, 61, 214.0)
        load = 4 if number % 20 < 12 else 0
        sample = HealthSample(
            Condition.HEALTHY, "", 3.0, load, max(load - 2, 0), load * 0.05, load * 35.2
        )
        samples.take(gpu, sample if loaded else None)
    orchestrator.gpu, orchestrator.sample = samples.gpu, samples.sample
    app.touch()


def pictured(
    picture: Compare,
    orchestrator: ScriptedOrchestrator,
    look: tuple[tuple[int, int], str],
    script: Callable[[ScriptedOrchestrator, str], None],
    then: Callable[[Pilot[Any]], Any] | None = None,
    spec: DeploymentSpec = SPEC,
) -> bool:
    size, theme = look
    app, _ = make_app(orchestrator)

    async def before(pilot: Pilot[Any]) -> None:
        pilot.app.theme = theme
        await open_deployment(pilot, orchestrator, script, spec)
        if then is not None:
            await then(pilot)
        await settle(pilot)

    return picture(app, terminal_size=size, run_before=before)


@looks
def test_deploying(picture: Compare, size: tuple[int, int], theme: str) -> None:
    orchestrator = ScriptedOrchestrator(at(152))
    orchestrator.usual = USUAL

    async def then(pilot: Pilot[Any]) -> None:
        looking(orchestrator, pilot.app, loaded=False)

    assert pictured(picture, orchestrator, (size, theme), to_loading, then)


@pytest.mark.parametrize(("size", "theme"), [LOOKS[0], LOOKS[3]])
def test_a_log_alone(picture: Compare, size: tuple[int, int], theme: str) -> None:
    """Maximized, with errors and warnings."""
    orchestrator = ScriptedOrchestrator(at(152))

    def script(o: ScriptedOrchestrator, ident: str) -> None:
        to_loading(o, ident)
        o.push(ident, 151, ev.LogLines(1, "engine", TROUBLED_LINES, 0))
        o.push(ident, 151, ev.Progressed(1, "LOADING 58%", 0.58, "shards", 0.62))

    async def then(pilot: Pilot[Any]) -> None:
        def at_the_right() -> bool:
            shown = screen_text(app_of(pilot)).splitlines()
            return any(len(line.rstrip()) > size[0] - 4 for line in shown if "^s save" in line)

        await pilot.press("z")
        await until(pilot, at_the_right)

    assert pictured(picture, orchestrator, (size, theme), script, then)


@looks
def test_log_search(picture: Compare, size: tuple[int, int], theme: str) -> None:
    orchestrator = ScriptedOrchestrator(at(75))

    async def then(pilot: Pilot[Any]) -> None:
        await pilot.press("slash")
        pilot.app.screen.query(FindLine).first().value = "downloading"
        await pilot.press("down")

    assert pictured(picture, orchestrator, (size, theme), to_installing, then)


@looks
def test_failed_with_diagnosis(picture: Compare, size: tuple[int, int], theme: str) -> None:
    orchestrator = ScriptedOrchestrator(at(95))
    orchestrator.usual = USUAL
    assert pictured(picture, orchestrator, (size, theme), to_waiting, spec=WAITS)


@pytest.mark.parametrize(
    ("size", "wrong"),
    [
        pytest.param(SMALL, False, id="80x24"),
        pytest.param(LARGE, False, id="120x40"),
        pytest.param(SMALL, True, id="wrong"),
    ],
)
def test_what_failed_is_changed(picture: Compare, size: tuple[int, int], wrong: bool) -> None:
    orchestrator = ScriptedOrchestrator(at(95))

    async def then(pilot: Pilot[Any]) -> None:
        await pilot.press("m")
        await settle(pilot, lambda: isinstance(pilot.app.screen, ChangeDialog))
        if wrong:
            await pilot.press(*"many", "enter")

    assert pictured(picture, orchestrator, (size, "textual-dark"), to_remedy, then, WAITS)


def test_what_is_over_is_deployed_anew_as_changed(picture: Compare) -> None:
    orchestrator = ScriptedOrchestrator(at(500))

    def over(o: ScriptedOrchestrator, ident: str) -> None:
        to_failed(o, ident)
        done = ev.DeploymentFinished("failed", None, SPEC.model, "s-1", Billing.RELEASED, ())
        o.push(ident, 95, done)

    async def then(pilot: Pilot[Any]) -> None:
        await pilot.press("m")
        await settle(pilot, lambda: isinstance(pilot.app.screen, ChangeDialog))
        await pilot.press(*"2048", "enter")
        await settle(pilot, lambda: isinstance(pilot.app.screen, Confirm))

    assert pictured(picture, orchestrator, (SMALL, "textual-dark"), over, then)


def test_the_next_offer_is_named(picture: Compare) -> None:
    orchestrator = ScriptedOrchestrator(at(95))

    async def then(pilot: Pilot[Any]) -> None:
        await pilot.press("n")
        await settle(pilot, lambda: isinstance(pilot.app.screen, Confirm))

    assert pictured(picture, orchestrator, (SMALL, "textual-dark"), to_waiting, then, WAITS)


@looks
def test_third_attempt_serving(picture: Compare, size: tuple[int, int], theme: str) -> None:
    orchestrator = ScriptedOrchestrator(at(900))
    orchestrator.usual = USUAL

    async def then(pilot: Pilot[Any]) -> None:
        looking(orchestrator, pilot.app, loaded=True)

    assert pictured(picture, orchestrator, (size, theme), to_third_attempt, then)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_an_earlier_attempt(picture: Compare, size: tuple[int, int]) -> None:
    """Its cause, phases and log, while the third one serves."""
    orchestrator = ScriptedOrchestrator(at(900))

    async def then(pilot: Pilot[Any]) -> None:
        await pilot.press("comma")

    assert pictured(picture, orchestrator, (size, "textual-dark"), to_third_attempt, then)


@looks
def test_serving(picture: Compare, size: tuple[int, int], theme: str) -> None:
    orchestrator = ScriptedOrchestrator(at(600))
    orchestrator.usual = USUAL

    async def then(pilot: Pilot[Any]) -> None:
        looking(orchestrator, pilot.app, loaded=True)

    assert pictured(picture, orchestrator, (size, theme), to_serving, then)


def checked(orchestrator: ScriptedOrchestrator) -> None:
    """Six rounds, the health check failed in the fourth."""
    failed = replace(CHECKS[2], status=CheckStatus.FAILED, detail="HTTP 503: the engine is dead")
    for number in range(6):
        checks = tuple(failed if number == 3 and c.name == "health" else c for c in CHECKS)
        orchestrator.rounds.append(CheckRound(START + timedelta(seconds=180 + number * 60), checks))


def show_benchmark(pilot: Pilot[Any]) -> None:
    panel = pilot.app.screen.query_one("#benchmark")
    pilot.app.screen.query_one("#measured").scroll_to_widget(panel, animate=False, top=True)


@looks
def test_benchmark_running(picture: Compare, size: tuple[int, int], theme: str) -> None:
    orchestrator = ScriptedOrchestrator(at(600))
    orchestrator.gate = asyncio.Event()
    checked(orchestrator)

    async def then(pilot: Pilot[Any]) -> None:
        await pilot.press("3")
        looking(orchestrator, pilot.app, loaded=True)
        await pilot.press("b", "enter")
        await settle(pilot, lambda: any(call[0] == "bench" for call in orchestrator.calls))
        for done, rate in ((0, 0.0), (1, 40.0), (2, 78.0), (3, 120.0), (4, 131.0), (5, 141.0)):
            orchestrator.push("d-1", 590 + done, ev.BenchProgressed(1, done, 8, rate))
        await settle(pilot, lambda: len(followed(pilot).bench_rates) == 5)
        if size == SMALL:
            show_benchmark(pilot)

    assert pictured(picture, orchestrator, (size, theme), to_serving, then)


@looks
def test_benchmark_result(picture: Compare, size: tuple[int, int], theme: str) -> None:
    orchestrator = ScriptedOrchestrator(at(600))
    checked(orchestrator)
    report = replace(
        REPORT,
        completed=64,
        concurrency=8,
        ttft_spread=Histogram(31.0, 4.0, (2, 9, 21, 15, 8, 4, 2, 1, 0, 2)),
        e2el_spread=Histogram(310.0, 95.0, (11, 19, 14, 8, 5, 3, 1, 2, 0, 1)),
        standing="RTX 3090: 141.3 tokens/s, 4% above the median of 3 earlier runs; "
        "the cheapest so far at $0.26 per million",
    )

    def script(o: ScriptedOrchestrator, ident: str) -> None:
        to_serving(o, ident)
        o.push(ident, 590, ev.BenchFinished(1, report))

    async def then(pilot: Pilot[Any]) -> None:
        await pilot.press("3")
        looking(orchestrator, pilot.app, loaded=True)
        await settle(pilot)
        if size == SMALL:
            show_benchmark(pilot)

    assert pictured(picture, orchestrator, (size, theme), script, then)


def test_what_a_benchmark_asks(picture: Compare) -> None:
    async def then(pilot: Pilot[Any]) -> None:
        await pilot.press("3", "b")

    orchestrator = ScriptedOrchestrator(at(600))
    assert pictured(picture, orchestrator, (SMALL, "textual-dark"), to_serving, then)
