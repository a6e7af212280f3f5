"""What is seen of a served model: checks, health, the figures of a benchmark, a chat. Frozen, and
made of plain types; units are in the names, as in `models`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckStatus(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Check:
    """One health check. name: gpu | process | health | models | inference."""

    name: str
    status: CheckStatus
    detail: str
    latency_ms: float | None = None


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
            told.append(f"/health in {self.latency_ms:.0f} ms")
        if self.gpu:
            told.append(self.gpu)
        return tuple(told)


@dataclass(frozen=True, slots=True)
class QualityAnswer:
    """A quality prompt, what the model said, and whether an expected word was in it."""

    category: str
    prompt: str
    answer: str
    expected: tuple[str, ...]
    passed: bool
    ttft_ms: float | None
    tokens_per_s: float | None
    output_tokens: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of one metric, in milliseconds; linear interpolation as numpy's default."""

    mean: float
    median: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values lay in each of equally wide bins. start, width: in the values' unit."""

    start: float
    width: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BenchLoad:
    """How much is asked of a model. concurrency: requests at a time; max_tokens: of an answer."""

    requests: int = 8
    concurrency: int = 4
    max_tokens: int = 64


@dataclass(frozen=True, slots=True)
class BenchReport:
    """The figures of one benchmark run, defined as `vllm bench serve` defines them.

    duration_s: first dispatch to last finish. output_throughput: successful output tokens a
    second. cost_per_million: dollars per 10^6 output tokens at that throughput, None when the
    machine costs nothing or nothing was generated. quality_passed of quality_total prompts. note:
    what speaks against the figures, such as a generator that could not keep up. standing: a
    sentence on them beside earlier ones, "" when they were not kept. ttft_spread, e2el_spread:
    how the requests' times are distributed, in milliseconds.
    """

    model: str
    completed: int
    failed: int
    duration_s: float
    input_tokens: int
    output_tokens: int
    request_throughput: float
    output_throughput: float
    ttft_ms: Percentiles | None = None
    tpot_ms: Percentiles | None = None
    e2el_ms: Percentiles | None = None
    quality_passed: int = 0
    quality_total: int = 0
    cost_per_million: float | None = None
    concurrency: int = 1
    errors: tuple[str, ...] = ()
    note: str = ""
    standing: str = ""
    ttft_spread: Histogram | None = None
    e2el_spread: Histogram | None = None


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """role: user | assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ChatPiece:
    """Some more text of an answer, as it came."""

    text: str


@dataclass(frozen=True, slots=True)
class ChatDone:
    """The end of an answer. ttft_ms: None when it came in one piece; tokens_per_s: output tokens
    after the first, over their time, or over the whole time when it came in one piece; None when
    the server counted none. error: one line, "" on success."""

    ttft_ms: float | None
    tokens_per_s: float | None
    output_tokens: int | None
    finish_reason: str | None
    error: str = ""
