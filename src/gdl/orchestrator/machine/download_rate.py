"""How fast a machine downloads, while it does. Pure."""

from __future__ import annotations

from collections import deque

from gdl.engines.base import LogMark

SLOW_MB_S = 5.0
"""Downloads under this make a machine not worth its rent: 10 GB take over half an hour."""
_NOTHING_MB_S = 0.05
"""Less than this is no slow download but none: what is fetched comes from a disk or a cache, or
whoever fetches it gives up by itself."""
_SLOW_FOR_S = 60.0
_NEARLY_S = 120.0
"""What will have come by then is waited for."""
_WINDOW_S = 12.0
UNSEEN_S = 30.0
"""Samples come every few seconds: of a longer gap nothing is known."""


class DownloadRate:
    """`now` is a clock's seconds, the same clock throughout."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self._downloading = False
        self._left: float | None = None
        self._slow_since: float | None = None

    def mark(self, mark: LogMark) -> None:
        """What is said to be going on."""
        if self._downloading != mark.downloading:
            self._slow_since = None
        self._downloading, self._left = mark.downloading, mark.left

    def sampled(self, net_bytes: int, now: float) -> None:
        """The machine's network traffic so far."""
        if self._samples and now - self._samples[-1][0] > UNSEEN_S:
            # It was out of reach: how long it was slow is not known.
            self._samples.clear()
            self._slow_since = None
        self._samples.append((now, net_bytes))
        while len(self._samples) > 2 and now - self._samples[0][0] > _WINDOW_S:
            self._samples.popleft()
        rate = self.mb_s
        if rate is None or not self._downloading or not _NOTHING_MB_S <= rate < SLOW_MB_S:
            self._slow_since = None
        elif self._slow_since is None:
            self._slow_since = now

    @property
    def mb_s(self) -> float | None:
        """10^6 bytes a second, lately; None when that is not known."""
        if len(self._samples) < 2:
            return None
        (begun, before), (now, count) = self._samples[0], self._samples[-1]
        return max(count - before, 0) / 1e6 / (now - begun) if now > begun else None

    @property
    def words(self) -> str:
        """Such as "83 MB/s, 47 s left"; "" while nothing is downloaded or known of it."""
        rate = self.mb_s
        if not self._downloading or rate is None or rate < _NOTHING_MB_S:
            return ""
        shown = f"{rate:.0f} MB/s" if rate >= 10 else f"{rate:.1f} MB/s"
        if self._left is None:
            return shown
        seconds = self._left / 1e6 / rate
        return (
            f"{shown}, {seconds:.0f} s left"
            if seconds < 100
            else f"{shown}, {seconds / 60:.0f} min left"
        )

    def hopeless(self, now: float) -> bool:
        """Whether it was too slow for a minute, and there is still much to come."""
        if self._slow_since is None or now - self._slow_since < _SLOW_FOR_S:
            return False
        rate = self.mb_s
        return not (rate and self._left is not None and self._left / 1e6 / rate < _NEARLY_S)
