"""One command that sends a growing file on the machine, over one connection."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING

from gdl.domain.errors import SshError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.text import one_line
from gdl.ssh.log_frames import Frames, Opened, Truncated
from gdl.ssh.remote_path import as_argument
from gdl.ssh.tail_scripts import FOLLOW

if TYPE_CHECKING:
    import asyncssh

    from gdl.ssh.connection import Connection

_KNOWN_BYTES = 512
"""What was read last is asked for again by the next command: only the same file has that there."""
_SAID_BYTES = 2000
_DOUBTFUL_BYTES = 32 * 1024 * 1024
"""Held until the machine says that it is of the right file, which it does at once."""
_TRUNCATED = "the log was truncated on the machine: it is read from its start"


class Stop(asyncio.Event):
    """Set once whoever writes to a log is done. size: bytes that it held then, where that is
    known; else the machine is asked."""

    size: int | None = None

    def set(self, size: int | None = None) -> None:
        if not self.is_set():
            self.size = size
        super().set()


@dataclass(frozen=True, slots=True)
class Turn:
    """What happened to the file, where that is worth a word. restarts: what comes now is from its
    start, or from that of another one."""

    note: str
    restarts: bool = True


@dataclass(slots=True)
class Place:
    """How far reading has come: the byte offset in the file with that inode, "" when that is not
    known yet, and the bytes before it. complete: nothing of that file is missing."""

    offset: int
    inode: str = ""
    known: bytes = b""
    complete: bool = False


class Unreadable(SshError):
    """The machine says that there is nothing to be read, whoever asks."""


class LogStream:
    """put: gets what comes, in order; `place` has moved on by then. by_polling: even where the
    machine could tell of news by itself."""

    def __init__(
        self,
        path: str,
        place: Place,
        put: Callable[[bytes | Turn], None],
        *,
        by_polling: bool = False,
    ) -> None:
        self._path = path
        self._place = place
        self._put = put
        self._how = "poll" if by_polling else ""
        self._word = f"gdl-{secrets.token_hex(8)}"
        self._frames = Frames(self._word)
        self._expected = b""
        self._doubtful: list[Opened | Truncated | bytes] | None = []
        """What came before it was known to be of the right file."""
        self._doubtful_bytes = 0
        self._end: int | None = None
        self._last = False
        self._asked = False
        self._said = b""
        self._errors: list[str] = []
        self._ended = asyncio.Event()
        self._chan: asyncssh.SSHClientChannel[bytes] | None = None
        self._paused = False

    async def run(self, conn: Connection, stop: Stop) -> bool:
        """Until the file is read out: because another one has its name by now (False), or `stop`
        is set (True). Raises Unreadable, or SshError when it ended before."""
        place = self._place
        again = len(place.known)
        words = (as_argument(self._path), place.offset, again, place.inode, self._word, self._how)
        command = f"set -- {' '.join(shlex.quote(str(word)) for word in words)}\n{FOLLOW}"
        running = asyncio.ensure_future(conn.hold(command, self._hear, self._started))
        stopping = asyncio.ensure_future(stop.wait())
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            either = {running, stopping, ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set() and not ended.done():
                self._stop_at(stop.size)
                await asyncio.wait({running, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not self._ended.is_set():
                raise self._refused(conn, running.result())
        finally:
            for task in (running, stopping, ended):
                task.cancel()
            await asyncio.gather(running, stopping, ended, return_exceptions=True)
        return self._last

    @property
    def begun(self) -> bool:
        """The machine has a session for it."""
        return self._chan is not None

    def pause(self) -> None:
        """Let the machine wait, soon; what is on its way still comes."""
        self._paused = True
        if self._chan is not None:
            self._chan.pause_reading()

    def resume(self) -> None:
        paused, self._paused = self._paused, False
        if paused and self._chan is not None:
            # What is held comes at once, and may be too much again.
            self._chan.resume_reading()

    def _started(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._chan = chan
        if self._paused:
            chan.pause_reading()
        if self._asked:
            self._ask()

    def _stop_at(self, size: int | None) -> None:
        if size is not None:
            self._end, self._last = size, True
            self._look()
        else:
            self._ask()

    def _ask(self) -> None:
        """Where the end is; "end" comes as the answer."""
        self._asked = True
        if self._chan is not None:
            with contextlib.suppress(OSError):
                self._chan.write(b"\n")

    def _refused(self, conn: Connection, status: int) -> SshError:
        detail = one_line(" ".join(self._errors), 200) or f"its command ended with {status}"
        kind = Unreadable if status == 1 else SshError
        path = one_line(self._path, 200)
        return kind(f"cannot read {path} on {conn.target.label}: {detail}", "check its permissions")

    # -- what comes ------------------------------------------------------------------------------

    def _hear(self, data: bytes, is_error: bool) -> None:
        if self._ended.is_set():
            return
        if is_error:
            *lines, self._said = (self._said + data).split(b"\n")
            self._said = self._said[-_SAID_BYTES:]
            for line in lines:
                self._told(line.decode("utf-8", "replace"))
        else:
            try:
                pieces = self._frames.feed(data)
            except ValueError as error:
                self._told(str(error))
                return
            if self._doubtful is None:
                self._take(pieces)
            else:
                self._doubtful += pieces
                self._doubtful_bytes += len(data)
                if self._doubtful_bytes > _DOUBTFUL_BYTES and self._chan is not None:
                    self._chan.abort()
        self._look()

    def _told(self, line: str) -> None:
        match line.split(" "):
            case ["end", size, ("last" | "more") as word] if _is_size(size):
                self._end, self._last = int(size), word == "last"
            case ["right"]:
                pieces, self._doubtful = self._doubtful or [], None
                self._take(pieces)
            case ["gone"]:
                self._put(Turn("the log was removed on the machine", restarts=False))
            case _:
                self._errors = [*self._errors[-20:], line]

    def _take(self, pieces: list[Opened | Truncated | bytes]) -> None:
        for piece in pieces:
            if self._ended.is_set():
                return
            if isinstance(piece, Opened):
                self._opened(piece)
            elif isinstance(piece, bytes):
                self._bytes(piece)
            else:
                self._restart(_TRUNCATED)
                if self._end is not None:
                    # That was the end of what is gone.
                    self._end = None
                    self._ask()

    def _opened(self, file: Opened) -> None:
        place = self._place
        place.inode = file.inode
        complete, place.complete = place.complete, False
        if file.what == "same":
            self._expected = place.known
        elif place.offset:
            note = ""
            if file.what == "truncated":
                note = _TRUNCATED
            elif file.what == "lost" and not complete:
                note = "the log was replaced on the machine, and its rest is not to be found"
            self._restart(note)

    def _bytes(self, data: bytes) -> None:
        place, expected = self._place, self._expected
        if expected:
            count = min(len(expected), len(data))
            if data[:count] != expected[:count]:
                # Another file of that inode, or one truncated and as long again: from its start.
                self._restart("the log was replaced on the machine: it is read from its start")
                place.inode, self._last = "", False
                self._ended.set()
                return
            self._expected, data = expected[count:], data[count:]
        if data:
            place.offset += len(data)
            place.known = (place.known + data[-_KNOWN_BYTES:])[-_KNOWN_BYTES:]
            self._put(data)

    def _restart(self, note: str) -> None:
        self._place.offset, self._place.known = 0, b""
        self._put(Turn(note))

    def _look(self) -> None:
        """Whether the end is reached."""
        end, held = self._end, self._frames.held
        if self._ended.is_set() or self._expected or self._doubtful:
            return
        if end is None or self._place.offset + held < end:
            return
        if held:
            self._bytes(self._frames.release())
        self._place.complete = True
        self._ended.set()


def _is_size(word: str) -> bool:
    return word.isdecimal() and len(word) <= 18
