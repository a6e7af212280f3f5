"""A whole log on this computer, for as long as its disk takes it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from gdl.ssh.reconnecting import Link


_NAME = re.compile(r"attempt-(\d+)-(engine|install)(?:-rank-(\d+))?\.log")
_HEAD_BYTES = 4096
"""How much of a log's beginning tells it from others."""


def name_of(attempt: int, source: str) -> str:
    """Of the file of one of an attempt's logs."""
    return f"attempt-{attempt}-{source}.log"


def attempt_of(path: Path, rank: int = 0) -> int | None:
    """The number of the attempt whose server, or whose installation, has its log in this file, on
    the machine of that rank; None for all other files."""
    found = _NAME.fullmatch(path.name)
    return int(found[1]) if found is not None and int(found[3] or 0) == rank else None


async def kept_here(link: Link, log: str, path: Path) -> int:
    """How many bytes of a log on the machine a process that is gone has written to its file here.
    Raises SshError."""
    head, _ = await link.read_at(log, 0, _HEAD_BYTES)
    return await asyncio.to_thread(bytes_kept, path, head)


def bytes_kept(path: Path, head: bytes) -> int:
    """How many bytes of a log are at the end of its file already. head: the log's beginning. The
    file may hold earlier logs before it. Blocking."""
    try:
        kept = path.read_bytes()
    except OSError:
        return 0
    begins = kept.rfind(head) if head else -1
    if begins >= 0:
        return len(kept) - begins
    return next((n for n in range(len(head) - 1, 0, -1) if kept.endswith(head[:n])), 0)


def skipping(write: Callable[[bytes], None], count: int) -> Callable[[bytes], None]:
    """`write` without the first `count` bytes that it is given."""

    def rest(data: bytes) -> None:
        nonlocal count
        skipped = min(count, len(data))
        count -= skipped
        if skipped < len(data):
            write(data[skipped:])

    return rest


class LogFile:
    """Appends. A disk that is full ends the file and nothing else: the work that it tells of goes
    on. trouble: why it ended, until somebody has asked for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._trouble = ""

    def __enter__(self) -> LogFile:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = self._path.open("ab")
        except OSError as error:
            self._end(error)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as failed:
                self._end(failed)

    def write(self, data: bytes) -> None:
        if self._file is not None:
            try:
                self._file.write(data)
            except OSError as error:
                self._end(error)

    def flush(self) -> None:
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                self._end(error)

    def trouble(self) -> str:
        """What to tell the user, once; "" when there is nothing."""
        trouble, self._trouble = self._trouble, ""
        return trouble

    def _end(self, error: OSError) -> None:
        self._trouble = f"the log {self._path} ends here: {error.strerror or error}"
        file, self._file = self._file, None
        if file is not None:
            # What is still buffered is tried once more, and then given up.
            with contextlib.suppress(OSError):
                file.close()
