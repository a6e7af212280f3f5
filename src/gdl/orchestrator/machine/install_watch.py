"""What is going on while a step runs: its output's progress, and a word when it says nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from gdl.engines.base import LogMark
from gdl.engines.install_progress import InstallProgress
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.machine.download_rate import DownloadRate

BEAT_S = 15.0
"""The longest time without a word."""


class InstallWatch:
    """Tells of an installation by what is handed to it: the steps, and the lines of their output.
    title: until a step begins."""

    def __init__(self, deployment: Deployment, title: str = "Look at it") -> None:
        self._deployment = deployment
        self._title = title
        self._clock = asyncio.get_running_loop().time
        self._began = self._said = self._clock()
        self._progress = InstallProgress()
        self._text = ""
        self._mark = LogMark("installing", "")
        self.rate = DownloadRate()

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """While the body runs, silence is broken now and then."""
        self._began = self._said = self._clock()
        beat = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)

    def begin(self, title: str) -> None:
        """A step begins."""
        self._progress, self._title = InstallProgress(), title
        self._text, self._mark = "", LogMark("installing", "")
        self.rate = DownloadRate()
        self._began = self._said = self._clock()

    async def heard(self, lines: Sequence[str]) -> None:
        """A batch of the step's output: its last mark is told."""
        marks = [mark for line in lines if (mark := self._progress.feed(line)) is not None]
        if marks and marks[-1].text != self._text:
            self._mark, self._text = marks[-1], marks[-1].text
            self.rate.mark(marks[-1])
            await self._say(self._now)

    async def _beat(self) -> None:
        """Whenever nothing was said for a while: the step, its time, and what it was last at."""
        while True:
            await asyncio.sleep(max(BEAT_S - (self._clock() - self._said), 0.01))
            if self._clock() - self._said >= BEAT_S:
                spent = f"{self._title}: {self._clock() - self._began:.0f} s"
                await self._say(f"{spent}; {self._now}" if self._text else spent)

    @property
    def _now(self) -> str:
        """What it is at, and how fast."""
        return f"{self._text} ({self.rate.words})" if self.rate.words else self._text

    async def sampled(self, net_bytes: int) -> None:
        """The machine's network traffic so far."""
        self.rate.sampled(net_bytes, self._clock())
        if self.rate.words:
            await self._say(self._now)

    async def _say(self, text: str) -> None:
        self._said = self._clock()
        mark = self._mark
        await self._deployment.progress(
            text, mark.fraction, part=mark.part, part_fraction=mark.part_fraction
        )
