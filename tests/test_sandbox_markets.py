"""The sandbox stands in for marketplaces: as services by themselves, and in this program."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from test_sandbox_cli import ENTRY, environment, gdl

QUICK = {"GDL_SANDBOX__SPEED": "50"}


@contextmanager
def stand_ins(folder: Path, *more: str) -> Iterator[dict[str, str]]:
    """Services of their own; the variables with which they are found."""
    running = subprocess.Popen(
        [*ENTRY, "sandbox", "--market", "vastai,runpod", "--port", "0", "--speed", "50", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(folder),
    )
    assert running.stdout is not None
    try:
        lines = [shlex.split(running.stdout.readline()) for _ in range(4)]
        yield dict(words[1].split("=", 1) for words in lines if words[0] == "export")
    finally:
        os.kill(running.pid, signal.SIGINT)
        _, told = running.communicate(timeout=30)
    assert running.returncode == 0 and "simulated" in told, told
    assert list((folder / "data" / "sandbox").glob("*")) == []


def test_stand_ins_by_themselves_are_what_the_backends_speak_to(tmp_path: Path) -> None:
    with stand_ins(tmp_path, "--scenario", "calm") as variables:
        assert set(variables) == {
            *("GDL_VASTAI__URL", "VAST_API_KEY", "GDL_RUNPOD__URL", "RUNPOD_API_KEY"),
        }
        for market in ("vastai", "runpod"):
            listed = gdl(tmp_path, "offers", "--backend", market, "--json", **variables)
            assert listed.returncode == 0, listed.stderr
            assert {json.loads(line)["backend"] for line in listed.stdout.splitlines()} == {market}
        words = ("deploy", "tinyllama", "--backend", "vastai", "--destroy", "--json", "--no-bench")
        done = gdl(tmp_path, *words, "--max-price", "1", **variables)
        assert done.returncode == 0, done.stderr
        end = json.loads(done.stdout.splitlines()[-1])
        assert end["outcome"] == "released" and end["billing"] == "released"


@pytest.mark.parametrize("market", ["vastai", "runpod"])
def test_what_is_rented_of_a_stand_in_is_said_to_be_simulated(tmp_path: Path, market: str) -> None:
    words = ("deploy", "tinyllama", "--backend", f"sandbox-{market}", "--scenario", "calm")
    done = gdl(tmp_path, *words, "--destroy", "--json", "--no-bench", **QUICK)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["billing"] == "released"
    assert {e["backend"] for e in events if e["type"] == "attempt_started"} == {f"sandbox-{market}"}
    listed = gdl(tmp_path, "ledger")
    assert "simulated" in listed.stdout
    assert list((tmp_path / "data" / "sandbox").glob("*")) == []


@pytest.mark.parametrize("market", ["shopper", "vastai,vastai", ""])
def test_there_are_stand_ins_for_two_marketplaces(tmp_path: Path, market: str) -> None:
    done = gdl(tmp_path, "sandbox", "--market", market)
    assert done.returncode == 2 and "vastai or runpod" in done.stderr
