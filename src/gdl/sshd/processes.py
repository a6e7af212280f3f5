"""Finding and ending every process that belongs to a session on this machine.

A process belongs when its environment carries the session's mark, when a job's pid file names it,
when it shares the session (in the sense of setsid) of one that does, or when it descends from one.
Several signs are needed because a process may wipe its environment or rewrite it for its title.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from gdl.domain.backoff import Backoff
from gdl.domain.lazy_dataclass import dataclass

MARK = "GDL_LOCAL_SESSION"
"""The environment variable that every command of a session carries."""

_DEEPEST_JOB = 4
_MAX_PID_FILE = 64
_CLOCK_SLACK_S = 2.0
_PS_START = "%a %b %d %H:%M:%S %Y"
"""How `ps -o lstart=` words a start, in the C locale."""


@dataclass(frozen=True, slots=True)
class Process:
    """group: its session on Linux, its process group elsewhere (macOS has no `setsid` command)."""

    pid: int
    parent: int
    group: int


@dataclass(frozen=True, slots=True)
class Job:
    """A detached job as its folder tells it. born: its start, in clock ticks where there is /proc
    and as `ps` words it elsewhere, "" when it is not told. written: Unix time of the pid file."""

    pid: int
    born: str
    written: float


def table() -> dict[int, Process]:
    """All living processes by pid; without zombies."""
    import psutil

    group_of = os.getsid if sys.platform == "linux" else os.getpgid
    ended = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    found = {}
    for process in psutil.process_iter(["ppid", "status"]):
        if process.info["status"] not in ended and process.info["ppid"] is not None:
            with contextlib.suppress(OSError):
                group = group_of(process.pid)
                found[process.pid] = Process(process.pid, process.info["ppid"], group)
    return found


def start_ticks(pid: int) -> int:
    """The start of a living process in clock ticks since the computer's, as /proc has it on Linux;
    0 when there is none."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return 0
        since_boot = process.create_time() - psutil.boot_time()
    except psutil.Error:
        return 0
    return round(since_boot * os.sysconf("SC_CLK_TCK"))


def started_at(pid: int, ticks: int) -> bool:
    """Whether a living process has this id and start, both as `start_ticks` told them earlier."""
    now = start_ticks(pid)
    if sys.platform == "linux":
        return 0 < now == ticks
    # Elsewhere the start of the computer is told in Unix time, which moves when the clock is set.
    slack = _CLOCK_SLACK_S * os.sysconf("SC_CLK_TCK")
    return now > 0 and (ticks == 0 or abs(now - ticks) <= slack)


def _started(pid: int) -> float:
    """The start of a process in Unix time; 0 when there is none."""
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def read_jobs(work: Path) -> list[Job]:
    """The jobs under a work folder: `**/jobs/<name>/pid`, a few levels deep."""
    jobs = []
    for folder, names, _ in os.walk(work):
        here = Path(folder)
        if len(here.relative_to(work).parts) >= _DEEPEST_JOB or (here / "pyvenv.cfg").exists():
            names.clear()
        if here.name == "jobs":
            jobs += [job for name in names if (job := _read_job(here / name)) is not None]
            names.clear()
    return jobs


def _read_job(folder: Path) -> Job | None:
    file = folder / "pid"
    try:
        with file.open("rb") as opened:
            text = opened.read(_MAX_PID_FILE).decode("ascii")
        pid, written = int(text), file.stat().st_mtime
    except (OSError, ValueError):
        return None
    try:
        with (folder / "start").open("rb") as opened:
            born = opened.read(200).decode("ascii", "replace")
    except OSError:
        born = ""
    return Job(pid, " ".join(born.split()), written) if pid > 1 else None


def _is_the_job(job: Job) -> bool:
    """Whether the process with the job's pid is still the job, and not a later one."""
    if job.born.isdecimal():
        return started_at(job.pid, int(job.born))
    started = _started(job.pid)
    if job.born:
        try:
            born = time.mktime(time.strptime(job.born, _PS_START))
        except (ValueError, OverflowError):
            return False
        return abs(started - born) <= _CLOCK_SLACK_S
    return 0 < started <= job.written + _CLOCK_SLACK_S


def belonging(ident: str, folder: Path, groups: Collection[int]) -> set[int]:
    """The pids that belong to session `ident`, whose files are in `folder`.

    `groups`: pids of commands that this process started for it, each leading a group.
    Never this process itself, nor one it descends from.
    """
    processes = table()
    mark = f"{MARK}={ident}"
    jobs = read_jobs(folder / "work")
    named = {j.pid for j in jobs}
    leaders = {j.pid for j in jobs if j.pid in processes and _is_the_job(j)}
    mine = {p.pid for p in processes.values() if _carries(p.pid, mark)} | leaders
    for process in processes.values():
        # Where the leader has ended, what is left of its group must at least sit in the folder.
        orphaned = process.group in named and process.group not in processes
        if (
            process.group in leaders
            or process.group in groups
            or (orphaned and _sits_in(process.pid, folder))
        ):
            mine.add(process.pid)
    spared = _ancestry(processes)
    return _with_descendants(mine - spared, processes) - spared


def _carries(pid: int, mark: str) -> bool:
    name, _, value = mark.partition("=")
    if sys.platform == "linux":
        # psutil stops reading at the first empty entry, which a process that rewrote its title may
        # have in front of the mark.
        try:
            return mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False
    import psutil

    try:
        return psutil.Process(pid).environ().get(name) == value
    except psutil.Error:
        return False


def _sits_in(pid: int, folder: Path) -> bool:
    import psutil

    try:
        return Path(psutil.Process(pid).cwd()).is_relative_to(folder.resolve())
    except (psutil.Error, OSError):
        return False


def _with_descendants(roots: set[int], processes: Mapping[int, Process]) -> set[int]:
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return found


def _ancestry(processes: Mapping[int, Process]) -> set[int]:
    """This process and everything above it, which is never to be ended."""
    found = {0, 1}
    pid = os.getpid()
    while pid not in found:
        found.add(pid)
        pid = processes[pid].parent if pid in processes else 1
    return found


async def end(ident: str, folder: Path, groups: Collection[int], grace_s: float) -> set[int]:
    """End everything that belongs to the session: TERM, and KILL after `grace_s` seconds.

    Returns the pids that survived another `grace_s`.
    """
    # Both times count from a signal: a look may take long on a busy computer.
    asked_at = killed_at = 0.0
    told: set[int] = set()
    pauses = Backoff(0.01, 0.2)
    while alive := await asyncio.to_thread(belonging, ident, folder, groups):
        now = time.monotonic()
        if killed_at and now - killed_at > grace_s:
            return alive
        if asked_at and now - asked_at > grace_s:
            killed_at = killed_at or now
            _signal(alive, signal.SIGKILL)
        else:
            asked_at = asked_at or now
            # Each is told once: a second TERM may cut a server's orderly end short.
            _signal(alive - told, signal.SIGTERM)
            told |= alive
        await asyncio.sleep(next(pauses))
    return set()


def _signal(pids: Collection[int], which: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, which)
