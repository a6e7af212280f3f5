"""Benchmarks that others have left with cloud-gpu-shopper, as far as they can be read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gdl.domain.speed import Figure, Machine
from gdl.domain.text import flat

_MOST = 500


def figures(data: Mapping[str, Any]) -> list[Figure]:
    """What can be counted on: the tokens of all requests over the run's time. Without a GPU's name,
    its number, tokens and time a row says nothing."""
    rows = data.get("benchmarks")
    found = [_figure(row) for row in (rows if isinstance(rows, list) else [])[:_MOST]]
    return [each for each in found if each is not None]


def _figure(row: object) -> Figure | None:
    hardware, config, results = (_part(row, n) for n in ("hardware", "test_config", "results"))
    gpu, count = hardware.get("gpu_name"), _number(hardware, "gpu_count")
    tokens, seconds = _number(results, "total_tokens"), _number(results, "duration_seconds")
    if not isinstance(gpu, str) or not gpu.strip() or not 1 <= count <= 64:
        return None
    if tokens <= 0 or seconds <= 0:
        return None
    vram = _number(hardware, "gpu_memory_mib") / 1024
    at_a_time = min(max(round(_number(config, "concurrent_reqs")), 1), 100_000)
    machine = Machine(flat(gpu, 60).strip(), round(count), vram)
    return Figure(machine, at_a_time, tokens / seconds, "cloud-gpu-shopper's benchmarks")


def _part(row: object, name: str) -> Mapping[str, Any]:
    part = row.get(name) if isinstance(row, dict) else None
    return part if isinstance(part, dict) else {}


def _number(part: Mapping[str, Any], name: str) -> float:
    """0 for what is none, and for what cannot be."""
    value = part.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if 0 <= value < 1e12 and math.isfinite(value) else 0.0
