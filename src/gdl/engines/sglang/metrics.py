"""What SGLang tells of itself at /metrics, with --enable-metrics."""

from __future__ import annotations

from gdl.domain.engine import EngineMetrics
from gdl.engines import prometheus

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
    up."""
    return prometheus.read(text, _GAUGES)
