"""A longer queue for a listener of another process of ours.

OpenSSH lets 128 connections wait to be accepted; of more at once, as a benchmark opens them, the
rest is dropped by the kernel and comes again after a second. Calling listen() again on the same
socket sets a new length (listen(2)), and Linux lends a parent its child's (pidfd_getfd(2)).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
from pathlib import Path

LENGTH = 1024

_PIDFD_GETFD = 438
"""The same number on every architecture."""


def lengthen(pid: int, address: tuple[str, int]) -> bool:
    """Whether the IPv4 listener of process `pid` on `address` has the longer queue now: never but
    on Linux, where the process is a child of ours and the system allows it."""
    if sys.platform != "linux":
        return False
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        names = [each.name for each in Path(f"/proc/{pid}/fd").iterdir()]
        return any(_is_it(process, int(name), address) for name in names)
    except OSError:
        return False
    finally:
        os.close(process)


def _is_it(process: int, number: int, address: tuple[str, int]) -> bool:
    found = ctypes.CDLL(None).syscall(_PIDFD_GETFD, process, number, 0)
    if found < 0:
        return False
    try:
        lent = socket.socket(fileno=found)
    except OSError:
        os.close(found)  # no socket
        return False
    with lent, contextlib.suppress(OSError):
        if lent.family == socket.AF_INET and lent.getsockname() == address:
            if not lent.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return False
            lent.listen(LENGTH)
            return True
    return False
