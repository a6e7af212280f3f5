"""Lines to a pipe or terminal whose reader may stop reading: what it does not take waits here, and
the event loop never does, as machines cost money meanwhile."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import stat
from collections import deque

MOST_BYTES = 64 * 2**20
"""That wait. What comes then is omitted, and told."""
_PIECE = 4096
"""A pipe that takes anything takes so much without a wait (POSIX: PIPE_BUF)."""


def can_stall(descriptor: int) -> bool:
    """Whether its reader is another program, or a person."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)


class PatientWriter:
    """omitted: lines that were too many to wait. Used from one event loop; `drain` once that is
    over."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._error: OSError | None = None
        self.omitted = 0

    def write(self, line: bytes) -> None:
        """Takes it, at once or later. Raises OSError when the reader is gone."""
        if self._error is not None:
            raise self._error
        if self._bytes + len(line) > MOST_BYTES:
            self.omitted += 1
            return
        waits = bool(self._waiting)
        for start in range(0, len(line), _PIECE):
            self._waiting.append(line[start : start + _PIECE])
        self._bytes += len(line)
        if not waits:
            self._go_on()
            if self._waiting:
                asyncio.get_running_loop().add_writer(self._descriptor, self._more)
        if self._error is not None:
            raise self._error

    def _more(self) -> None:
        self._go_on()
        if not self._waiting:
            asyncio.get_running_loop().remove_writer(self._descriptor)

    def _go_on(self) -> None:
        """As far as it is taken without a wait."""
        while self._waiting and select.select((), (self._descriptor,), (), 0)[1]:
            self._put()

    def _put(self) -> None:
        piece = self._waiting.popleft()
        try:
            written = os.write(self._descriptor, piece)
        except OSError as error:
            self._error = error
            self._waiting.clear()
            self._bytes = 0
            return
        self._bytes -= written
        if written < len(piece):
            self._waiting.appendleft(piece[written:])

    def drain(self) -> None:
        """The rest, as slowly as it is read: nothing else is to be done, so that a signal ends the
        program. Raises OSError when the reader is gone."""
        if self._waiting:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
        while self._waiting:
            self._put()
        if self._error is not None:
            raise self._error
