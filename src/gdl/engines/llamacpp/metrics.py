"""What llama.cpp's server tells of itself at /metrics, with `--metrics`."""

from __future__ import annotations

from gdl.domain.engine import EngineMetrics
from gdl.engines import prometheus

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
    return prometheus.read(text, _GAUGES, _LINES)
