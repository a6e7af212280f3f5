"""Benchmarks: what is asked, what was measured, and what a new one is beside those kept before.

Units are in the names, as in `mean_ms`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from statistics import median

from gdl.domain.default_engine import DEFAULT_ENGINE
from gdl.domain.host import HostFacts
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import dollars

QUALITY_QUESTIONS = 5
"""That a benchmark asks before it measures."""


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


OWN = "own"
"""The workload that every deployment ends with."""


OWN_LOAD = BenchLoad()
"""How much it asks."""


_SAME = 0.03
"""Less than this share away from the median is as usual: what runs differ by."""


def machine(gpu: str, count: int) -> str:
    """What a machine computes with. gpu: "" without one."""
    if not gpu:
        return "CPU"
    return gpu if count < 2 else f"{count} x {gpu}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One benchmarked point. backend: where the machine came from. gpu: "" without one. price:
    dollars an hour. workload: `OWN`, or the data set's name and lengths. best: the best point of a
    sweep. simulated: the machine was none: its figures are compared with others of that sort
    alone."""

    at: datetime
    deployment_id: str
    session_id: str
    backend: str
    model: str
    gpu: str
    gpu_count: int
    provider: str
    price: float
    workload: str
    report: BenchReport
    best: bool = False
    simulated: bool = False

    @property
    def hardware(self) -> str:
        return machine(self.gpu, self.gpu_count)

    @property
    def tokens_per_dollar(self) -> float | None:
        cost = self.report.cost_per_million
        return None if cost is None else 1e6 / cost

    def comparable(self, other: Measurement) -> bool:
        """Whether the same was asked of the same model, as many at a time."""
        return self._asked == other._asked

    @property
    def _asked(self) -> tuple[bool, str, str, int]:
        return self.simulated, self.model, self.workload, self.report.concurrency


@dataclass(frozen=True, slots=True)
class Publication:
    """A measurement for others to see. host: what a look at its machine found, None when nothing
    is known of it. engine: the name of what served."""

    measurement: Measurement
    host: HostFacts | None = None
    engine: str = DEFAULT_ENGINE


def own_workload(load: BenchLoad) -> str:
    """The name of our own workload at another load: answers of another length are another one."""
    if (load.requests, load.max_tokens) == (OWN_LOAD.requests, OWN_LOAD.max_tokens):
        return OWN
    return f"{OWN}, {load.requests} requests, out {load.max_tokens}"


def standing(latest: Measurement, earlier: Sequence[Measurement]) -> str:
    """One sentence on the latest beside what was measured before it, of any hardware."""
    before = [m for m in earlier if m.comparable(latest) and m.report.output_throughput > 0]
    same = [m for m in before if m.hardware == latest.hardware]
    rate = latest.report.output_throughput
    if not same:
        text = f"{latest.hardware}: {rate:.1f} tokens/s, the first time this is measured on it"
    else:
        usual = median(m.report.output_throughput for m in same)
        away = rate / usual - 1
        runs = "1 earlier run" if len(same) == 1 else f"{len(same)} earlier runs"
        if abs(away) < _SAME:
            where = "as the median"
        else:
            where = f"{abs(away):.0%} {'above' if away > 0 else 'below'} the median"
        text = f"{latest.hardware}: {rate:.1f} tokens/s, {where} of {runs}"
    return text + _cheapest(latest, before)


def ranked(found: Sequence[Measurement]) -> list[Measurement]:
    """Cheapest tokens first; what costs nothing after them, fastest first."""

    def key(one: Measurement) -> tuple[bool, float, float]:
        cost = one.report.cost_per_million
        return cost is None, cost or 0.0, -one.report.output_throughput

    return sorted(found, key=key)


def _cheapest(latest: Measurement, before: Sequence[Measurement]) -> str:
    cost = latest.report.cost_per_million
    priced = [m for m in before if m.report.cost_per_million is not None]
    if cost is None or not priced:
        return ""
    best = min(priced, key=lambda m: m.report.cost_per_million or 0.0)
    lowest = best.report.cost_per_million or 0.0
    if cost <= lowest:
        return f"; the cheapest so far at {dollars(cost)} per million"
    cheapest = f"{best.hardware} at {dollars(lowest)} per million"
    return f"; cheapest so far: {cheapest}, this one {dollars(cost)}"
