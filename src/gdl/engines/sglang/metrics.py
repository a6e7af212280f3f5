"""What SGLang tells of itself at /metrics (Prometheus text), with --enable-metrics."""

from __future__ import annotations

import math
import re

from gdl.domain.engine import EngineMetrics

_LINE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{[^}]*\})?\s+(?P<value>\S+)")
_LINES = 20_000
RUNNING, WAITING = "sglang:num_running_reqs", "sglang:num_queue_reqs"
PROMPTED, GENERATED = "sglang:prompt_tokens_total", "sglang:generation_tokens_total"
REQUESTS = "sglang:num_requests_total"
_GAUGES = {
    RUNNING: "running",
    WAITING: "waiting",
    "sglang:token_usage": "kv_cache",
    GENERATED: "generated",
    PROMPTED: "prompted",
}


def read_metrics(text: str) -> EngineMetrics:
    """Of the processes that share a model the first tells alone; groups of them (labels) are added
    up. Lines that cannot be read are skipped."""
    found: dict[str, float] = {}
    for line in text.splitlines()[:_LINES]:
        match = _LINE.match(line)
        if match is None or (key := _GAUGES.get(match["name"])) is None:
            continue
        try:
            value = float(match["value"])
        except ValueError:
            continue
        if not math.isfinite(value):
            continue
        if key == "kv_cache":
            found[key] = max(found.get(key, 0.0), value)
        else:
            found[key] = found.get(key, 0.0) + value
    return EngineMetrics(**found)
