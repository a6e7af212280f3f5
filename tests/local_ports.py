"""Ports of this computer that nothing listens on."""

from __future__ import annotations

import contextlib
import os
import random
import socket

_FIRST, _END = 15_000, 32_000
"""Below those that the system gives out, to listeners without a wish and to every connection: one
of them would be somebody else's before it is used."""
_SHARES = 16
_given: set[int] = set()


def free_port() -> int:
    """One that no other test gets, also of those that run at the same time."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    mine = range(_FIRST + int(worker) % _SHARES, _END, _SHARES)
    for port in random.sample(mine, len(mine)):
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port
    raise OSError("no port is free")
