"""Whole `gdl-tui` processes on real parts, for the tests marked `real`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from local_ports import free_port

GDL = Path(sys.executable).parent / "gdl-tui"


@dataclass
class Run:
    """A `gdl-tui` process and the events it printed."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]]

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read events up to the first for which `holds`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
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


def environment(folder: Path) -> dict[str, str]:
    """One whose data and home are in `folder`, and whose package cache is shared."""
    home = folder / "home"
    home.mkdir()
    cache = os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv"))
    return {
        **os.environ,
        "HOME": str(home),
        "UV_CACHE_DIR": cache,
        "GDL_DATA_DIR": str(folder / "data"),
        "GDL_ENGINE__PORT": str(free_port()),
        "GDL_ENGINE__LOG": str(folder / "vllm.log"),
    }


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


def is_phase(event: dict[str, Any], phase: str) -> bool:
    return bool(event["type"] == "phase_changed" and event["phase"] == phase)


def first(run: Run, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    return next(e for e in run.events if holds(e))


SUM = "What is 2 + 2?"
"""What so small a model answers to most questions depends on the processor's arithmetic (bfloat16
with AMX gives another capital of France than without); this one it gets right everywhere."""


def ask(endpoint: str, key: str) -> str:
    """The model's answer to the sum."""
    answer = httpx.post(
        f"{endpoint}/chat/completions",
        headers={"Authorization": f"Bearer {key}"},
        json={
            "model": "smollm2-135m",
            "messages": [{"role": "user", "content": SUM}],
            "temperature": 0,
            "max_tokens": 24,
        },
        timeout=60,
        trust_env=False,
    )
    answer.raise_for_status()
    return str(answer.json()["choices"][0]["message"]["content"])
