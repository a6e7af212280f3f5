"""What vLLM tells of itself at /metrics."""

from __future__ import annotations

from gdl.domain.engine import EngineMetrics
from gdl.engines import prometheus

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
    """Several engines (labels) are added up."""
    return prometheus.read(text, _GAUGES)
