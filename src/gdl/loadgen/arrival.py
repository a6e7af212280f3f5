"""When bytes came, as the kernel knows it: a program that reads many streams gets to each of them
later than that. Linux alone; elsewhere, and where it is refused, the time of reading has to do."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import time

_SO_TIMESTAMPNS = 35
"""Of asm-generic/socket.h, for which Python has no name. Its answer is a timespec of the wall
clock, of the last segment that was read."""
_TIMESPEC = struct.Struct("@ll")
_READ = 65536
_LONGEST_S = 60.0
"""A longer wait is a clock that was set in between."""


def twin_of(descriptor: int) -> socket.socket | None:
    """The same connection under a descriptor of its own, whose reads tell when things came; None
    where that cannot be had."""
    if sys.platform != "linux":
        return None
    try:
        other = os.dup(descriptor)
    except OSError:
        return None
    try:
        twin = socket.socket(fileno=other)
    except OSError:
        os.close(other)
        return None
    try:
        twin.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    except OSError:
        twin.close()
        return None
    return twin


def read(twin: socket.socket) -> tuple[bytes | None, float]:
    """(what there is, seconds for which it has waited to be read). b"" at the end of the
    connection, however it came; None when there is nothing."""
    try:
        data, told, _, _ = twin.recvmsg(_READ, 64)
    except (BlockingIOError, InterruptedError):
        return None, 0.0
    except OSError:
        return b"", 0.0
    waited = 0.0
    for _, kind, value in told:
        if kind == _SO_TIMESTAMPNS:
            with contextlib.suppress(struct.error):
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                waited = time.time() - seconds - nanoseconds * 1e-9
    return data, waited if 0 < waited < _LONGEST_S else 0.0
