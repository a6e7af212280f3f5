"""Following a file that grows on the machine: its lines as they are written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from gdl.domain.lazy_dataclass import dataclass
from gdl.ssh.line_splitter import LineSplitter
from gdl.ssh.log_stream import Stop, Turn
from gdl.ssh.remote_log import RemoteLog

if TYPE_CHECKING:
    from gdl.ssh.reconnecting import Link

__all__ = ["Chunk", "Stop", "follow"]

_PENDING_S = 0.5


@dataclass(frozen=True, slots=True)
class Chunk:
    """A batch of lines.

    The bytes first_offset..next_offset of the file were read for it; to go on later without
    losing or repeating a byte, follow from next_offset. lines: clean and bounded, without line
    ends. dropped: lines that came before them in this batch and were dropped. note: what happened
    to the file just before what comes next, such as that it was truncated; else "".
    """

    lines: tuple[str, ...]
    first_offset: int
    next_offset: int
    dropped: int
    note: str = ""


async def follow(
    link: Link,
    path: str,
    *,
    offset: int = 0,
    stop: Stop,
    batch_s: float = 0.05,
    sink: Callable[[bytes], None] | None = None,
    max_lines: int = 2000,
    by_polling: bool = False,
) -> AsyncGenerator[Chunk, None]:
    """The lines of a remote file from `offset` on, as they are written.

    A line comes at once, and the next few `batch_s` seconds later at the earliest. A file that is
    missing is waited for. A file that was truncated is read from its start again. Of one that was
    renamed or deleted and has a successor, what is written there within the next second or so is
    read before that; after a cut, too, where the renamed one keeps the beginning of its name. Cuts
    of the connection, however long, lose and repeat nothing. Once `stop` is set, what the file
    holds at that moment is read, its unfinished last line handed out, and it ends; five seconds
    later when the machine stays out of reach.

    A line that does not end shows all the same: every 0.5 s at most, its state is handed out if
    it changed and it is redrawn with carriage returns or nothing else comes. It comes again when
    it is complete, unless it is the same then.

    sink: gets every byte read, in order. by_polling: as on a machine without GNU tail. Raises
    SshError when the file cannot be read, the machine is another by its host key, or turns our key
    away. Memory: some 4 MB, however much is written.
    """
    reader = _Reader(offset, sink, max_lines)
    loop = asyncio.get_running_loop()
    async with RemoteLog(link, path, offset, stop, by_polling=by_polling) as log:
        while (piece := log.take()) is not None or not log.over:
            now = loop.time()
            if piece is None:
                if chunk := reader.unfinished(now):
                    yield chunk
                await log.wait(reader.due_in(now))
            elif isinstance(piece, Turn):
                if chunk := reader.turn(piece):
                    yield chunk
            elif chunk := reader.take(piece, now) or reader.unfinished(now):
                yield chunk
                if not log.waiting:
                    await _pause(stop, now + batch_s - loop.time())
    if chunk := reader.finish():
        yield chunk


async def _pause(stop: Stop, seconds: float) -> None:
    """So many seconds, or until there is to be no more."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


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

    def due_in(self, now: float) -> float | None:
        """Seconds until an unfinished line shows; None while there is none that would."""
        pending = self._splitter.pending()
        if not pending or pending == self._shown:
            return None
        return max(self._fed_at, self._shown_at) + _PENDING_S - now + 0.001

    def turn(self, turn: Turn) -> Chunk | None:
        """What is left of a file that ends here, with the word about it."""
        if not turn.restarts:
            return Chunk((), self._handed, self._handed, 0, turn.note)
        first = self._handed
        self.offset = self._handed = 0
        lines = self._last()
        return Chunk(tuple(lines), first, 0, 0, turn.note) if lines or turn.note else None

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
