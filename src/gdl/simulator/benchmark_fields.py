"""The types of a benchmark report's fields, as the service's strict decoder wants them."""

from __future__ import annotations

from typing import Any

_WHOLE = frozenset(
    {
        *("gpu_memory_mib", "gpu_count", "cpu_cores", "ram_gib", "duration_minutes", "max_tokens"),
        *("concurrent_reqs", "warmup_requests", "total_requests", "total_tokens"),
        *("total_prompt_tokens", "total_errors"),
    }
)
_PARTS = frozenset({"hardware", "model", "test_config", "results", "gpu_stats"})
_FLOATS = ("_tokens_per_second", "_ms", "_seconds", "_rate", "_per_minute", "_per_request", "_hour")


def wrong_field(body: Any) -> str:
    """What the decoder says of a report's types; "" for nothing. Zero values are fine."""
    if not isinstance(body, dict):
        return f"{type(body).__name__} into a benchmark"
    parts = [part for name in _PARTS if isinstance(part := body.get(name), dict)]
    fields = {**body, **{name: value for part in parts for name, value in part.items()}}
    for name, value in fields.items():
        if not _fits(name, value):
            return f"{type(value).__name__} into field {name}"
    return ""


def _fits(name: str, value: Any) -> bool:
    if name in _PARTS:
        return isinstance(value, dict)
    if name in _WHOLE:
        return type(value) is int
    if name.endswith(_FLOATS):
        return type(value) in (int, float)
    if name == "prompt_types":
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, str)
