"""What gauges, estimates and distributions are made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdl.domain import events as ev
from gdl.domain.benchmark import OWN, OWN_LOAD, BenchLoad, Histogram, own_workload
from gdl.domain.deployment import DeploymentState, apply
from gdl.domain.events import Recorded
from gdl.domain.host import CommandResult
from gdl.domain.phase import Phase
from gdl.domain.readings import GpuLoad, typical
from gdl.domain.spec import DeploymentSpec
from gdl.engines.install_progress import InstallProgress
from gdl.engines.registry import get
from gdl.host.gpu import parse
from gdl.host.process_stats import ProcessStats
from gdl.journal import history
from gdl.journal.store import DeploymentRow, Journal
from gdl.loadgen.stats import histogram
from gdl.orchestrator.machine.gpu_sampler import of_stats, of_status

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


# How long each phase usually takes


def test_the_same_model_counts_where_there_is_some() -> None:
    past = [
        ("tiny", {Phase.RENTING: 10.0, Phase.INSTALLING: 60.0}),
        ("tiny", {Phase.RENTING: 30.0}),
        ("big", {Phase.RENTING: 90.0, Phase.LOADING: 500.0}),
    ]
    assert typical(past, "tiny") == {
        Phase.RENTING: 20.0, Phase.INSTALLING: 60.0, Phase.LOADING: 500.0
    }  # fmt: skip
    assert typical([], "tiny") == {}


def told(
    ident: str, model: str, *phases: tuple[Phase | ev.Event, float], attached: bool = False
) -> Any:
    spec = DeploymentSpec(model, "sandbox")
    began = ev.AttemptStarted(1, "o", "vastai", "RTX 3090", 1, 24.0, 0.1)
    rented = ev.SessionRented(1, "s", "vastai", 0.1, since=START if attached else None)
    events: list[tuple[float, ev.Event]] = [
        (0.0, ev.DeploymentPlanned(spec, model, model)), (0.0, began),
        *((at, _event(each)) for each, at in phases[:1]), (1.0, rented),
        *((at, _event(each)) for each, at in phases[1:]),
    ]  # fmt: skip
    return [
        Recorded(ident, n, START + timedelta(seconds=at), event)
        for n, (at, event) in enumerate(events, 1)
    ]


def _event(each: Phase | ev.Event) -> ev.Event:
    return each if isinstance(each, ev.Event) else ev.PhaseChanged(1, each)


async def test_a_wait_that_its_process_did_not_see_to_the_end_is_no_work(tmp_path: Path) -> None:
    """The process was killed while it asked, and the deployment resumed the next day."""
    journal = await Journal.open(tmp_path / "journal.db")
    begun = (
        (Phase.RENTING, 0.0), (Phase.CONNECTING, 20.0), (Phase.PREFLIGHT, 25.0),
        (Phase.INSTALLING, 27.0), (Phase.STARTING, 87.0), (ev.ChoiceAwaited(1), 90.0),
    )  # fmt: skip
    end = ((Phase.LOADING, 80_010.0), (Phase.VERIFYING, 80_020.0), (Phase.SERVING, 80_021.0))
    asks_again = ((ev.ChoiceAwaited(1), 80_000.0), (ev.ChoiceMade(1, "fix"), 80_005.0))
    clock_set_back = ((ev.ChoiceAwaited(1), 80_004.0), (ev.ChoiceMade(1, "fix"), 80_000.0))
    stories = {
        "a": (*begun, *asks_again, *end),
        "b": (*begun, (Phase.STARTING, 80_000.0), *end),
        "c": (*begun, (Phase.STARTING, 80_000.0), *clock_set_back, *end),
    }
    try:
        for ident, events in stories.items():
            await journal.add_deployment(DeploymentRow(ident, START, "tiny", "sandbox", "", 0))
            for recorded in told(ident, "tiny", *events):
                await journal.append(recorded)
        past = await history.phase_times(journal, ["sandbox"], "now")
        assert [times[Phase.STARTING] for _model, times in past] == [8.0, 13.0, 13.0]
        known = await history.attempts(journal, "sandbox")
        assert all(each.setup_s is not None and each.setup_s < 200 for each in known)
    finally:
        await journal.aclose()


async def test_phases_are_read_from_the_journal_and_failed_ones_left_out(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "journal.db")
    served = (
        (Phase.RENTING, 0.0), (Phase.CONNECTING, 20.0), (Phase.PREFLIGHT, 25.0),
        (Phase.INSTALLING, 27.0), (Phase.STARTING, 87.0), (Phase.INSTALLING, 90.0),
        (Phase.STARTING, 100.0), (ev.ChoiceAwaited(1), 101.0), (ev.ChoiceMade(1, "fix"), 3701.0),
        (Phase.LOADING, 3704.0), (Phase.VERIFYING, 3740.0),
        (Phase.SERVING, 3742.0), (Phase.STOPPING, 4999.0),
    )  # fmt: skip
    stories = {
        "a": told("a", "tiny", *served),
        "b": told("b", "tiny", (Phase.RENTING, 0.0), (Phase.CONNECTING, 40.0),
                  (Phase.FAILED, 640.0)),
        "c": told("c", "tiny", (Phase.RENTING, 0.0), (Phase.CONNECTING, 500.0), attached=True),
        "now": told("now", "tiny", (Phase.RENTING, 0.0), (Phase.CONNECTING, 7000.0)),
    }  # fmt: skip
    try:
        for ident, events in stories.items():
            await journal.add_deployment(DeploymentRow(ident, START, "tiny", "sandbox", "", 0))
            for recorded in events:
                await journal.append(recorded)
        past = await history.phase_times(journal, ["sandbox"], "now")
        (served_one,) = [a for a in await history.attempts(journal, "sandbox") if a.served]
        assert (served_one.setup_s, served_one.waited_s) == (141.0, 3600.0)
        assert await history.phase_times(journal, ["shopper"], "now") == []
    finally:
        await journal.aclose()
    assert typical(past, "tiny") == {
        Phase.RENTING: 30.0, Phase.CONNECTING: 5.0, Phase.PREFLIGHT: 2.0, Phase.INSTALLING: 70.0,
        Phase.STARTING: 7.0, Phase.LOADING: 36.0, Phase.VERIFYING: 2.0,
    }  # fmt: skip


# What is counted while it is set up


@pytest.mark.parametrize(
    ("line", "part", "share"),
    [
        ("Loading safetensors checkpoint shards:  62% Completed | 5/8 [00:01<00:00]", "shards",
         0.62),
        ("Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  45%|####5     | 30/67",
         "graphs", 0.45),
        ("model.safetensors:  45%|###   | 121M/269M [00:05<00:06, 23.1MB/s]", "weights", 0.45),
        ("INFO Available KV cache memory: 5.31 GiB", "", None),
    ],
)  # fmt: skip
def test_the_servers_bars_are_told_apart(line: str, part: str, share: float | None) -> None:
    mark = get("vllm").read_line(line)
    assert mark is not None
    assert (mark.part, mark.part_fraction) == (part, share)


def test_downloads_of_an_installation_are_counted() -> None:
    progress = InstallProgress()
    marks = [
        progress.feed(line)
        for line in (
            "Downloading torch (300MiB)", "Downloading vllm (100MiB)", "Downloaded torch",
            "Installed 171 packages in 1s",
        )
    ]  # fmt: skip
    assert [(m.part, m.part_fraction) for m in marks if m] == [
        ("packages", 0.0), ("packages", 0.0), ("packages", 0.75), ("packages", 1.0)
    ]  # fmt: skip


def test_each_part_keeps_how_far_it_is() -> None:
    state = DeploymentState("d")
    spec = DeploymentSpec("tiny", "sandbox")
    events = (
        ev.DeploymentPlanned(spec, "tiny", "tiny"),
        ev.AttemptStarted(1, "o", "vastai", "RTX 3090", 1, 24.0, 0.1),
        ev.Progressed(1, "x", 0.1, "packages", 0.5),
        ev.Progressed(1, "x", 0.2),
        ev.Progressed(1, "x", 0.3, "shards", 7.0),
        ev.Progressed(1, "x", 0.3, "packages", 1.0),
    )
    for number, event in enumerate(events, 1):
        state = apply(state, Recorded("d", number, START, event))
    assert state.attempt is not None
    assert state.attempt.parts == (("packages", 1.0), ("shards", 1.0))


# GPUs


def test_all_gpus_are_one_reading() -> None:
    rows = "A100, 100, 81920, 5, 40, 60.5, 570\nA100, 300, 81920, 90, 71, [N/A], 570\n"
    load = of_status(parse(CommandResult(0, rows, "")))
    assert load == GpuLoad(400, 163840, 90, 71, 60.5)
    assert load.share == pytest.approx(400 / 163840)
    assert of_status(parse(CommandResult(127, "", "not found"))) is None


def test_what_is_not_told_is_no_reading() -> None:
    assert of_stats(ProcessStats(1, 1.0, 0, 9, 0, False)) is None
    assert of_stats(ProcessStats(1, 1.0, 0, 9, 0, False, 5, 10, 50)) == GpuLoad(5, 10, 50)
    assert GpuLoad(5, None, 50).share is None


# Benchmarks


@given(st.lists(st.floats(1e-6, 1e6) | st.just(0.0), min_size=1, max_size=60).map(sorted))
def test_every_value_is_in_one_bin(values: list[float]) -> None:
    found = histogram(values)
    assert found is not None and sum(found.counts) == len(values)
    assert 1 <= len(found.counts) <= 12 and found.counts[-1] > 0
    assert found.start <= values[0] * 1.000001
    assert found.start + found.width * len(found.counts) >= values[-1] * 0.999999


def test_bins_of_little() -> None:
    assert histogram([]) is None
    assert histogram([0.0, 0.0]) == Histogram(0.0, 0.0, (2,))
    assert histogram([5.0, 5.0]) == Histogram(5.0, 0.05, (2,))
    assert histogram([638.0, 640.0, 651.0]) == Histogram(630.0, 10.0, (1, 1, 1))


def test_another_load_is_another_workload() -> None:
    assert own_workload(OWN_LOAD) == own_workload(BenchLoad(concurrency=32)) == OWN
    assert own_workload(BenchLoad(32, 8, 256)) == "own, 32 requests, out 256"
