"""The two streams: data on stdout, which may go away, and narration on stderr, which may too."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from gdl.cli import exit_codes

if TYPE_CHECKING:
    from gdl.cli.patient_writer import PatientWriter


class OutputClosed(Exception):
    """stdout takes no more: the reader left (`quiet`), or writing failed."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause.strerror or str(cause))
        self.quiet = cause.errno == errno.EPIPE


def columns_of(stream: TextIO) -> int | None:
    """Columns of the terminal that a stream leads to; None where a line may be of any length."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


class Output:
    """stdout, flushed line by line. Raises OutputClosed when nobody reads it any more."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._patient: PatientWriter | None = None

    @contextlib.contextmanager
    def patient(self) -> Iterator[None]:
        """Within it, in one event loop, no line waits for its reader. What is left at the end is
        written as slowly as it is read."""
        from gdl.cli.patient_writer import PatientWriter, can_stall

        writer: PatientWriter | None = None
        with contextlib.suppress(OSError, ValueError):
            descriptor = sys.stdout.fileno()
            if can_stall(descriptor):
                sys.stdout.flush()
                writer = self._patient = PatientWriter(descriptor)
        try:
            yield
        finally:
            self._patient = None
            if writer is not None:
                self._drain(writer)

    @staticmethod
    def _drain(writer: PatientWriter) -> None:
        if writer.omitted:
            say(f"warning: stdout was not read: {writer.omitted} lines are omitted")
        try:
            writer.drain()
        except OSError as error:
            raise OutputClosed(error) from None

    def line(self, text: str) -> None:
        self.text(f"{text}\n")

    def text(self, text: str) -> None:
        """A part of a line, or of several, shown at once."""
        try:
            if self._patient is not None:
                coding, errors = sys.stdout.encoding or "utf-8", sys.stdout.errors or "strict"
                self._patient.write(text.encode(coding, errors))
                return
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            raise OutputClosed(error) from None

    def lines(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.line(text)

    def prose(self, text: str) -> None:
        """A sentence, between whose words a line ends where the terminal does."""
        from gdl.cli.tables import folded

        self.lines(folded(text, columns_of(sys.stdout)))

    def table(
        self,
        headings: Sequence[str],
        rows: Sequence[Sequence[object]],
        spare: Sequence[str] = (),
    ) -> None:
        """Aligned columns, as wide as the terminal at most when stdout is one. spare: headings of
        columns that are omitted first where that is too narrow."""
        from gdl.cli.tables import table

        omitted: list[str] = []
        self.lines(table(headings, rows, columns_of(sys.stdout), spare, omitted))
        if omitted:
            names = ", ".join(name.lower() for name in omitted)
            say(f"a wider terminal shows more ({names}), --json all of it")

    def error(self, kind: str, message: str, hint: str) -> None:
        """An expected failure, or a defect of ours, as the last of the JSON objects."""
        self.json({"type": "error", "kind": kind, "message": message, "hint": hint})

    def json(self, value: Any) -> None:
        """One value on one line, in ASCII, so that no terminal can be misled by it. Dataclasses
        become objects."""
        import json

        def to_plain(value: Any) -> Any:
            # Slow to import, as it knows all events; most values are plain already.
            from gdl.domain import serialization

            return serialization.to_plain(value)

        try:
            text = json.dumps(value, allow_nan=False, default=to_plain)
        except ValueError:
            text = json.dumps(_finite(to_plain(value)), allow_nan=False)
        self.line(text)

    def abandon(self, closed: OutputClosed) -> int:
        """Write no more to stdout, not even at interpreter exit; the exit code that tells it."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        if closed.quiet:
            return exit_codes.OUTPUT_CLOSED
        say(f"error: cannot write the output: {closed}")
        say("hint: check where stdout goes")
        return exit_codes.INTERNAL


@contextlib.contextmanager
def watched(left: Callable[[OutputClosed], None]) -> Iterator[None]:
    """Call `left` once, from the running loop, when stdout is a pipe and its reader is gone.

    A write would tell it too, but there may be none for hours.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    try:
        descriptor = sys.stdout.fileno()
        watchable = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except (OSError, ValueError):
        watchable = False
    if not watchable:
        yield
        return

    def gone() -> None:
        loop.remove_reader(descriptor)
        left(OutputClosed(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))))

    # The writing end of a pipe becomes "readable" when the other end is closed.
    loop.add_reader(descriptor, gone)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)


def _finite(value: Any) -> Any:
    """The same with null for every number that JSON cannot write."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value


_STALLED_S = 2.0
_stalled = False


def say(text: str) -> None:
    """One line of narration. A stderr that is gone, or a terminal that nobody reads, costs the
    line, never the work."""
    with contextlib.suppress(OSError, ValueError):
        if _takes_more():
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


def ring() -> None:
    """The terminal's bell, where there is a terminal that takes it."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr.isatty() and _takes_more():
            sys.stderr.write("\a")
            sys.stderr.flush()


def _takes_more() -> bool:
    """Whether the terminal on stderr takes a line now. One that is stopped (Ctrl-S, a frozen
    window) is waited for once; whatever else stderr is, it is written to."""
    global _stalled
    if not sys.stderr.isatty():
        return True
    import select

    _stalled = not select.select((), (sys.stderr,), (), 0 if _stalled else _STALLED_S)[1]
    return not _stalled


def say_away(away: Mapping[str, str]) -> None:
    """Backends that do not answer while others do, on stderr."""
    from gdl.presentation.lines import plain

    for name, why in away.items():
        say(f"warning: {plain(name, 40)} is away: {plain(why, 300)}")


def coloured() -> bool:
    """Whether stderr may be dimmed and coloured."""
    return (
        sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def never_fail_to_print() -> None:
    """Characters that the terminal's encoding lacks are escaped instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            with contextlib.suppress(OSError, ValueError):
                reconfigure(errors="backslashreplace")
