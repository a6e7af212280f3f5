"""What llama.cpp's server tells of itself at /metrics (Prometheus text, with `--metrics`)."""

from __future__ import annotations

import math

from gdl.domain.engine import EngineMetrics

_LINES = 2_000
_GAUGES = {
    "llamacpp:requests_processing": "running",
    "llamacpp:requests_deferred": "waiting",
    # Releases since 2025-11 do not tell it any more.
    "llamacpp:kv_cache_usage_ratio": "kv_cache",
    # Counted as a request ends.
    "llamacpp:tokens_predicted_total": "generated",
    "llamacpp:prompt_tokens_total": "prompted",
}


def read_metrics(text: str) -> EngineMetrics:
    """Lines that cannot be read are skipped."""
    found: dict[str, float] = {}
    for line in text.splitlines()[:_LINES]:
        name, _, told = line.strip().partition(" ")
        if name not in _GAUGES:
            continue
        try:
            value = float(told)
        except ValueError:
            continue
        if math.isfinite(value):
            found[_GAUGES[name]] = value
    return EngineMetrics(**found)
