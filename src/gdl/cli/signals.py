"""Signals as callbacks on the running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

_handlers: list[Callable[[signal.Signals], object]] = []


@contextlib.contextmanager
def handled(callback: Callable[[signal.Signals], object]) -> Iterator[None]:
    """Call `callback` in the loop for SIGINT, SIGTERM and SIGHUP; afterwards what was before.

    A SIGHUP that is ignored stays so: whoever started this by `nohup` wants it to go on. Uses may
    be nested. Does nothing where a loop cannot take signals (not the main thread).
    """
    loop = asyncio.get_running_loop()
    _handlers.append(callback)
    try:
        _install(loop, callback)
        yield
    finally:
        _handlers.pop()
        if _handlers:
            _install(loop, _handlers[-1])
        else:
            for number in STOPPING:
                with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                    loop.remove_signal_handler(number)


def _install(loop: asyncio.AbstractEventLoop, callback: Callable[[signal.Signals], object]) -> None:
    for number in STOPPING:
        if number.name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN:
            continue
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
            loop.add_signal_handler(number, callback, number)


def ignore() -> None:
    """From here on a signal changes nothing: all is done, and only the exit code is to come."""
    for number in STOPPING:
        with contextlib.suppress(ValueError):
            signal.signal(number, signal.SIG_IGN)


def leave_now(code: int) -> NoReturn:
    """Leave without closing: closing would wait for the release that the user will not wait for."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def uncancel() -> None:
    """The signal's cancellation of the current task is answered: it goes on to close what is
    open."""
    if (task := asyncio.current_task()) is not None:
        task.uncancel()
