"""The bytes of a growing file on the machine, over cuts of any length: none lost, none twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from gdl.domain.backoff import RETRYING, Backoff
from gdl.domain.errors import GaveWay, HostKeyChanged, SshAuthFailed, SshError
from gdl.ssh.log_stream import LogStream, Place, Stop, Turn, Unreadable

if TYPE_CHECKING:
    from gdl.ssh.reconnecting import Link

_PIECE_BYTES = 128 * 1024
_HELD_BYTES = 1024 * 1024
"""Not taken yet: with more, the machine is told to wait. A channel's window comes on top."""
_LAST_READ_S = 5.0
"""How long a machine that says nothing is waited for once `stop` is set."""
_LAST_TURNS = 3
"""So many times as long, where others have their turn first."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0


class RemoteLog:
    """Reads from a byte offset on while it is entered, until `stop` is set and what the file held
    at that moment has come. Raises nothing by itself: see `take`."""

    def __init__(
        self, link: Link, path: str, offset: int, stop: Stop, *, by_polling: bool = False
    ) -> None:
        self._link = link
        self._path = path
        self._stop = stop
        self._by_polling = by_polling
        self._place = Place(offset)
        self._pieces: deque[bytes | Turn] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self._stream: LogStream | None = None
        self._received = 0

    async def __aenter__(self) -> RemoteLog:
        self._reading = asyncio.create_task(self._read(), name="remote-log")
        self._reading.add_done_callback(lambda _: self._news.set())
        self._limit = asyncio.create_task(self._end_in_time(), name="remote-log-limit")
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = (self._reading, self._limit)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def wait(self, seconds: float | None) -> None:
        """Until there is something to take, or it is over, or so many seconds have passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    @property
    def over(self) -> bool:
        """There is nothing left to take, nor will there be."""
        return not self._pieces and self._reading.done()

    @property
    def waiting(self) -> int:
        """Bytes to be taken."""
        return self._size

    def take(self) -> bytes | Turn | None:
        """What came, 128 KiB of it at most; None when there is nothing now. Raises SshError when
        it is over because it could not go on."""
        if not self._pieces:
            if not self._reading.done():
                self._news.clear()
            elif not self._reading.cancelled():
                self._reading.result()
            return None
        piece = self._pieces.popleft()
        if isinstance(piece, Turn):
            return piece
        taken, space = [piece], _PIECE_BYTES - len(piece)
        while self._pieces and isinstance(more := self._pieces[0], bytes) and len(more) <= space:
            taken.append(more)
            space -= len(more)
            self._pieces.popleft()
        data = b"".join(taken)
        self._size -= len(data)
        if self._stream is not None and self._size <= _HELD_BYTES // 2:
            self._stream.resume()
        return data

    def _put(self, piece: bytes | Turn) -> None:
        self._pieces.append(piece)
        self._news.set()
        if isinstance(piece, bytes):
            self._received += len(piece)
            self._size += len(piece)
            if self._stream is not None and self._size > _HELD_BYTES:
                self._stream.pause()

    async def _read(self) -> None:
        """One command after the other, until all is there."""
        pauses = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, growth=RETRYING)
        while True:
            before = self._place.offset
            try:
                conn = await self._link.get()
                self._stream = LogStream(
                    self._path, self._place, self._put, by_polling=self._by_polling
                )
                if await self._stream.run(conn, self._stop):
                    return
                continue
            except (HostKeyChanged, SshAuthFailed, Unreadable):
                raise
            except GaveWay:
                continue
            except SshError:
                # A cut of whatever length, or a machine that has no memory or processes left for
                # a while: whoever sets `stop` knows when there is nothing to wait for.
                if self._link.closed:
                    raise
            finally:
                self._stream = None
            if self._place.offset != before:
                pauses.reset()
            await asyncio.sleep(next(pauses))

    async def _end_in_time(self) -> None:
        """Once `stop` is set, a machine that says nothing more is not waited for."""
        await self._stop.wait()
        before, queued = -1, 0
        while before != self._received or (self._queues and queued < _LAST_TURNS):
            queued += before == self._received
            before = self._received
            await asyncio.sleep(_LAST_READ_S)
        self._reading.cancel()

    @property
    def _queues(self) -> bool:
        """The machine is there, but others have the sessions that it opens."""
        short = self._link.connected and self._link.short_of_sessions
        return short and self._stream is not None and not self._stream.begun
