"""Whether a served model is well: single checks, and its condition over time."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from gdl.domain.lazy_dataclass import dataclass


class CheckStatus(StrEnum):
    """degraded: it serves, but not all that was promised works."""

    PASSED = "passed"
    DEGRADED = "degraded"
    FAILED = "failed"
    SKIPPED = "skipped"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Check:
    """One health check. name: gpu | process | health | models | inference, and of what else was
    promised: tool_forced | tool_auto | reasoning | memory."""

    name: str
    status: CheckStatus
    detail: str
    latency_ms: float | None = None


def degraded(checks: Iterable[Check]) -> tuple[str, ...]:
    """The names of those that something was promised of which is not kept."""
    return tuple(check.name for check in checks if check.status is CheckStatus.DEGRADED)


class Condition(StrEnum):
    """How a serving endpoint is, as seen from here."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DEAD = "dead"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class HealthSample:
    """How an endpoint is now. reason: "" while it is healthy. running, waiting: requests;
    kv_cache: share in use, 0-1; None where it is not told. gpu: one line on the GPUs, or ""."""

    condition: Condition
    reason: str = ""
    latency_ms: float | None = None
    running: float | None = None
    waiting: float | None = None
    kv_cache: float | None = None
    tokens_per_s: float | None = None
    gpu: str = ""

    @property
    def figures(self) -> tuple[str, ...]:
        """What is told of load and speed, a few words each."""
        told = []
        if self.running is not None:
            told.append(f"{self.running:.0f} running, {self.waiting or 0:.0f} waiting")
        if self.kv_cache is not None:
            told.append(f"KV cache {self.kv_cache:.0%}")
        if self.tokens_per_s is not None:
            told.append(f"{self.tokens_per_s:.0f} tokens/s")
        if self.latency_ms is not None:
            told.append(f"answers in {self.latency_ms:.0f} ms")
        if self.gpu:
            told.append(self.gpu)
        return tuple(told)
