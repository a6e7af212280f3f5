"""What a model's speed on a machine is taken from, and how far that may be off."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli_support import REPORT, SCENARIOS, Scripted, offer, opener_of
from gdl import shipped
from gdl.backends.shopper import benchmark_download
from gdl.cli.app import run
from gdl.domain.benchmark import Measurement
from gdl.domain.requirements.bandwidth import bandwidth
from gdl.domain.requirements.gpus import COMMON, named
from gdl.domain.speed import Basis, Figure, Machine, Served, active_share, modelled, speed
from gdl.journal import benchmarks as kept
from gdl.journal.store import Journal
from gdl.orchestrator.leasing import speeds

CARD, OTHER, PAIR = Machine("RTX 4090", 1, 24), Machine("RTX 3090", 1, 24), Machine("RTX 4090", 2)
LOAD = Served(4, 16.0)
WEIGHTS_GB = {
    "meta-llama/Llama-3.1-8B-Instruct": 16.06,
    "Qwen/Qwen2.5-7B-Instruct": 15.23,
    "Qwen/Qwen2.5-14B-Instruct": 29.54,
}


def test_ones_own_measurement_comes_first_and_a_prediction_last() -> None:
    ours = [Figure(CARD, 4, rate, "", own=True) for rate in (190.0, 200.0, 230.0)]
    theirs = Figure(CARD, 4, 500.0, "somebody's page")
    told = speed(Machine("NVIDIA GeForce RTX 4090", 1), LOAD, [theirs, *ours])
    assert told is not None and told.basis is Basis.MEASURED
    assert (told.tokens_per_s, round(told.error, 2)) == (200.0, 0.15)
    assert told.source == "your own benchmarks, 3 runs"
    published = speed(CARD, LOAD, [theirs])
    assert published is not None and published.source == "somebody's page"
    assert (published.basis, published.tokens_per_s) == (Basis.PUBLISHED, 500.0)
    scaled = speed(OTHER, LOAD, [theirs, ours[1]])
    assert scaled is not None and scaled.basis is Basis.SCALED
    assert 180 < scaled.tokens_per_s < 190, "as their bandwidths are, 936 to 1008 GB/s"
    assert scaled.source == "your own benchmarks: RTX 4090 at 4 at a time"
    bare = speed(CARD, LOAD, [])
    assert bare is not None and (bare.basis, bare.error) == (Basis.BANDWIDTH, 0.4)
    assert bare.usd_per_million(0.36) == pytest.approx(0.36 / 3600 / bare.tokens_per_s * 1e6)


def test_the_less_is_known_the_more_it_may_be_off() -> None:
    pair, one = speed(PAIR, LOAD, []), speed(CARD, LOAD, [])
    assert pair is not None and one is not None
    assert pair.error == 1.0 and one.tokens_per_s < pair.tokens_per_s < 2 * one.tokens_per_s
    experts = speed(CARD, Served(1, 60.0, 6.0), [])
    assert experts is not None and experts.error == 1.0
    assert speed(Machine("FancyCard 9", 1, 24), LOAD, []) is None
    assert speed(CARD, Served(4), []) is None, "its size is not known"
    assert speed(Machine("", 0), LOAD, []) is None


def test_the_active_parameters_are_in_the_name() -> None:
    assert active_share("Qwen/Qwen3-30B-A3B-Instruct-2507") == pytest.approx(0.1)
    assert active_share("Qwen/Qwen3-8B") is None and active_share("x-3B-A30B") is None


def test_common_cards_have_a_bandwidth_by_their_kind() -> None:
    for name in COMMON:
        found = named(name)
        assert found is not None and bandwidth(found.name), name
    assert bandwidth("A100 SXM4", 40) == 1555 and bandwidth("A100 PCIE", 80) == 2039
    assert bandwidth("H100 PCIe", 80) == 2000 and bandwidth("H100 SXM", 80) == 3350


def test_the_bandwidth_model_is_as_near_to_what_was_published_as_it_says() -> None:
    rows = shipped.table(speeds.__file__, "speeds.toml")["figures"]
    assert len(rows) >= 8
    off = []
    for row in rows:
        machine = Machine(row["gpu"], row["count"], row["vram"])
        told = modelled(machine, Served(row["concurrency"], WEIGHTS_GB[row["model"]]))
        assert told is not None and row["source"]
        off.append(abs(told / row["tokens_per_s"] - 1))
    assert max(off) < 0.35, "as its docstring says; a prediction says 40 %"


@pytest.mark.parametrize(
    "row",
    [
        None, [], {}, {"hardware": 3}, {"hardware": {"gpu_name": "H100", "gpu_count": True}},
        {"hardware": {"gpu_name": "H100", "gpu_count": 1}, "results": {"total_tokens": "9"}},
        {"hardware": {"gpu_name": "H100", "gpu_count": 1},
         "results": {"total_tokens": 9, "duration_seconds": float("inf")}},
    ],
)  # fmt: skip
def test_of_others_benchmarks_only_what_can_be_counted_on_is_taken(row: object) -> None:
    good = {
        "hardware": {"gpu_name": "H100\x1b[2J", "gpu_count": 1, "gpu_memory_mib": 81559},
        "test_config": {"concurrent_reqs": 8},
        "results": {"total_tokens": 3000, "duration_seconds": 2.0},
    }
    (figure,) = benchmark_download.figures({"benchmarks": [row, good]})
    assert (figure.concurrency, figure.tokens_per_s, figure.own) == (8, 1500.0, False)
    assert "\x1b" not in figure.machine.gpu
    assert benchmark_download.figures({"benchmarks": None}) == []


OFFERS = (
    offer("slow", 0.2, gpu_name="RTX 3090"),
    offer("fast", 0.4),
    offer("dearer", 0.5),
    offer("unheard", 0.1, gpu_name="FancyCard 9"),
    offer("gone", 0.1, available=False),
)


def test_machines_are_ranked_by_what_a_million_tokens_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GDL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def prices(*words: str) -> int:
        ours = Figure(CARD, 4, 1000.0, "", own=True)
        scripted = Scripted(SCENARIOS["destroy"], offered=OFFERS, figures=(ours,))
        return run(("prices", *words), opener=opener_of(scripted))

    assert prices("qwen3-8b", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["offer"]["id"] for row in rows] == ["slow", "fast", "unheard"]
    assert [row["basis"] for row in rows] == ["scaled", "measured", None]
    assert rows[1]["usd_per_million"] == pytest.approx(0.4 / 3.6)
    assert prices("qwen3-8b", "--by", "speed", "--all") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert "fast" in lines[1] and "dearer" in lines[2] and "slow" in lines[3]
    assert "measured: your own benchmarks, 1 run" in lines[1] and "10%" in lines[1]
    assert "not known" in lines[-1] and "predictions" in err
    assert prices("qwen3-8b", "--filter", "gpu:h200") == 3
    assert prices() == 2


def test_ones_own_history_is_read_from_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GDL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    async def remember() -> None:
        journal = await Journal.open(tmp_path / "journal.sqlite")
        at = datetime(2026, 5, 6, tzinfo=UTC)
        for simulated, rate in ((True, 900.0), (False, 5.0)):
            at += timedelta(hours=1)
            report = replace(REPORT, output_throughput=rate, concurrency=4)
            made = Measurement(
                at, "d", "s", "sandbox", "qwen3-8b", "RTX 4090", 1, "vastai", 0.4, "own", report,
                simulated=simulated,
            )  # fmt: skip
            await kept.add(journal, made)
        await journal.aclose()

    asyncio.run(remember())
    words = ("prices", "qwen3-8b", "--backend", "sandbox", "--filter", "gpu:4090 gpus=1", "--json")
    assert run(words) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (row["basis"], row["tokens_per_s"]) == ("measured", 900.0), "of its own sort alone"
    # A mixture of experts reads a part of its weights: its list entry tells how much.
    assert run(("prices", "gpt-oss-20b", *words[2:-1], "--concurrency", "1", "--json")) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (row["basis"], row["error"]) == ("bandwidth", 1.0) and row["tokens_per_s"] > 150
