"""A load split over several processes, and their samples as those of one.

One process reads some hundred streams without being late, since it has one core. What is asked does
not depend on how many there are: conversations and timetable are drawn here, and each process gets
every n-th of both. All begin at one moment of the clock that they share, and what they measured
is put together as it is: figures come of all samples, never of figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, TypeVar

from gdl.domain.errors import GdlError, VerificationError
from gdl.domain.secret import Secret
from gdl.loadgen.load import LoadShape, Measured
from gdl.loadgen.load_driver import Progress
from gdl.loadgen.strain import Strain
from gdl.loadgen.worker_messages import Begin, Done, Failed, Message, Ready, Share, packed, read
from gdl.loadgen.workload import Conversation

STREAMS = 512
"""At a time, that one process reads without being late."""
TOKENS_PER_S = 25_000
"""The same for a load by a timetable: a third of a core, as bursts are several times the mean."""
_BEGIN_IN_S = 0.1
"""From the last one's readiness to the begin: for the word to reach them all."""
_END_S = 5.0
_GRACE_S = 60.0
"""Beyond the load's own limit, for the figures."""
_ONE_DOES = "--processes 1 does with one"
_T = TypeVar("_T")


def processes_for(
    shape: LoadShape,
    conversations: Sequence[Conversation],
    cores: int,
    most_connections: int | None = None,
) -> int:
    """How many it takes, one a core at most; more only where a process may not have enough
    connections."""
    streams = min(shape.concurrency or 1, max(len(conversations), 1))
    needed = math.ceil(streams / STREAMS)
    if shape.arrivals is not None and conversations:
        rate = max(shape.arrivals.rate, shape.arrivals.ramp_to or 0.0)
        tokens = sum(most for one in conversations for _, most in one.turns) / len(conversations)
        needed = math.ceil(rate * tokens / TOKENS_PER_S)
    least = math.ceil(streams / most_connections) if most_connections else 1
    return max(min(needed, cores, max(len(conversations), 1)), least, 1)


def cores_here() -> int:
    """Those that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def split(share: Share, count: int) -> list[Share]:
    """Every count-th conversation with its time each, from the first, the second ... on."""
    concurrency = share.concurrency
    return [
        replace(
            share,
            conversations=share.conversations[number::count],
            due=share.due[number::count],
            concurrency=(None if concurrency is None else len(range(number, concurrency, count))),
        )
        for number in range(count)
    ]


def merged(parts: Sequence[Measured]) -> Measured:
    """As if one process had measured it all: samples in the order in which they ended, their
    numbers those of the whole load."""
    count = len(parts)
    samples = [
        replace(sample, tag=(sample.tag - 1) * count + number + 1)
        for number, part in enumerate(parts)
        for sample in part.samples
    ]
    samples.sort(key=lambda sample: (sample.end, sample.tag))
    return Measured(
        tuple(samples),
        min(part.began for part in parts),
        max(part.ended for part in parts),
        Strain.of_all([part.strain for part in parts]),
    )


async def measure_split(
    share: Share, count: int, key: Secret, on_progress: Progress | None = None
) -> Measured:
    """The whole load `share` in `count` processes, all of which have ended when this returns or
    raises. Raises VerificationError when no connection can be made, GdlError when a process is
    ended by something else."""
    total = sum(len(one.turns) for one in share.conversations)
    workers: list[_Worker] = []

    def told() -> None:
        if on_progress is not None:
            on_progress(sum(worker.done for worker in workers), total)

    limit = None if share.limit_s is None else share.limit_s + _GRACE_S
    try:
        for part in split(share, count):
            workers.append(await _Worker.started(part, key))  # noqa: PERF401 - each to be ended
        await _all([worker.ready() for worker in workers])
        at = perf_counter() + _BEGIN_IN_S
        async with asyncio.timeout(limit):
            return merged(await _all([worker.measured(at, told) for worker in workers]))
    except TimeoutError:
        raise GdlError("the load generator's processes do not end", _ONE_DOES) from None
    finally:
        ending = asyncio.ensure_future(_end(workers))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await ending
            raise


class _Worker:
    """One process, of which this end of the pipes is ours. done: requests that it has ended."""

    def __init__(self, process: Process, started: float) -> None:
        self._process = process
        self._started = started
        self.done = 0

    @classmethod
    async def started(cls, share: Share, key: Secret) -> _Worker:
        """In a session of its own: a terminal's Ctrl-C is for us, and we end it."""
        at = perf_counter()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "gdl.loadgen.worker",
            stdin=PIPE, stdout=PIPE, start_new_session=True,
        )  # fmt: skip
        worker = cls(process, at)
        worker._say(packed(key.reveal()) + packed(share))
        return worker

    async def ready(self) -> None:
        """Wait until its connections are open."""
        word = await self._next()
        assert isinstance(word, Ready)
        if not self._started <= word.at <= perf_counter():
            raise GdlError("the processes of this computer have different clocks", _ONE_DOES)

    async def measured(self, at: float, told: Callable[[], None]) -> Measured:
        """Have it begin, and wait for what it measured."""
        self._say(packed(Begin(at)))
        while isinstance(word := await self._next(), Done):
            self.done = word.count
            told()
        assert isinstance(word, Measured)
        return word

    def _say(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    async def _next(self) -> Message | str:
        assert self._process.stdout is not None
        try:
            word = await read(self._process.stdout)
        except asyncio.IncompleteReadError:
            code = await self._process.wait()
            how = f"ended with {code}" if code >= 0 else f"was ended by {_signal_name(-code)}"
            raise GdlError(f"a process of the load generator {how}", _ONE_DOES) from None
        if isinstance(word, Failed):
            raise VerificationError(word.message, word.hint)
        return word

    async def end(self) -> None:
        """Wait for its end: it comes with that of its stdin, or by force."""
        process = self._process
        assert process.stdin is not None
        process.stdin.close()
        for stop in (process.terminate, process.kill):
            try:
                async with asyncio.timeout(_END_S):
                    await process.wait()
                    return
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    stop()
        await process.wait()


async def _end(workers: Sequence[_Worker]) -> None:
    await asyncio.gather(*(worker.end() for worker in workers))


async def _all(work: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """The results of all. The first failure ends the others."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
