"""A whole log on this computer, for as long as its disk takes it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import BinaryIO


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
