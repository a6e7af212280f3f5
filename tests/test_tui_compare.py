"""What was measured, beside each other: charts, table, sweep and file."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from gdl.tui.screens.compare import CompareScreen
from gdl.tui.screens.health import HealthScreen
from gdl.tui.widgets.bench_charts import levels
from gdl.tui.widgets.keyed_table import KeyedTable
from tui_pilot import SIZE, screen_text, show, until
from tui_support import ScriptedOrchestrator, make_app, measured, to_serving


async def compared(pilot: Pilot[Any], orchestrator: ScriptedOrchestrator) -> str:
    ident = await show(pilot, orchestrator, to_serving)
    await pilot.press("3")
    await until(pilot, lambda: isinstance(pilot.app.screen, HealthScreen))
    await pilot.press("c")
    await until(pilot, lambda: isinstance(pilot.app.screen, CompareScreen))
    return ident


async def test_the_cheapest_tokens_come_first_and_other_models_on_demand() -> None:
    app, orchestrator = make_app()
    orchestrator.measured = [
        *measured("RTX 4090", 0.3, {1: 100.0, 4: 300.0}),
        *measured("H100 [b]x[/]\x1b[31m", 2.0, {1: 10.0}, model="other"),
        *measured("RTX 3090", 0.1, {1: 90.0}),
    ]
    async with app.run_test(size=SIZE) as pilot:
        await compared(pilot, orchestrator)
        await until(pilot, lambda: "3 points" in screen_text(app))
        text = screen_text(app)
        rows = [line for line in text.splitlines() if " ms " in line and "RTX" in line]
        assert [row.split()[2] for row in rows] == ["4*", "1*", "1"]
        assert [row.split()[-1] for row in rows] == ["$0.300", "$0.100", "$0.300"]
        assert "H100" not in text
        await pilot.press("m")
        await until(pilot, lambda: "4 points" in screen_text(app))
        assert "H100 [b]x[/]" in screen_text(app) and "\x1b" not in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, HealthScreen))


@pytest.mark.parametrize(
    ("most", "rows", "told"),
    [
        (900.0, 5, [0, 500, 1000]),
        (900.0, 12, [0, 250, 500, 750, 1000]),
        (164.0, 5, [0, 100, 200]),
        (1001.0, 5, [0, 600, 1200]),
        (100.0, 5, [0, 50, 100]),
        (0.3, 12, [0, 0.08, 0.16, 0.24, 0.32]),
    ],
)
def test_a_chart_is_marked_in_round_and_equal_steps(
    most: float, rows: int, told: list[float]
) -> None:
    assert levels(most, rows) == pytest.approx(told)


async def test_a_sweep_is_shown_as_it_goes_and_its_result_stays() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await compared(pilot, orchestrator)
        await until(pilot, lambda: "Nothing has been measured yet" in screen_text(app))
        await pilot.press("w")
        await until(pilot, lambda: "best: 4 at a time, 141.0 tokens/s" in screen_text(app))
    assert ("sweep", ident, 64) in orchestrator.calls


async def test_what_a_busy_computer_measured_is_shown_and_marked() -> None:
    app, orchestrator = make_app()
    late = "the load generator was up to 14 ms late (p99)"
    (one,) = measured("RTX 4090", 0.3, {4: 300.0})
    orchestrator.measured = [replace(one, best=False, report=replace(one.report, note=late))]
    async with app.run_test(size=SIZE) as pilot:
        await compared(pilot, orchestrator)
        await until(pilot, lambda: "1 point" in screen_text(app))
        text = screen_text(app)
        assert " 4~ " in text and f"~ {late}" in text


async def test_saves_a_file_that_a_spreadsheet_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_downloads_path", lambda: tmp_path)
    app, orchestrator = make_app()
    orchestrator.measured = measured("RTX 4090", 0.3, {1: 100.0, 4: 300.0})
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await compared(pilot, orchestrator)
        await until(pilot, lambda: "2 points" in screen_text(app))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "saved" in screen_text(app))
    (file,) = tmp_path.glob("*.csv")
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["concurrency"] for row in rows] == ["1", "4"]
    assert float(rows[1]["output_throughput"]) == 300.0


async def test_nothing_is_swept_read_only() -> None:
    app, orchestrator = make_app(read_only=True)
    async with app.run_test(size=SIZE) as pilot:
        await compared(pilot, orchestrator)
        await pilot.press("w")
        await pilot.pause()
        assert not app.screen.active_bindings["w"].enabled
    assert not any(call[0] == "sweep" for call in orchestrator.calls)


async def test_what_was_measured_meanwhile_comes_with_a_refresh() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await compared(pilot, orchestrator)
        before = app.screen.query_one(KeyedTable).row_count
        orchestrator.measured += measured("RTX 4090", 0.3, {1: 99.0})
        await pilot.press("r")
        await until(pilot, lambda: app.screen.query_one(KeyedTable).row_count == before + 1)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, HealthScreen))
