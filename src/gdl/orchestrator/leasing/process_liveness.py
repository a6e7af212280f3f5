"""Whether the process that a deployment runs in is still there."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from gdl.domain import clock

_OUR_START = clock.now()
_CLAIMED = "claimed "
_SLACK = timedelta(seconds=5)
"""Clocks are read in different places."""


class Worked(Protocol):
    """What one process works on: a deployment's row in the journal, or a fleet's."""

    @property
    def created_at(self) -> datetime: ...

    @property
    def outcome(self) -> str: ...

    @property
    def owner_pid(self) -> int: ...

    @property
    def owner_mark(self) -> str: ...


def runs(row: Worked) -> bool:
    """Whether a deployment or a fleet without an end is still being worked on by a live process.

    A process id alone proves nothing: after a restart (of a container, say) another process may
    have it. Its mark tells; without one, a process that started after the deployment is not it.
    """
    if row.outcome or row.owner_pid <= 0:
        return False
    try:
        os.kill(row.owner_pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is there, and somebody else's
    if row.owner_mark and (now := mark(row.owner_pid)):
        return now == row.owner_mark
    since = _claimed_at(row.owner_mark) or row.created_at
    if row.owner_pid == os.getpid():
        return since + _SLACK >= _OUR_START
    started = _started(row.owner_pid)
    return started is None or since + _SLACK >= started


def holds(row: Worked) -> bool:
    """Whether its machine is not to be touched by another: a live process works on it, or it was
    left serving on purpose."""
    return row.outcome == "serving" or runs(row)


def claim_mark(pid: int, now: datetime) -> str:
    """The mark of a process that takes up a deployment that another one made: as `mark`; where the
    system tells none, when it took it up."""
    return mark(pid) or f"{_CLAIMED}{now.isoformat()}"


def _claimed_at(owner_mark: str) -> datetime | None:
    if not owner_mark.startswith(_CLAIMED):
        return None
    try:
        return datetime.fromisoformat(owner_mark.removeprefix(_CLAIMED))
    except ValueError:
        return None


def mark(pid: int) -> str:
    """What no other process with this id has: the boot's id and the start in clock ticks since the
    boot, "" where the system does not tell them in /proc.

    Not by psutil: other processes compare this with what they read, and psutil's start times move
    whenever the clock is set. A live process would be taken for an ended one.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return f"{boot} {int(stat.rpartition(')')[2].split()[19])}"
    except (OSError, ValueError, IndexError):
        return ""


def _started(pid: int) -> datetime | None:
    """When a process started; None where the system does not tell it."""
    import psutil

    try:
        return datetime.fromtimestamp(psutil.Process(pid).create_time(), UTC)
    except psutil.Error:
        return None
