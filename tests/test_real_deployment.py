"""The main job on real parts: a real install, the real vLLM, a real model, a real OpenSSH server.

Some minutes; run with `pytest -m real`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from house import free_port, processes_naming
from real_sshd import Sshd, real_sshd

pytestmark = pytest.mark.real

GDL = Path(sys.executable).parent / "gdl-tui"
LIMIT_S = 420


@dataclass
class Run:
    """A `gdl-tui` process and the events it printed."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]]

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read events up to the first for which `holds`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            event["read_at"] = time.monotonic()
            self.events.append(event)
            if holds(event):
                return event
        raise AssertionError(f"ended without it: {self.events[-1:]}")

    def finish(self) -> tuple[int, dict[str, Any]]:
        """(exit code, the last event)."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))
        return self.process.wait(60), self.events[-1]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment whose data and home are this test's, and whose package cache is shared."""
    home = tmp_path / "home"
    home.mkdir()
    cache = os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv"))
    yield {
        **os.environ,
        "HOME": str(home),
        "UV_CACHE_DIR": cache,
        "GDL_DATA_DIR": str(tmp_path / "data"),
        "GDL_ENGINE__PORT": str(free_port()),
        "GDL_ENGINE__LOG": str(tmp_path / "vllm.log"),
    }
    assert processes_naming(str(tmp_path)) == []


@contextlib.contextmanager
def started(place: dict[str, str], *arguments: str) -> Iterator[Run]:
    """A `gdl-tui ARGUMENTS --json`; told to give back its machine if the test fails."""
    with subprocess.Popen(
        [GDL, *arguments, "--json"],
        env=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield Run(process, [])
        finally:
            if process.poll() is None:
                process.terminate()


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with real_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def test_one_command_serves_verifies_measures_and_gives_back(place: dict[str, str]) -> None:
    begun = time.monotonic()
    job = ("deploy", "smollm2-135m", "--backend", "local", "--bench", "--destroy")
    with started(place, *job) as run:
        code, end = run.finish()
    assert (code, end["outcome"], end["billing"]) == (0, "released", "none"), end
    answers = [e["answer"] for e in run.events if e["type"] == "quality_answered"]
    paris = [a for a in answers if "capital of France" in a["prompt"]]
    assert paris and "The capital of France is Paris" in paris[0]["answer"]
    assert end["benchmark"]["completed"] > 0 and end["benchmark"]["failed"] == 0
    assert [e["seq"] for e in run.events] == list(range(1, len(run.events) + 1))
    assert not any((Path(place["GDL_DATA_DIR"]) / "local").iterdir())
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{place['GDL_ENGINE__PORT']}/health")
    assert time.monotonic() - begun < LIMIT_S


def test_over_openssh_it_answers_and_a_dead_server_is_noticed(
    place: dict[str, str], sshd: Sshd
) -> None:
    place["GDL_INSTALL__WORK_DIR"] = str(Path(place["HOME"]) / "machine")
    job = ("deploy", "smollm2-135m", "--backend", "ssh", "--no-bench")
    with started(place, *job, "--host", sshd.address, "--identity", str(sshd.identity)) as run:
        run.until(lambda e: is_phase(e, "SERVING"))
        said_ready = first(run, lambda e: "startup complete" in str(e.get("lines")))
        verifying = first(run, lambda e: is_phase(e, "VERIFYING"))
        assert verifying["read_at"] - said_ready["read_at"] < 0.5
        tunnel = first(run, lambda e: e["type"] == "tunnel_opened")
        key = Path(tunnel["api_key_file"]).read_text().strip()
        assert processes_naming(key) == []
        assert "Paris" in ask(tunnel["endpoint"], key)
        with pytest.raises(httpx.HTTPStatusError, match="401"):
            ask(tunnel["endpoint"], "wrong")
        check = first(run, lambda e: e["type"] == "checked" and e["check"]["name"] == "process")
        os.killpg(int(check["check"]["detail"].split()[1]), signal.SIGKILL)
        killed = time.monotonic()
        failed = run.until(lambda e: e["type"] == "attempt_failed")
        assert failed["read_at"] - killed < 1.5  # noticed within a second, then diagnosed
        code, end = run.finish()
    assert (code, end["outcome"], end["kind"]) == (5, "failed", "deploy")


def is_phase(event: dict[str, Any], phase: str) -> bool:
    return event["type"] == "phase_changed" and event["phase"] == phase


def first(run: Run, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    return next(e for e in run.events if holds(e))


def ask(endpoint: str, key: str) -> str:
    answer = httpx.post(
        f"{endpoint}/chat/completions",
        headers={"Authorization": f"Bearer {key}"},
        json={
            "model": "smollm2-135m",
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "temperature": 0,
            "max_tokens": 24,
        },
        timeout=60,
        trust_env=False,
    )
    answer.raise_for_status()
    return str(answer.json()["choices"][0]["message"]["content"])
