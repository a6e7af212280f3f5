"""What is going on while a step runs: its output's progress, and a word when it says nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from gdl.domain.events import LogLines, StepStarted
from gdl.engines.base import LogMark
from gdl.engines.install_progress import InstallProgress
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.machine.download_rate import DownloadRate

BEAT_S = 15.0
"""The longest time without a word."""
_CATCH_UP_S = 2.0


@contextlib.asynccontextmanager
async def reported(
    deployment: Deployment, title: str = "Look at it"
) -> AsyncIterator[InstallWatch]:
    """Progress as events while the body runs. title: until a step begins."""
    watch = InstallWatch(deployment, title)
    tasks = [asyncio.create_task(watch.read()), asyncio.create_task(watch.beat())]
    try:
        yield watch
        await watch.caught_up()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class InstallWatch:
    """Follows the steps of an installation by the events that tell of them."""

    def __init__(self, deployment: Deployment, title: str) -> None:
        self._deployment = deployment
        self._title = title
        self._clock = asyncio.get_running_loop().time
        self._began = self._said = self._clock()
        self._text = ""
        self._mark = LogMark("installing", "")
        self._seen = deployment.state.last_seq
        self._wanted = 0
        self._reached = asyncio.Event()
        self.pace = DownloadRate()

    async def read(self) -> None:
        """The last mark of each batch of the installer's lines, as they are published."""
        dep, progress = self._deployment, InstallProgress()
        async for recorded in dep.channel.follow(after=self._seen):
            event = recorded.event
            if isinstance(event, StepStarted):
                progress, self._title = InstallProgress(), event.title
                self._text, self._mark = "", LogMark("installing", "")
                self.pace = DownloadRate()
                self._began = self._said = self._clock()
            elif isinstance(event, LogLines) and event.source == "install":
                marks = [mark for line in event.lines if (mark := progress.feed(line)) is not None]
                if marks and marks[-1].text != self._text:
                    self._mark, self._text = marks[-1], marks[-1].text
                    self.pace.mark(marks[-1])
                    await self._say(self._now)
            self._seen = recorded.seq
            if self._wanted and self._seen >= self._wanted:
                self._reached.set()

    async def caught_up(self) -> None:
        """Until all that was published so far is read; a step's last words count as well."""
        self._reached.clear()
        self._wanted = self._deployment.state.last_seq
        if self._seen >= self._wanted:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CATCH_UP_S):
                await self._reached.wait()

    async def beat(self) -> None:
        """Whenever nothing was said for a while: the step, its time, and what it was last at."""
        while True:
            await asyncio.sleep(max(BEAT_S - (self._clock() - self._said), 0.01))
            if self._clock() - self._said >= BEAT_S:
                spent = f"{self._title}: {self._clock() - self._began:.0f} s"
                await self._say(f"{spent}; {self._now}" if self._text else spent)

    @property
    def _now(self) -> str:
        """What it is at, and how fast."""
        return f"{self._text} ({self.pace.words})" if self.pace.words else self._text

    async def look(self, net_bytes: int) -> None:
        """The machine's network traffic so far."""
        self.pace.look(net_bytes, self._clock())
        if self.pace.words:
            await self._say(self._now)

    async def _say(self, text: str) -> None:
        self._said = self._clock()
        mark = self._mark
        await self._deployment.progress(
            text, mark.fraction, part=mark.part, part_fraction=mark.part_fraction
        )
