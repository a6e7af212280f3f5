"""`gdl-tui bench --url`: the whole way, as processes and in process, against a real HTTP server."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gdl.cli.app import run
from gdl.cli.bench_options import (
    BenchOptions,
    EndpointOptions,
    LimitOptions,
    PromptOptions,
    ResultOptions,
    TrafficOptions,
)
from vllm_support import FakeVllm
from waiting import wait_until

NAME = "BENCH_KEY"


async def gdl(tmp_path: Path, *arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a real command line."""
    env = {**os.environ, "GDL_DATA_DIR": str(tmp_path / "data"), NAME: "sk-secret"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gdl", "bench", *arguments,
        env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def at(server: FakeVllm) -> tuple[str, ...]:
    return ("--url", server.url, "--api-key-env", NAME)


async def test_a_load_with_a_table_and_files(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.json", "b.csv", "c.md")]
    options = ("--concurrency", "3", "--requests", "9", "--slo", "ttft:5000", "--price", "0.36")
    names = ("--save-result", "--csv", "--markdown")
    wanted = [x for pair in zip(names, map(str, files), strict=True) for x in pair]
    async with FakeVllm(api_key="sk-secret") as server:
        code, out, err = await gdl(tmp_path, *at(server), *options, *wanted)
    assert code == 0, err
    assert "9 completed, 0 failed" in out and "Dollars per 10^6 output tokens" in out
    assert "Goodput" in out and "sk-secret" not in out + err and "Traceback" not in err
    result = json.loads(files[0].read_text())
    assert (result["completed"], result["model_id"], result["max_concurrency"]) == (9, "tiny", 3)
    assert len(result["ttfts"]) == 9 and result["total_output_tokens"] == 90
    assert result["gdl"]["carrier"] == "asyncio" and result["gdl"]["price_per_hour"] == 0.36
    (line,) = csv.DictReader(io.StringIO(files[1].read_text()))
    assert line["completed"] == "9" and float(line["dollars_per_million_output_tokens"]) > 0
    assert "| Requests | 9 completed, 0 failed |" in files[2].read_text()


@pytest.mark.parametrize(
    ("group", "load"),
    [
        (TrafficOptions(warmup=8), True),
        (PromptOptions(seed=3), True),
        (ResultOptions(csv=Path("figures.csv")), True),
        (ResultOptions(publish=True), False),
        (ResultOptions(), False),
    ],
)
def test_any_option_of_the_load_makes_it_one(
    group: TrafficOptions | PromptOptions | ResultOptions, load: bool
) -> None:
    wanted = BenchOptions(
        "s-1", EndpointOptions(), TrafficOptions(), PromptOptions(), LimitOptions(), ResultOptions()
    )
    match group:
        case TrafficOptions():
            wanted = replace(wanted, traffic=group)
        case PromptOptions():
            wanted = replace(wanted, prompts=group)
        case ResultOptions():
            wanted = replace(wanted, results=group)
    assert wanted.names_a_load is load


async def test_by_rate_as_json(tmp_path: Path) -> None:
    async with FakeVllm(api_key="sk-secret") as server:
        code, out, err = await gdl(
            tmp_path, *at(server), "--rate", "100", "--requests", "10", "--json", "--dataset",
            "random", "--input-len", "4", "--output-len", "5-6", "--turns", "2",
        )  # fmt: skip
    assert code == 0, err
    result = json.loads(out)
    assert (result["completed"], result["request_rate"]) == (20, 100.0)
    # No request is sent at the very moment at which it is due, nor is this server's 10 s late.
    assert 0 < result["gdl"]["sent_late_p99_ms"] < 10_000 and "ttfts" not in result


async def test_a_sweep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, whose own load must not count here."""
    monkeypatch.setattr("gdl.loadgen.strain.BUSY_SHARE", math.inf)
    monkeypatch.setattr("gdl.loadgen.strain.LAG_LIMIT_MS", math.inf)
    async with FakeVllm() as server:
        command = ["bench", "--url", server.url, "--sweep", "--requests", "4"]
        code = await asyncio.to_thread(run, [*command, "--max-concurrency", "2"])
        told = capsys.readouterr()
        assert code == 0 and "best: " in told.out and "ended: " in told.out
        assert "1 at a time: " in told.err
        code = await asyncio.to_thread(run, [*command, "--max-concurrency", "1", "--json"])
    swept = json.loads(capsys.readouterr().out)
    assert code == 0 and [point["concurrency"] for point in swept["points"]] == [1]
    assert swept["points"][0]["result"]["completed"] == 4


async def test_a_sweep_on_a_busy_computer_shows_what_it_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gdl.loadgen.strain.BUSY_SHARE", math.inf)
    monkeypatch.setattr("gdl.loadgen.strain.LAG_LIMIT_MS", -1.0)
    async with FakeVllm() as server:
        command = ["bench", "--url", server.url, "--sweep", "--requests", "2"]
        code = await asyncio.to_thread(run, [*command, "--max-concurrency", "2"])
    told = capsys.readouterr()
    assert code == 6
    rows = [line.split()[0] for line in told.out.splitlines() if "~" in line]
    assert (
        rows == ["1~", "2~", "~"] and "at least " in told.out and "when this computer" in told.out
    )


async def test_failures_end_with_6_and_say_why(tmp_path: Path) -> None:
    async with FakeVllm(api_key="another") as server:
        code, out, err = await gdl(tmp_path, *at(server), "--model", "tiny", "--requests", "3")
        assert (code, out) == (6, "") and "401" in err and "Traceback" not in err
    code, out, err = await gdl(tmp_path, *at(server), "--model", "tiny", "--json")
    assert code == 6 and "refused" in err and json.loads(out)["type"] == "error"


async def test_ctrl_c_ends_it_in_order(tmp_path: Path) -> None:
    async with FakeVllm(stall_after=1) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gdl", "bench", "--url", server.url,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        await wait_until(lambda: any("completions" in each.path for each in server.requests))
        async with asyncio.timeout(30):
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
    assert process.returncode == 8
    assert b"interrupted" in err and b"Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--url"),
        (("x", "--url", "http://127.0.0.1:1"), "--url"),
        (("--url", "nonsense"), "not an address"),
        (("--url", "http://127.0.0.1:1", "--rate", "x"), "not a rate"),
        (("--url", "http://127.0.0.1:1", "--rate", "1", "--sweep"), "exclude"),
        (("--url", "http://127.0.0.1:1", "--slo", "x"), "not a limit"),
        (("--url", "http://127.0.0.1:1", "--output-len", "x"), "not a length"),
        (("--url", "http://127.0.0.1:1", "--input-len", "5"), "built-in"),
        (("--url", "http://127.0.0.1:1", "--dataset", "/nowhere.json"), "data set"),
        (("--url", "http://127.0.0.1:1", "--csv", "/nowhere/x.csv"), "no folder"),
        (("--url", "http://127.0.0.1:1", "--csv", ""), ". is a folder"),
        (("--url", "http://127.0.0.1:1", "--api-key-env", "UNSET_NAME"), "UNSET_NAME"),
        (("--url", "http://127.0.0.1:1", "--publish"), "for sessions"),
        (("--backend", "local", "x", "--publish"), "cannot publish benchmarks"),
    ],
)
def test_wrong_usage_is_told(
    arguments: tuple[str, ...],
    told: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GDL_DATA_DIR", str(tmp_path))
    assert run(["bench", *arguments]) == 2
    captured = capsys.readouterr()
    assert told in captured.err and captured.out == ""
