"""How far a start is: what the log says, and what the machine does meanwhile. Pure."""

from __future__ import annotations

from gdl.engines.base import LogMark
from gdl.host.process_stats import ProcessStats
from gdl.orchestrator.machine.download_rate import UNSEEN_S, DownloadRate

_QUIET_S = 20.0
"""Without a line for so long, it is worth saying what the machine is busy with."""
_BUSY_SHARE = 0.02
"""Of one processor: less than that a server needs to wait for something."""
_NET_BYTES_PER_S = 20_000
"""Our own connection asks for the log; a download is more than this."""
_STARTS = 3
"""A server that begins for the third time will not do better the fourth."""


class StartupProgress:
    """`now` is a clock's seconds, the same clock throughout."""

    def __init__(self, now: float) -> None:
        self.fraction: float | None = None
        self.part = ""
        self.part_fraction: float | None = None
        self._text = ""
        self._heard = now
        self._active = now
        self._sampled_at: float | None = None
        self._last: ProcessStats | None = None
        self._cpus = 0.0
        self._begun = 0
        self.rate = DownloadRate()

    def heard(self, now: float) -> None:
        """The log has grown."""
        self._heard = self._active = now

    def mark(self, mark: LogMark) -> None:
        self._begun += mark.begins
        self._text = mark.text
        self.rate.mark(mark)
        self.part, self.part_fraction = mark.part, mark.part_fraction
        if mark.fraction is not None:
            self.fraction = max(self.fraction or 0.0, mark.fraction)

    def sampled(self, stats: ProcessStats, now: float) -> None:
        self.rate.sampled(stats.net_bytes, now)
        last, before = self._last, self._sampled_at
        self._last, self._sampled_at = stats, now
        # Of the time that nobody looked, as the machine was out of reach, nothing is known.
        if last is None or before is None or not 0 < now - before <= UNSEEN_S:
            self._active = now
            return
        seconds = now - before
        self._cpus = max(stats.busy_s - last.busy_s, 0.0) / seconds
        active = (
            self._cpus > _BUSY_SHARE
            or stats.processes != last.processes
            or stats.busy_s < last.busy_s
            or stats.pages_read != last.pages_read
            or stats.waiting
            or stats.net_bytes - last.net_bytes > _NET_BYTES_PER_S * seconds
            or bool(stats.gpu_percent)
            or abs((stats.gpu_used_mib or 0) - (last.gpu_used_mib or 0)) > 8
        )
        if active:
            self._active = now

    def idle_s(self, now: float) -> float:
        """Seconds without a line and without any activity; 0 while nobody could have seen it."""
        if self._sampled_at is None or now - self._sampled_at > UNSEEN_S:
            return 0.0
        return max(now - self._active, 0.0)

    @property
    def loops(self) -> bool:
        """Whether it was started again and again."""
        return self._begun >= _STARTS

    def words(self, phase: str, now: float) -> str:
        """Such as "LOADING 63% (shard 5/8, 14.1 of 22 GiB on the GPU)"."""
        parts = [self._text] if self._text else []
        last = self._last
        if last is not None and last.gpu_total_mib:
            used, total = (last.gpu_used_mib or 0) / 1024, last.gpu_total_mib / 1024
            parts.append(f"{used:.1f} of {total:.0f} GiB on the GPU")
        elif last is not None:
            parts.append(f"{last.memory_mib / 1024:.1f} GiB of memory")
        if last is not None and now - self._heard > _QUIET_S:
            parts.append(f"no line for {now - self._heard:.0f} s, {self._busy(last)}")
        share = "" if self.fraction is None else f" {self.fraction * 100:.0f}%"
        return f"{phase}{share}" + (f" ({', '.join(parts)})" if parts else "")

    def _busy(self, last: ProcessStats) -> str:
        if last.gpu_percent:
            return f"the GPU is busy ({last.gpu_percent}%)"
        if self._cpus > _BUSY_SHARE:
            return f"{self._cpus:.1f} cores are busy"
        return "waiting for the disk" if last.waiting else "nothing is busy"
