"""Is a serving endpoint well, all the time: quick to notice, slow to change its mind."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gdl.domain.engine import USUAL_READINESS, EngineMetrics, Readiness
from gdl.domain.errors import GdlError
from gdl.domain.health import Condition, HealthSample
from gdl.domain.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from gdl.endpoint.client import EndpointClient

LOOK_EVERY_S = 0.4
ANSWER_S = 1.4
"""Together under two seconds: so soon a server that hangs is noticed."""
SUSPECTED_S = 0.1
"""Until the next look at a server that `HealthMonitor.suspects`."""
METRICS_EVERY_S = 2.0
_TWICE = 2
_UNREACHABLE_S = 1.0
"""A connection that is back sooner was never worth a word."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the server. status: HTTP, or None when nothing came: `error` says what instead.
    connected: whether SSH to the machine stands. gpu: what is wrong with the GPUs, if that is
    known."""

    status: int | None
    error: str = ""
    latency_ms: float | None = None
    connected: bool = True
    gpu: str = ""


class HealthMonitor:
    """Judges look after look. A state changes when two looks agree on it, and at once when the
    server hangs: that look has taken its time already."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        readiness: Readiness = USUAL_READINESS,
    ) -> None:
        self._readiness = readiness
        self._clock = clock
        self.condition = Condition.UNKNOWN
        self.reason = ""
        self._wanted = Condition.UNKNOWN
        self._seen = 0
        self._cut_at: float | None = None

    @property
    def suspects(self) -> bool:
        """Whether one more look decides that it is dead: that one is not to be waited for."""
        return self._wanted is Condition.DEAD and self.condition is not Condition.DEAD

    def judge(self, look: Look) -> bool:
        """Take one more look into account; whether the condition changed. Its reason is that of the
        look that decided it."""
        wanted, reason = _read(look, self._readiness)
        if wanted is not Condition.UNREACHABLE:
            self._cut_at = None
        elif self._cut_at is None:
            self._cut_at = self._clock()
        self._seen = self._seen + 1 if wanted is self._wanted else 1
        self._wanted = wanted
        if wanted is self.condition or not self._sure(wanted, look):
            return False
        self.condition, self.reason = wanted, reason
        return True

    def _sure(self, wanted: Condition, look: Look) -> bool:
        if wanted is Condition.UNREACHABLE:
            return self._cut_at is not None and self._clock() - self._cut_at >= _UNREACHABLE_S
        if self.condition is Condition.UNKNOWN and wanted is Condition.HEALTHY:
            return True
        hangs = wanted is Condition.DEGRADED and look.error.startswith("no full answer")
        return hangs or self._seen >= _TWICE


def _read(look: Look, readiness: Readiness) -> tuple[Condition, str]:
    if not look.connected:
        return Condition.UNREACHABLE, "the SSH connection is being made again"
    if look.status in readiness.ready:
        return (Condition.DEGRADED, f"GPU: {look.gpu}") if look.gpu else (Condition.HEALTHY, "")
    if look.status in readiness.dead:
        return Condition.DEAD, f"HTTP {look.status}: the engine is dead"
    if look.status is not None:
        return Condition.DEGRADED, f"HTTP {look.status} from {readiness.path}"
    if "refused" in look.error or "closed" in look.error:
        return Condition.DEAD, "nothing listens on the server's port"
    return Condition.DEGRADED, look.error or "no answer"


async def look_at(client: EndpointClient, *, connected: bool, gpu: str = "") -> Look:
    """One look through the tunnel; never raises."""
    if not connected:
        return Look(None, connected=False)
    started = time.perf_counter()
    try:
        status = await client.health(limit_s=ANSWER_S)
    except GdlError as error:
        return Look(None, error.message)
    return Look(status, latency_ms=(time.perf_counter() - started) * 1000, gpu=gpu)


class Meter:
    """What the server tells of itself, and tokens a second out of two readings of its counter.
    read: makes figures of its text."""

    def __init__(
        self,
        read: Callable[[str], EngineMetrics],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._clock = clock
        self._last: tuple[float, float] | None = None
        self.metrics = EngineMetrics()
        self.tokens_per_s: float | None = None
        self._read_at = float("-inf")

    async def refresh(self, client: EndpointClient) -> None:
        """Read the metrics again when it is time; a failure leaves what was."""
        now = self._clock()
        if not client.readiness.metrics or now - self._read_at < METRICS_EVERY_S:
            return
        self._read_at = now
        try:
            text = await client.metrics()
        except GdlError:
            return
        self.take(self._read(text))

    def take(self, metrics: EngineMetrics) -> None:
        now, self.metrics = self._clock(), metrics
        if metrics.generated is None:
            return
        if self._last is not None and now > self._last[0]:
            # A server that was started again counts from nothing.
            gained = max(metrics.generated - self._last[1], 0.0)
            self.tokens_per_s = gained / (now - self._last[0])
        self._last = (now, metrics.generated)


def sample_of(monitor: HealthMonitor, meter: Meter, look: Look, gpu: str = "") -> HealthSample:
    metrics = meter.metrics
    return HealthSample(
        condition=monitor.condition,
        reason=monitor.reason,
        latency_ms=look.latency_ms,
        running=metrics.running,
        waiting=metrics.waiting,
        kv_cache=metrics.kv_cache,
        tokens_per_s=meter.tokens_per_s,
        gpu=gpu,
    )
