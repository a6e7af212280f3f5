"""tests/data/vllm-releases.json: what vLLM's wheels know, by release (bench/vllm_releases.py)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "vllm-releases.json"


@cache
def _data() -> dict[str, Any]:
    return dict(json.loads(DATA.read_text("utf-8")))


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def releases() -> list[str]:
    """Those whose wheels were read, oldest first."""
    return list(_data()["releases"])


def names(kind: str) -> list[str]:
    """All names of a kind that any of these releases knows."""
    return list(_data()[kind])


def knows(kind: str, name: str, version: str) -> bool:
    """Whether the release knows it."""
    return any(
        numbers(first) <= numbers(version) <= numbers(last or releases()[-1])
        for first, last in _data()[kind].get(name, ())
    )


def whole(kind: str, name: str) -> bool:
    """Whether the releases that know it follow one another without a gap."""
    return len(_data()[kind].get(name, ())) == 1
