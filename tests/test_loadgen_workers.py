"""A load that several processes carry: what they ask, how it is put together, and how they end."""

from __future__ import annotations

import asyncio
import json
import math
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdl.domain.errors import GdlError, VerificationError
from gdl.domain.secret import Secret
from gdl.endpoint.tls import USUAL_TLS, TlsOptions
from gdl.loadgen.decode import Sample
from gdl.loadgen.load import LoadShape, Measured
from gdl.loadgen.metrics import figures
from gdl.loadgen.request_template import RequestTemplate
from gdl.loadgen.schedule import Arrivals
from gdl.loadgen.strain import Strain
from gdl.loadgen.transport import Limits
from gdl.loadgen.worker_messages import Share
from gdl.loadgen.workers import measure_split, merged, processes_for, split
from gdl.loadgen.workload import Length, Workload
from private_ca import PrivateCa
from vllm_support import FakeVllm
from waiting import wait_until

KEY = Secret("sk-secret")
WORK = Workload("random", Length(5, 5), Length(10, 10))


def share(url: str, count: int, concurrency: int | None = 4, turns: int = 1) -> Share:
    conversations = tuple(replace(WORK, turns=turns).conversations(count))
    due = () if concurrency else tuple(number / 200 for number in range(count))
    limits = Limits(20, 10, 5)
    return Share(
        url, limits, USUAL_TLS, RequestTemplate("tiny"), conversations, concurrency, due, 60
    )


def workers_of(pid: int) -> list[psutil.Process]:
    with_workers = psutil.Process(pid).children()
    return [one for one in with_workers if "gdl.loadgen.worker" in one.cmdline()]


# -- who does what -----------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 8), st.booleans())
def test_every_request_is_in_one_share(
    count: int, concurrency: int, processes: int, closed: bool
) -> None:
    whole = share("http://x", count, concurrency if closed else None)
    parts = split(whole, processes)
    asked = Counter(one for part in parts for one in part.conversations)
    assert asked == Counter(whole.conversations)
    assert sorted(at for part in parts for at in part.due) == sorted(whole.due)
    for part in parts:
        assert not part.due or len(part.due) == len(part.conversations)
    if closed:
        assert sum(part.concurrency or 0 for part in parts) == concurrency
    assert split(whole, processes) == parts


@pytest.mark.parametrize(
    ("shape", "count", "cores", "files", "wanted"),
    [
        (LoadShape(512), 5000, 8, None, 1),
        (LoadShape(513), 5000, 8, None, 2),
        (LoadShape(2048), 5000, 8, None, 4),
        (LoadShape(2048), 5000, 2, None, 2),
        (LoadShape(2048), 5000, 1, None, 1),
        (LoadShape(2048), 100, 8, None, 1),
        # Not enough open files in one process.
        (LoadShape(2048), 5000, 1, 600, 4),
        # 10 tokens each.
        (LoadShape(arrivals=Arrivals(2000)), 5000, 8, None, 1),
        (LoadShape(arrivals=Arrivals(10, ramp_to=6000)), 5000, 8, None, 3),
        (LoadShape(arrivals=Arrivals(1)), 0, 8, None, 1),
    ],
)
def test_as_many_processes_as_it_takes(
    shape: LoadShape, count: int, cores: int, files: int | None, wanted: int
) -> None:
    assert processes_for(shape, WORK.conversations(count), cores, files) == wanted


durations = st.floats(0.001, 5, allow_nan=False)


@given(st.lists(st.tuples(durations, durations, durations), min_size=1, max_size=60))
def test_figures_are_those_of_all_samples(times: list[tuple[float, float, float]]) -> None:
    """However unlike the parts are: a mean of their percentiles would be another figure."""
    all_of_them = [
        Sample(start, start, min(ttft, more), ttft + more, (more,), 5, 10, tag=number + 1)
        for number, (start, ttft, more) in enumerate(times)
    ]
    parts = []
    for number in range(3):
        own = [replace(one, tag=place + 1) for place, one in enumerate(all_of_them[number::3])]
        began = min((one.start for one in own), default=0.0)
        ended = max((one.end for one in own), default=0.0)
        parts.append(Measured(tuple(own), began, ended, Strain(1.0, 0.1 * number, number)))
    whole = merged(parts)
    assert sorted(whole.samples, key=lambda one: one.tag) == all_of_them
    assert whole.ended == max(one.end for one in all_of_them)
    found, wanted = figures(whole.samples, 7.0), figures(all_of_them, 7.0)
    for metric in ("ttft", "tpot", "itl", "e2el"):
        got, one = found.spread(metric), wanted.spread(metric)
        assert got is not None and one is not None and got.percentiles == one.percentiles
    assert (whole.strain.processes, whole.strain.cpu_s) == (3, 3.0)
    assert (whole.strain.cpu_share, whole.strain.lag_p99_ms) == (0.2, 2)


def test_the_one_that_was_late_is_told() -> None:
    late = Strain.of_all([Strain(), Strain(1.0, 0.5, 12.0, 30.0, wait_share=0.4)])
    assert late.limited == (
        "one of the load generator's 2 processes was up to 12 ms late (p99), and waited 40% of the "
        "time for a core that others had"
    )


# -- together ----------------------------------------------------------------------------------


def noted(told: list[tuple[int, int]], done: int, total: int) -> None:
    told.append((done, total))


async def test_they_ask_what_one_would_ask() -> None:
    seen: list[Counter[str]] = []
    for processes in (1, 3):
        told: list[tuple[int, int]] = []
        async with FakeVllm(default_answer="so it is", api_key="sk-secret") as server:
            whole = share(server.url, 10, turns=2)
            measured = await measure_split(whole, processes, KEY, partial(noted, told))
            seen.append(Counter(json.dumps(request.json) for request in server.requests))
            assert server.most_running <= 4
        assert [sample.error for sample in measured.samples] == [""] * 20
        assert len({sample.tag for sample in measured.samples}) == 20
        assert measured.strain.processes == processes
        assert all(0 < done <= total == 20 for done, total in told)
        assert measured.began <= min(sample.sent for sample in measured.samples)
    assert seen[0] == seen[1]


async def test_a_timetable_is_kept_by_all_of_them() -> None:
    async with FakeVllm() as server:
        whole = share(server.url, 30, None)
        measured = await measure_split(whole, 3, Secret(""))
    starts = sorted(sample.start for sample in measured.samples)
    # From the begin, which each of them reaches a little later than it was said.
    late = [start - measured.began - due for start, due in zip(starts, whole.due, strict=True)]
    assert min(late) > -1e-6 and max(late) - min(late) < 1.0


async def test_over_tls(tmp_path: Path) -> None:
    ca = PrivateCa.made(tmp_path)
    async with FakeVllm(tls=ca.server()) as server:
        whole = replace(share(server.url, 8), tls=TlsOptions(ca.file))
        measured = await measure_split(whole, 2, Secret(""))
    assert [sample.error for sample in measured.samples] == [""] * 8


async def gdl(*arguments: str, files: int | None = None) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a real command line that may have so many open files."""

    def limited() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gdl", "bench", *arguments,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=limited,
    )  # fmt: skip
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_command_line_says_how_many_there_were(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    async with FakeVllm() as server:
        code, out, err = await gdl(
            "--url", server.url, "--concurrency", "9", "--requests", "30", "--processes", "3",
            "--json", "--save-result", str(file),
        )  # fmt: skip
    assert code == 0, err
    result = json.loads(file.read_text())
    assert (result["completed"], result["gdl"]["processes"]) == (30, 3)
    ordered = sorted(result["ttfts"])
    place = (len(ordered) - 1) * 0.99
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    assert result["p99_ttft_ms"] == pytest.approx((low + (high - low) * (place % 1)) * 1000)
    assert json.loads(out)["p99_ttft_ms"] == result["p99_ttft_ms"]


async def test_no_more_processes_than_requests_at_a_time() -> None:
    async with FakeVllm() as server:
        options = ("--url", server.url, "--requests", "6", "--json", "--processes", "4")
        code, out, err = await gdl(*options, "--concurrency", "2")
        assert (code, json.loads(out)["gdl"]["processes"]) == (0, 2), err
        # One, which is warmed up by one request at a time, too.
        server.most_running = 0
        code, out, err = await gdl(*options, "--concurrency", "1", "--warmup", "1")
    assert (code, json.loads(out)["gdl"]["processes"], server.most_running) == (0, 1, 1), err


async def test_a_small_limit_of_open_files_takes_more_processes_or_is_told() -> None:
    async with FakeVllm() as server:
        options = ("--url", server.url, "--concurrency", "60", "--requests", "60", "--json")
        code, out, err = await gdl(*options, files=140)
        assert code == 0, err
        result: dict[str, Any] = json.loads(out)
        assert (result["completed"], result["gdl"]["processes"]) == (60, 2)
        code, out, err = await gdl(*options, "--processes", "1", files=140)
    assert code == 6 and "limit of open files" in err and "ulimit -Hn" in err


# -- how they end ------------------------------------------------------------------------------


async def test_nobody_answers() -> None:
    async with FakeVllm() as server:
        whole = share(server.url, 8)
    with pytest.raises(VerificationError, match="refused") as caught:
        await measure_split(whole, 2, KEY)
    assert caught.value.hint and not workers_of(os.getpid())


async def test_one_that_is_killed_ends_the_others() -> None:
    async with FakeVllm(stall_after=1) as server:
        task = asyncio.create_task(measure_split(share(server.url, 8), 3, KEY))
        await wait_until(lambda: len(server.requests) >= 4)
        victim, *_ = workers_of(os.getpid())
        victim.kill()
        with pytest.raises(GdlError, match="was ended by SIGKILL") as caught:
            await task
    assert "--processes 1" in caught.value.hint and not workers_of(os.getpid())


async def test_cancelling_leaves_none() -> None:
    async with FakeVllm(stall_after=1) as server:
        task = asyncio.create_task(measure_split(share(server.url, 8), 3, KEY))
        await wait_until(lambda: len(server.requests) >= 4)
        assert len(workers_of(os.getpid())) == 3
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not workers_of(os.getpid())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 8), (signal.SIGKILL, -9)])
async def test_they_end_with_the_one_that_started_them(number: signal.Signals, code: int) -> None:
    """By Ctrl-C in order; and when it has no time left to end them."""
    async with FakeVllm() as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gdl", "bench", "--url", server.url, "--concurrency", "4",
            "--processes", "2", "--warmup", "1", "--model", "tiny", "--requests", "2000",
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        # The warm-up is answered, and what is sent from here on is not.
        await wait_until(lambda: len(server.requests) >= 5, limit_s=60)
        server.stall_after = 1
        workers = workers_of(process.pid)
        assert len(workers) == 2
        async with asyncio.timeout(30):
            process.send_signal(number)
            _, err = await process.communicate()
        assert process.returncode == code and b"Traceback" not in err
        gone, alive = await asyncio.to_thread(psutil.wait_procs, workers, 30)
    assert len(gone) == 2 and not alive
