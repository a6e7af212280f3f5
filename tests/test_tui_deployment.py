"""Attempts side by side, what is copied of a failure, estimates, samples, benchmarks by hand."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input, TabbedContent

from gdl.domain import events as ev
from gdl.domain.benchmark import BenchLoad
from gdl.domain.events import Recorded
from gdl.domain.health import CheckStatus, Condition, HealthSample
from gdl.domain.phase import Billing, Phase
from gdl.domain.readings import CheckRound, GpuLoad
from gdl.tui.recent_samples import KEPT, RecentSamples
from gdl.tui.screens.bench_dialog import BenchDialog
from gdl.tui.screens.deployment import DeploymentScreen
from gdl.tui.screens.health import HealthScreen
from gdl.tui.screens.offers import OffersScreen
from gdl.tui.store import EARLIER_KEPT, EARLIER_LINES, FINISHED_KEPT, LINES_KEPT, Store
from gdl.tui.widgets.attempt_bar import AttemptBar
from gdl.tui.widgets.log_pane import LogPane
from gdl.tui.widgets.meters import bar, sparkline
from tui_pilot import SIZE, screen_text, show, shows, until
from tui_support import (
    CHECKS,
    OFFERS,
    PIP_LINES,
    SPEC,
    SSH_DEAD,
    START,
    ScriptedOrchestrator,
    make_app,
    renting,
    to_failed,
    to_installing,
    to_serving,
    to_third_attempt,
    to_waiting,
)

long = pytest.mark.long
WIDE = (120, 40)


async def test_each_attempt_can_be_looked_at() -> None:
    app, orchestrator = make_app()

    def script(o: ScriptedOrchestrator, ident: str) -> None:
        to_failed(o, ident)
        to_installing(o, ident, 2, 95)
        o.push(ident, 160, ev.LogLines(2, "engine", ("the second one's engine",), 0))
        o.push(ident, 161, ev.Progressed(2, "loading"))

    async with app.run_test(size=WIDE) as pilot:
        ident = await show(pilot, orchestrator, script)
        await until(pilot, lambda: "the second one's engine" in screen_text(app))
        assert "▶ 2 RTX A5000" in screen_text(app) and "Errno 28" not in screen_text(app)
        await pilot.press("comma")
        await until(pilot, lambda: "[Errno 28] No space left" in screen_text(app))
        text = screen_text(app)
        assert "Attempt 1 of 2" in text and "✗ install vLLM" in text
        assert PIP_LINES[0] in text and "the second one's engine" not in text
        await pilot.press("comma")  # there is no earlier one
        await pilot.press("full_stop")
        await until(pilot, lambda: "the second one's engine" in screen_text(app))
        bar = app.screen.query_one(AttemptBar)
        await pilot.click(bar, offset=(14, 0))
        await until(pilot, lambda: "[Errno 28] No space left" in screen_text(app))
        # What goes on comes first.
        orchestrator.push(ident, 200, *failing(2))
        orchestrator.push(ident, 201, *renting(3, OFFERS[4]))
        await until(pilot, lambda: "machine 3 of 3" in screen_text(app))
        assert "▶ 3 RTX 4090" in screen_text(app) and "Errno 28" not in screen_text(app)


def failing(number: int) -> list[ev.Event]:
    return [
        ev.AttemptFailed(number, Phase.INSTALLING, "deploy", "it broke", ""),
        ev.PhaseChanged(number, Phase.FAILED),
    ]


@long
async def test_one_attempt_needs_no_tabs() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_installing)
        assert not app.screen.query_one(AttemptBar).display
        assert app.screen.check_action("attempt", (-1,)) is False
        await pilot.press("comma", "full_stop")
        assert app.store.followed is not None and app.store.followed.chosen is None


@long
async def test_an_earlier_attempt_keeps_its_cause_while_the_third_serves() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_third_attempt)
        await pilot.press("comma")
        await until(pilot, lambda: SSH_DEAD in screen_text(app))
        assert "10:00" in screen_text(app), "how long it waited for SSH"
        assert app.screen.query_one(TabbedContent).active == "install"
        await pilot.press("y")
        assert SSH_DEAD in app.clipboard and "RTX 3090 from vastai" in app.clipboard
        await pilot.press("comma")
        await until(pilot, lambda: "the offer is gone" in screen_text(app))
        await pilot.press("full_stop", "full_stop", "y")
        assert app.clipboard.startswith("export OPENAI_BASE_URL=")


@long
async def test_a_failure_is_copied_with_its_evidence_and_logs() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await show(pilot, orchestrator, to_waiting)
        assert "y copies all of this" in screen_text(app)
        await pilot.press("y")
        await until(pilot, lambda: "copied the failure" in screen_text(app))
        for words in ("too small for vLLM", "bigger disk", "[Errno 28]", PIP_LINES[0]):
            assert words in app.clipboard


@long
async def test_logs_of_earlier_attempts_are_bounded() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = orchestrator.begin(replace(SPEC, max_attempts=20))
        for number in range(1, 12):
            orchestrator.push(ident, number * 10, *renting(number))
            lines = tuple(f"{number}: {n}" for n in range(EARLIER_LINES + 100))
            orchestrator.push(ident, number * 10, ev.LogLines(number, "install", lines, 0))
            orchestrator.push(ident, number * 10, *failing(number))
        app.open_deployment(ident)
        followed = app.store.deployments[ident]
        await until(
            pilot, lambda: followed.state.last_seq >= orchestrator.deployments.state(ident).last_seq
        )
        assert len(followed.logs) == EARLIER_KEPT + 1
        kept = [len(logs.install.since(0)) for logs in followed.logs.values()]
        assert kept == [EARLIER_LINES] * EARLIER_KEPT + [EARLIER_LINES + 100]
        for _ in range(10):
            await pilot.press("comma")
        await until(pilot, lambda: "Attempt 1 of 11" in screen_text(app))
        pane = app.screen.query_one("#install-log", LogPane)
        assert pane.lines_seen == 0, "its lines are in the file alone"


async def test_usual_times_stand_beside_the_elapsed_ones() -> None:
    app, orchestrator = make_app()
    orchestrator.usual = {
        Phase.RENTING: 31.0, Phase.CONNECTING: 12.0, Phase.PREFLIGHT: 3.0,
        Phase.INSTALLING: 84.0, Phase.STARTING: 7.0, Phase.LOADING: 41.0, Phase.VERIFYING: 4.0,
    }  # fmt: skip
    orchestrator.clock.forward(75)
    async with app.run_test(size=WIDE) as pilot:
        ident = await show(pilot, orchestrator, to_installing)
        await until(pilot, lambda: "usual" in screen_text(app))
        lines = screen_text(app).splitlines()
        row = next(line for line in lines if line.startswith(" ▶ Install "))
        assert row.split()[:4] == ["▶", "Install", "0:33", "~1:24"]
        # 51 s of the installation are left, then 7 + 41 + 4.
        row = next(line for line in lines if line.startswith(" · Serve"))
        assert row.split()[:4] == ["·", "Serve", "in", "~1:43"]
        orchestrator.push(ident, 76, ev.ChoiceAwaited(1))
        await until(pilot, lambda: "✗ Install" in screen_text(app))
        row = next(line for line in screen_text(app).splitlines() if line.startswith(" · Serve"))
        assert "in" not in row.split() and "~1:43" not in row, "nobody knows when, now"
        assert "Cost of attempt 1" in screen_text(app)


@long
async def test_parts_and_gpu_are_drawn_while_it_loads() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_installing)
        orchestrator.gpu = GpuLoad(14438, 24576, 53)
        orchestrator.push(ident, 70, ev.Progressed(1, "x", 0.5, "shards", 0.625))
        orchestrator.clock.forward(1)
        app.feed.tick()
        wanted = ("14.1/24 GiB", "53%", "shards", " 62%")
        await until(pilot, lambda: all(words in screen_text(app) for words in wanted))


@long
async def test_what_is_saved_names_the_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_downloads_path", lambda: tmp_path)
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await show(pilot, orchestrator, to_third_attempt)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "saved 6 lines" in screen_text(app))
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("gdl-tui-d-1-attempt-3-engine-")


@long
async def test_steps_between_deployments() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_waiting)
        await show(pilot, orchestrator, to_serving)
        for key, words in (("[", "Failed while"), ("]", "Serving"), ("]", "Failed while")):
            await pilot.press(key)
            await until(pilot, shows(app, words))
        await pilot.press("3", "]")
        await until(pilot, lambda: "141.3 tokens/s" in screen_text(app))
        await pilot.press("[")
        await until(pilot, lambda: "did not get that far" in screen_text(app))


@long
async def test_the_panes_follow_one_another() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_serving)
        tabs = app.screen.query_one(TabbedContent)
        for wanted in ("timeline", "install", "engine"):
            await pilot.press("l")
            await until(pilot, lambda wanted=wanted: tabs.active == wanted)  # type: ignore[misc]
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))


def test_what_is_over_keeps_less_and_the_oldest_are_forgotten() -> None:
    store = Store()
    over = ev.DeploymentFinished("failed", None, "m", None, Billing.NONE, ())
    for number in range(FINISHED_KEPT + 5):
        followed = store.add(f"d-{number}")
        lines = tuple(map(str, range(EARLIER_LINES + 9)))
        followed.fold(Recorded(f"d-{number}", 1, START, ev.LogLines(1, "engine", lines, 0)))
        if number != 2:
            followed.fold(Recorded(f"d-{number}", 2, START, over))
    assert len(store.deployments) == FINISHED_KEPT + 2
    assert "d-2" in store.deployments and "d-3" not in store.deployments
    kept = {name: len(f.engine.since(0)) for name, f in store.deployments.items()}
    assert kept["d-2"] == kept[f"d-{number}"] == EARLIER_LINES + 9
    assert kept["d-10"] == EARLIER_LINES


# Health and benchmark


async def test_a_benchmark_asks_what_was_typed() -> None:
    app, orchestrator = make_app()
    orchestrator.gate = asyncio.Event()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_serving)
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.screen, HealthScreen))
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.focused, Input))
        await pilot.press(*"32", "down", *"8", "down", *"0", "enter")
        await until(pilot, lambda: "from 1 to 4096" in screen_text(app))
        await pilot.press("backspace", *"256", "enter")
        wanted = BenchLoad(requests=32, concurrency=8, max_tokens=256)
        await until(pilot, lambda: ("bench", ident, wanted) in orchestrator.calls)
        await until(pilot, lambda: "benchmark running" in screen_text(app))
        for done, rate in ((0, 0.0), (8, 90.0), (16, 140.0)):
            orchestrator.push(ident, 500 + done, ev.BenchProgressed(1, done, 32, rate))
        await until(pilot, lambda: "16 of 32 requests" in screen_text(app))
        assert "140.0 tokens/s" in screen_text(app) and "▅█" in screen_text(app)
        await pilot.press("b")
        assert isinstance(app.screen, HealthScreen), "one at a time"
        orchestrator.gate.set()
        orchestrator.push(
            ident, 540, ev.BenchFinished(1, (await orchestrator.benchmarks.bench(ident, wanted)))
        )
        await until(pilot, lambda: "concurrency 8" in screen_text(app))
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.screen, BenchDialog))
        assert app.screen.query_one("#bench-requests", Input).value == "32"
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, HealthScreen))


@long
async def test_checks_show_their_history_and_the_engine_its_load() -> None:
    app, orchestrator = make_app()
    failed = replace(CHECKS[2], status=CheckStatus.FAILED)
    bad = tuple(failed if check.name == "health" else check for check in CHECKS)
    orchestrator.rounds = [CheckRound(START, found) for found in (CHECKS, bad, CHECKS)]
    orchestrator.sample = HealthSample(Condition.HEALTHY, "", 3.0, 4, 2, 0.25, 141.0)
    orchestrator.gpu = GpuLoad(20000, 24576, 90, 61, 214.0)
    orchestrator.clock.forward(30)
    async with app.run_test(size=WIDE) as pilot:
        await show(pilot, orchestrator, to_serving)
        await pilot.press("3")
        orchestrator.clock.forward(1)
        app.feed.tick()
        wanted = (
            *("90% 61 °C 214 W", "✓✗✓", "3 rounds, the last one 3", "s ago", "25%"),
            *("19.5/24.0 GiB", "healthy"),
        )
        await until(pilot, lambda: all(words in screen_text(app) for words in wanted))
        slower = tuple(replace(check, latency_ms=777.0) for check in CHECKS)
        orchestrator.rounds.append(CheckRound(orchestrator.clock(), slower))
        app.feed.tick()
        await until(pilot, lambda: "777 ms" in screen_text(app))
        orchestrator.sample = HealthSample(Condition.DEGRADED, "HTTP 500 from /health", 9.0)
        orchestrator.clock.forward(1)
        app.feed.tick()
        await until(pilot, lambda: "degraded · HTTP 500 from /health" in screen_text(app))


@long
async def test_what_was_measured_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_downloads_path", lambda: tmp_path)
    app, orchestrator = make_app()
    orchestrator.rounds = [CheckRound(START, CHECKS)]
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await show(pilot, orchestrator, to_serving)
        await pilot.press("3", "ctrl+s")
        await until(pilot, lambda: "saved" in screen_text(app))
    (file,) = tmp_path.iterdir()
    saved = json.loads(file.read_text())
    assert saved["benchmark"]["output_throughput"] == 141.3
    assert saved["rounds"][0]["checks"][0]["name"] == "gpu" and len(saved["answers"]) == 5


# RecentSamples


def test_blocks_have_a_fixed_scale_and_the_newest_last() -> None:
    assert sparkline([0.0, 0.5, 1.0], 5, top=1.0) == "  ▁▅█"
    assert sparkline([9.0, 1.0, 2.0], 2) == "▅█"
    assert sparkline([], 3) == "   " and sparkline([0.0, 0.0], 2) == "▁▁"
    assert sparkline([7.0, -3.0], 2, top=1.0) == "█▁"
    assert bar(0.5, 4) == ("━━", "──") and bar(9.0, 2) == ("━━", "")


def test_what_is_not_told_is_no_sample() -> None:
    samples = RecentSamples()
    for _ in range(KEPT + 20):
        samples.take(GpuLoad(1, 2, None), HealthSample(Condition.HEALTHY, running=1.0))
    assert len(samples.memory) == len(samples.running) == KEPT
    assert not samples.percent and not samples.kv_cache


@pytest.mark.minute
@long
async def test_serving_for_long_keeps_memory_flat() -> None:
    """Every second a look at GPU and engine and 200 lines of log, on the screen that shows both."""
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_serving)
        followed = app.store.deployments[ident]

        async def serve(seconds: int) -> None:
            for second in range(seconds):
                orchestrator.clock.forward(1)
                orchestrator.gpu = GpuLoad(20_000 + second % 7, 24_576, second % 100)
                orchestrator.sample = HealthSample(
                    Condition.HEALTHY, "", 3.0, second % 9, 0, 0.1, second % 500
                )
                lines = tuple(f"request {second} {n} " + "x" * 60 for n in range(200))
                batch = ev.LogLines(1, "engine", lines, 0)
                followed.fold(Recorded(ident, followed.state.last_seq, START, batch))
                app.feed.tick()
                if second % 5 == 0:
                    await pilot.press("3" if second % 10 else "2")
                    await pilot.pause()

        # From the first line on: one that takes the place of another must not count as new.
        tracemalloc.start()
        try:
            await serve(LINES_KEPT // 200 + 20)
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            await serve(200)
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(followed.engine.since(0)) == LINES_KEPT
        # 200 s brought 40 000 lines, some 6 MB, all of which took the place of others.
        assert after - before < 2e6
        assert isinstance(app.screen, DeploymentScreen | HealthScreen)
