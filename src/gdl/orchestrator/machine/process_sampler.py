"""Looks at what a process on the machine does, one after the other, over cuts of the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from gdl.domain.errors import GaveWay, SshError
from gdl.host import process_stats

if TYPE_CHECKING:
    from gdl.ssh.reconnecting import Link

_AWAY_S = 5.0
_LONGEST_S = 7 * 24 * 3600.0
"""Longer than anything is rented for."""


async def follow(
    link: Link,
    pid: int,
    hear: Callable[[process_stats.ProcessStats], None],
    *,
    has_gpu: bool,
    every_s: float,
) -> None:
    """Until the process has ended. pid: leader of its session. hear: called with every look."""
    command = process_stats.command(pid, has_gpu=has_gpu, every_s=every_s)
    while True:
        reader = process_stats.Reader()

        def take(data: bytes, reader: process_stats.Reader = reader) -> None:
            for look in reader.feed(data):
                hear(look)

        try:
            await link.stream(command, take, timeout=_LONGEST_S)
            return
        except GaveWay:
            continue
        except SshError:
            # Whoever needs the connection more tells of it.
            await asyncio.sleep(_AWAY_S)
