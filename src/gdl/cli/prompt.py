"""Questions on the terminal that leave the event loop free."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys


async def ask(question: str) -> str:
    """The answer typed, in lower case without blanks; "" for Enter and for the end of input.

    Asked on stderr, read from stdin, which must be a terminal. What was typed before the question
    is no answer to it. May be cancelled at any time.
    """
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[str] = loop.create_future()
    descriptor = sys.stdin.fileno()

    def read() -> None:
        try:
            typed = os.read(descriptor, 4096)
        except OSError:
            typed = b""
        if not answered.done():
            answered.set_result(typed.decode(errors="replace").strip().lower())

    _forget_what_was_typed(descriptor)
    sys.stderr.write(question)
    sys.stderr.flush()
    loop.add_reader(descriptor, read)
    try:
        return await answered
    finally:
        loop.remove_reader(descriptor)


def _forget_what_was_typed(descriptor: int) -> None:
    try:
        import termios
    except ImportError:  # not on every platform
        return
    with contextlib.suppress(termios.error):  # the terminal is gone
        termios.tcflush(descriptor, termios.TCIFLUSH)


async def yes(question: str) -> bool:
    """Whether y is typed; Enter is no."""
    return await ask(f"{question} [y/N] ") in ("y", "yes")
