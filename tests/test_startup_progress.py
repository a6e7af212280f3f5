"""A start as one progress, and when it is a stall rather than slow work."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gdl.engines.base import LogMark
from gdl.engines.vllm.log import read_line
from gdl.host import process_stats
from gdl.host.process_stats import ProcessStats
from gdl.orchestrator.machine.startup_progress import StartupProgress

STILL = ProcessStats(3, 100.0, 7, 900, 10_000, False, 14438, 22528, 0)


def test_the_progress_has_share_shard_and_gpu() -> None:
    progress = StartupProgress(0.0)
    for line in (
        "(EngineCore pid=2) INFO Starting to load model tiny...",
        "Loading safetensors checkpoint shards:  62% Completed | 5/8 [00:01<00:00,  1.76s/it]",
    ):
        mark = read_line(line)
        assert mark is not None
        progress.mark(mark)
    progress.sampled(STILL, 1.0)
    assert progress.words("LOADING", 1.0) == "LOADING 57% (shard 5/8, 14.1 of 22 GiB on the GPU)"


def test_without_a_gpu_it_shows_memory_and_without_anything_the_phase() -> None:
    progress = StartupProgress(0.0)
    assert progress.words("STARTING", 0.0) == "STARTING"
    progress.sampled(replace(STILL, gpu_used_mib=None, gpu_total_mib=None), 1.0)
    assert progress.words("STARTING", 1.0) == "STARTING (0.9 GiB of memory)"


def test_progress_never_goes_back() -> None:
    progress = StartupProgress(0.0)
    for fraction in (0.4, 0.66, None, 0.3):
        progress.mark(LogMark("loading", "x", fraction))
    assert progress.fraction == 0.66


def test_a_machine_that_was_out_of_reach_did_not_stall() -> None:
    progress = StartupProgress(0.0)
    progress.sampled(STILL, 2.0)
    progress.sampled(STILL, 12.0)
    assert progress.idle_s(12.0) == 10.0
    # For ten minutes nobody could look.
    assert progress.idle_s(600.0) == 0.0
    progress.sampled(STILL, 612.0)
    assert progress.idle_s(614.0) == 2.0


BUSY = {
    "processor": {"busy_s": 100.5},
    "a child that ended": {"busy_s": 60.0},
    "a new process": {"processes": 4},
    "pages from disk": {"pages_read": 9},
    "waiting for the disk": {"waiting": True},
    "a download": {"net_bytes": 10_000 + 60_000},
    "the GPU computes": {"gpu_percent": 3},
    "the GPU fills": {"gpu_used_mib": 14600},
}


@pytest.mark.parametrize("change", BUSY.values(), ids=BUSY)
def test_whatever_is_busy_is_no_stall(change: dict[str, object]) -> None:
    progress = StartupProgress(0.0)
    progress.sampled(STILL, 1.0)
    progress.sampled(replace(STILL, **change), 3.0)  # type: ignore[arg-type]
    assert progress.idle_s(4.0) == 1.0


def test_nothing_at_all_is_a_stall_and_a_line_ends_it() -> None:
    progress = StartupProgress(0.0)
    for now in range(1, 100, 2):
        # Our own questions for the log cost some bytes.
        progress.sampled(replace(STILL, net_bytes=10_000 + 3000 * now), float(now))
    assert progress.idle_s(100.0) == 99.0
    assert "no line for 100 s, nothing is busy" in progress.words("LOADING", 100.0)
    progress.heard(100.0)
    assert progress.idle_s(101.0) == 1.0


def test_a_long_compile_is_told_as_work() -> None:
    progress = StartupProgress(0.0)
    for now in range(1, 61, 2):
        progress.sampled(replace(STILL, busy_s=100 + 1.9 * now), float(now))
    assert progress.idle_s(60.0) == 1.0
    assert "no line for 60 s, 1.9 cores are busy" in progress.words("LOADING", 60.0)


def test_without_looks_nothing_is_concluded() -> None:
    progress = StartupProgress(0.0)
    assert progress.idle_s(1e6) == 0.0
    progress.sampled(STILL, 1.0)
    assert progress.idle_s(1e6) == 0.0


def test_the_third_beginning_is_a_loop() -> None:
    progress = StartupProgress(0.0)
    begin = read_line("(APIServer pid=1) INFO [api_utils.py:286] non-default args: {'port': 8000}")
    assert begin is not None and begin.begins
    for expected in (False, False, True):
        progress.mark(begin)
        assert progress.loops is expected


# -- the looks themselves, from a real process ---------------------------------------------------


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a group of its own, with the group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    """A busy process with a child, in a session of its own."""
    code = (
        "import subprocess,sys,time; c=subprocess.Popen([sys.executable,'-c','while True: pass']);"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    yield process
    end_group(process)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_a_look_sees_the_whole_session_and_ends_with_it(
    server: subprocess.Popen[bytes],
) -> None:
    command = process_stats.command(server.pid, has_gpu=False, every_s=0.1)
    shell = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", command, stdout=asyncio.subprocess.PIPE
    )
    assert shell.stdout is not None
    reader = process_stats.Reader()
    looks: list[process_stats.ProcessStats] = []
    async with asyncio.timeout(20):
        while not looks or looks[-1].busy_s <= looks[0].busy_s or looks[-1].processes < 2:
            looks += reader.feed(await shell.stdout.read(7))
        assert looks[-1].memory_mib > 0
        assert looks[-1].gpu_total_mib is None
        end_group(server)
        await shell.wait()


def test_gpus_are_added_up_and_nonsense_is_no_look() -> None:
    reader = process_stats.Reader()
    rows = "NVIDIA L4, 100, 23034, 3, 47, 21.40, 580.1\nNVIDIA L4, 50, 23034, 9, 47, [N/A], 580.1\n"
    (look,) = reader.feed(f"V 2 150 7 25600 900 0\nG\n{rows}.\n".encode())
    assert look == ProcessStats(2, 1.5, 7, 100, 900, False, 150, 46068, 9)
    (later,) = reader.feed(b"V 2 150 7 25600 900 1\n.\n")
    assert later.gpu_used_mib == 150 and later.waiting
    for nonsense in (b".\n", b"V x\n.\n", b"V 1 2 3 4 5 -6\n.\n", b"V 0 0 0 0 0 0\n.\n", b"\xff\n"):
        assert reader.feed(nonsense) == []
