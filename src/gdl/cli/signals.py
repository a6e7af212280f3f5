"""Signals as callbacks on the running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

_handlers: list[Callable[[signal.Signals], object]] = []


@contextlib.contextmanager
def handled(callback: Callable[[signal.Signals], object]) -> Iterator[None]:
    """Call `callback` in the loop for SIGINT, SIGTERM and SIGHUP; afterwards what was before.

    Uses may be nested. Does nothing where a loop cannot take signals (not the main thread).
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
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
            loop.add_signal_handler(number, callback, number)
