"""What vLLM tells of itself at /metrics (Prometheus text).

Read by ourselves: prometheus_client's parser gives up a whole text for a line that it cannot read,
and takes a tenth of a second to import.
"""

from __future__ import annotations

import math
import re

from gdl.domain.engine import EngineMetrics

_LINE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{[^}]*\})?\s+(?P<value>\S+)")
_LINES = 20_000
_GAUGES = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "kv_cache",
    # As it was called before 0.12.
    "vllm:gpu_cache_usage_perc": "kv_cache",
    "vllm:generation_tokens_total": "generated",
    "vllm:prompt_tokens_total": "prompted",
}


def read_metrics(text: str) -> EngineMetrics:
    """Several engines (labels) are added up. Lines that cannot be read are skipped."""
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
