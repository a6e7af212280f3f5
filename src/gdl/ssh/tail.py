"""Following a file that grows on the machine, by byte offset."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gdl.domain.backoff import RETRYING, Backoff
from gdl.domain.errors import CommandTimeout, HostKeyChanged, SshAuthFailed, SshError
from gdl.ssh.line_splitter import LineSplitter

if TYPE_CHECKING:
    from gdl.ssh.reconnecting import Link

_READ_BYTES = 128 * 1024
_IDLE_POLL_S = 0.5
_PENDING_S = 0.5
_AWAY_POLL_S = 5.0
"""Between two tries to reach a machine that stays out of reach."""
_LAST_READ_S = 5.0
"""How long a reader that was told to stop still waits for the machine."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A batch of lines.

    The bytes first_offset..next_offset of the file were read for it; to go on later without
    losing or repeating a byte, follow from next_offset. lines: clean and bounded, without line
    ends. dropped: lines that came before them in this batch and were dropped.
    """

    lines: tuple[str, ...]
    first_offset: int
    next_offset: int
    dropped: int


async def follow(
    link: Link,
    path: str,
    *,
    offset: int = 0,
    stop: asyncio.Event,
    batch_s: float = 0.05,
    sink: Callable[[bytes], None] | None = None,
    max_lines: int = 2000,
    endless: bool = False,
) -> AsyncIterator[Chunk]:
    """The lines of a remote file from `offset` on, as they are written.

    Asks every `batch_s` seconds, up to 0.5 s apart while nothing comes, and at once while more
    is there. A file that got shorter is read from its start again; one that is missing is waited
    for. Cuts of the connection lose and repeat nothing. Once `stop` is set, what the file holds
    at that moment is read, its unfinished last line handed out, and it ends.

    A line that does not end shows all the same: every 0.5 s at most, its state is handed out if
    it changed and it is redrawn with carriage returns or nothing else comes. It comes again when
    it is complete, unless it is the same then.

    sink: gets every byte read, in order. endless: a machine that stays out of reach is waited for
    until `stop` is set; whoever sets it knows when there is nothing to wait for. Raises SshError
    when the file cannot be read, and, unless endless, when the machine stays out of reach.
    """
    reader = _Reader(offset, sink, max_lines)
    loop = asyncio.get_running_loop()
    pauses = Backoff(batch_s, _IDLE_POLL_S)
    end: int | None = None
    while True:
        stopping = stop.is_set()
        answer = await _read(link, path, reader.offset, stop, endless=endless)
        if answer is None:
            # The machine is out of reach, and nobody wants to wait for it any more.
            data, size = b"", reader.offset
        else:
            data, size = answer
        if size < reader.offset:
            if chunk := reader.restart():
                yield chunk
            continue
        if stopping and end is None:
            end = size
        if chunk := reader.take(data, loop.time()):
            yield chunk
        if answer is None or (end is not None and reader.offset >= end):
            break
        if data and reader.offset < size:
            continue
        if data:
            pauses.reset()
        pause = next(pauses)
        if chunk := reader.unfinished(loop.time()):
            yield chunk
        if not stopping:
            await _sleep(stop, pause)
    if chunk := reader.finish():
        yield chunk


class _Reader:
    """Turns what is read into chunks."""

    def __init__(self, offset: int, sink: Callable[[bytes], None] | None, max_lines: int) -> None:
        self.offset = offset
        self._handed = offset
        self._sink = sink
        self._max_lines = max_lines
        self._splitter = LineSplitter()
        self._shown: str | None = None
        self._fed_at = 0.0
        self._shown_at = 0.0

    def take(self, data: bytes, now: float) -> Chunk | None:
        if not data:
            return None
        if self._sink is not None:
            self._sink(data)
        self.offset += len(data)
        self._fed_at = now
        lines = self._splitter.feed(data)
        if not lines:
            return None
        if lines[0] == self._shown:
            del lines[0]
        self._shown = None
        return self._chunk(lines) if lines else None

    def unfinished(self, now: float) -> Chunk | None:
        quiet = now - self._fed_at >= _PENDING_S
        if now - self._shown_at < _PENDING_S or not (quiet or self._splitter.redrawn()):
            return None
        pending = self._splitter.pending()
        if not pending or pending == self._shown:
            return None
        self._shown, self._shown_at = pending, now
        return self._chunk([pending])

    def restart(self) -> Chunk | None:
        first = self._handed
        self.offset = self._handed = 0
        lines = self._last()
        return Chunk(tuple(lines), first, 0, 0) if lines else None

    def finish(self) -> Chunk | None:
        lines = self._last()
        return self._chunk(lines) if lines else None

    def _last(self) -> list[str]:
        lines = [line for line in self._splitter.flush() if line != self._shown]
        self._shown = None
        return lines

    def _chunk(self, lines: list[str]) -> Chunk:
        first, self._handed = self._handed, self.offset
        dropped = max(0, len(lines) - self._max_lines)
        return Chunk(tuple(lines[dropped:]), first, self.offset, dropped)


async def _read(
    link: Link, path: str, offset: int, stop: asyncio.Event, *, endless: bool
) -> tuple[bytes, int] | None:
    """One read, as long as it takes; None when `stop` was set and it still does not come."""
    task = asyncio.ensure_future(_read_through_cuts(link, path, offset, endless))
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=_LAST_READ_S)
        return task.result() if task.done() else None
    finally:
        for each in (task, stopped):
            each.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


async def _read_through_cuts(
    link: Link, path: str, offset: int, endless: bool
) -> tuple[bytes, int]:
    pauses = Backoff(_IDLE_POLL_S, _AWAY_POLL_S, growth=RETRYING)
    while True:
        try:
            return await link.read_at(path, offset, _READ_BYTES)
        except (HostKeyChanged, SshAuthFailed):
            raise
        except CommandTimeout:
            # Nothing came back in time over a connection that may be cut already: its keep-alives
            # will tell. The same bytes are asked for again.
            await asyncio.sleep(next(pauses))
        except SshError:
            if link.connected:
                raise
        try:
            await link.get()
        except (HostKeyChanged, SshAuthFailed):
            raise
        except SshError:
            if not endless:
                raise
            await asyncio.sleep(next(pauses))


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
