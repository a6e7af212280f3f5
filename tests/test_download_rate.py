"""How fast a machine downloads is told while it does, and too slow a one is left."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from deployment_support import SIMULATED, Simulation, deployed, last, of_type, spec
from gdl.domain import events as ev
from gdl.domain.phase import Billing
from gdl.domain.remedies import RemedyKind
from gdl.engines.base import LogMark
from gdl.engines.install_progress import InstallProgress
from gdl.engines.vllm.log import read_line
from gdl.host.process_stats import ProcessStats
from gdl.orchestrator.machine import download_rate, install
from gdl.orchestrator.machine.download_rate import DownloadRate
from gdl.orchestrator.machine.startup_progress import StartupProgress
from local_shell import put_script
from shopper_support import FakeShopper, listing

COMING = LogMark("installing", "downloading", downloading=True, left=6e9)


def looked(mark: LogMark, mb_s: float, seconds: int) -> DownloadRate:
    """A look every three seconds at a steady download."""
    found = DownloadRate()
    found.mark(mark)
    for now in range(0, seconds + 1, 3):
        found.sampled(int(mb_s * 1e6 * now), float(now))
    return found


def test_rate_and_time_left() -> None:
    assert looked(COMING, 80, 9).words == "80 MB/s, 75 s left"
    assert looked(COMING, 4, 9).words == "4.0 MB/s, 25 min left"
    assert looked(LogMark("x", "y", downloading=True), 80, 9).words == "80 MB/s"
    assert looked(LogMark("x", "y"), 80, 9).words == ""
    assert looked(COMING, 0, 9).words == "" and looked(COMING, 80, 0).words == ""


def test_a_machine_that_was_out_of_reach_was_not_slow_meanwhile() -> None:
    found = looked(COMING, 4, 30)
    found.sampled(int(120e6 + 1), 630.0)
    found.sampled(int(132e6), 633.0)
    assert found.words == "4.0 MB/s, 25 min left" and not found.hopeless(633.0)


def test_a_minute_under_5_mb_s_is_hopeless_unless_it_is_nearly_there() -> None:
    assert not looked(COMING, 4, 60).hopeless(60.0)
    assert looked(COMING, 4, 66).hopeless(66.0)
    assert not looked(COMING, 6, 300).hopeless(300.0)
    assert not looked(COMING, 0.01, 300).hopeless(300.0), "nothing comes over the network"
    assert not looked(LogMark("x", "unpacking"), 1, 300).hopeless(300.0)
    nearly = LogMark("x", "y", downloading=True, left=2e8)
    assert not looked(nearly, 4, 300).hopeless(300.0)


def test_a_better_moment_begins_anew() -> None:
    found = looked(COMING, 2, 60)
    found.sampled(int(2e6 * 60 + 400e6), 63.0)
    assert not found.hopeless(120.0)


def test_what_is_known_to_be_missing() -> None:
    progress = InstallProgress()
    marks = [progress.feed(f" Downloading {n} (100.0MiB)") for n in ("torch", "vllm")]
    done = progress.feed(" Downloaded torch")
    assert marks[1] is not None and marks[1].left == pytest.approx(2 * 104857600)
    assert done is not None and done.left == pytest.approx(104857600)
    assert (over := progress.feed(" Downloaded vllm")) is not None and not over.downloading
    bar = read_line("model.safetensors:  45%|####5     | 121M/269M [00:05<00:06, 23.1MB/s]")
    assert bar is not None and bar.left == pytest.approx(148e6)
    graphs = read_line(
        "Capturing CUDA graphs (mixed, PIECEWISE):  45%|####5  | 30/67 [00:05<00:06]"
    )
    assert graphs is not None and graphs.text == "capturing CUDA graphs: 30 of 67"
    assert graphs.fraction == pytest.approx(0.85 + 0.07 * 0.45) and not graphs.downloading


def test_a_model_that_comes_slowly_is_seen_while_the_server_starts() -> None:
    progress = StartupProgress(0.0)
    bar = read_line("model.safetensors:   2%|2     | 121M/6.1G [00:30<25:06, 4.0MB/s]")
    assert bar is not None
    progress.mark(bar)
    for now in range(0, 67, 2):
        progress.sampled(ProcessStats(3, float(now), 0, 900, now * 4_000_000, False), float(now))
    assert progress.rate.hopeless(66.0)
    shards = read_line("Loading safetensors checkpoint shards:  50% Completed | 1/2")
    assert shards is not None
    progress.mark(shards)
    assert not progress.rate.hopeless(200.0)


async def test_a_rented_machine_with_a_slow_network_is_left_while_it_downloads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The network's counters grow by 1 MB a second; uv would be at it for ever."""
    sim = Simulation(monkeypatch, tmp_path)
    sim.with_gpu()
    tools, begun = tmp_path / "tools", time.time_ns() // 1000
    tools.mkdir()
    put_script(
        tools,
        "cat",
        'if [ "$1" = /proc/net/dev ]; then\n'
        f"    n=$(($(date +%s%N) / 1000 - {begun}))\n"
        '    echo "  eth0: $n 0 0 0 0 0 0 0 0 0"; shift\nfi\nexec /bin/cat "$@"\n',
    )
    put_script(
        tools,
        "uv",
        'case "$*" in *--help* | *--dry-run*) ;; "pip install "*)\n'
        '    echo " Downloading torch (846.8MiB)"; exec sleep 300 ;; esac\n'
        f'exec {SIMULATED / "uv"} "$@"\n',
    )
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(install, "_SAMPLE_S", 0.05)
    monkeypatch.setattr(download_rate, "_SLOW_FOR_S", 0.4)
    offers = [listing("vastai-101", price=0.10)]
    async with (
        sim.machine() as (ssh, key),
        FakeShopper(offers=offers, ssh=ssh, private_key=key) as shopper,
    ):
        sim.flags |= {"backend": "shopper", "shopper_url": shopper.url}
        async with sim.orchestrator() as orchestrator:
            events = await deployed(orchestrator, spec("shopper"))
        assert shopper.billing() == []
    end = last(events)
    assert (end.outcome, end.billing) == ("failed", Billing.RELEASED)
    (found,) = of_type(events, ev.Diagnosed)
    assert found.rule == "slow-download" and found.action is not None
    assert found.action.kind is RemedyKind.EXCLUDE_MACHINE
    assert "MB/s" in found.evidence[0]
    told = [e.text for e in of_type(events, ev.Progressed)]
    assert any("torch is on its way (" in text and "MB/s" in text for text in told)
    steps = [(e.name, e.outcome) for e in of_type(events, ev.StepFinished)]
    assert steps[-1] == ("install", "failed")
