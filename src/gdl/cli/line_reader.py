"""Lines typed at a terminal with readline, in a thread that nobody has to wait for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")
_HISTORY = 1000
"""Lines of the history that are kept."""


async def aside(work: Callable[[], Result]) -> Result:
    """The result of blocking `work`, in a thread that does not keep the process from ending: what
    waits for a terminal or a pipe may wait for ever. Cancelling this leaves it behind."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Result] = loop.create_future()

    def put(value: Result | None, error: BaseException | None) -> None:
        if result.done():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value)  # type: ignore[arg-type]  # of `work`, which did not fail

    def run() -> None:
        try:
            value, error = work(), None
        except BaseException as caught:
            value, error = None, caught
        # The loop is closed where nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(put, value, error)

    threading.Thread(target=run, name="line-reader", daemon=True).start()
    return await result


def read_line(prompt: str) -> str | None:
    """A line; None at the end of the input. Blocking."""
    if sys.stdout.isatty():
        shown = prompt
    else:
        # The answers go elsewhere: readline would write the prompt among them.
        shown = ""
        sys.stderr.write(prompt)
        sys.stderr.flush()
    try:
        return input(shown)
    except EOFError:
        return None


@contextmanager
def history(file: Path | None, earlier: Sequence[str] = ()) -> Iterator[None]:
    """Up and Down recall the lines of `file`, of mode 0600, then `earlier`; what is typed is added
    to it on leaving. The terminal is as it was afterwards, also when a line is still waited for.
    Does nothing where there is no readline."""
    restore = _terminal()
    try:
        import readline
    except ImportError:  # not on every platform
        readline = None  # type: ignore[assignment]
    if readline is not None:
        if file is not None:
            with contextlib.suppress(OSError):
                readline.read_history_file(file)
        for line in earlier:
            readline.add_history(line)
    try:
        yield
    finally:
        restore()
        if readline is not None and file is not None:
            readline.set_history_length(_HISTORY)
            with contextlib.suppress(OSError):
                file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))
                readline.write_history_file(file)
                file.chmod(0o600)


def _terminal() -> Callable[[], None]:
    """Puts the terminal's settings back to what they are now."""
    try:
        import termios

        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (ImportError, OSError, ValueError, termios.error):
        return lambda: None

    def restore() -> None:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

    return restore
