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
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

MARK = "GDL_LOCAL_SESSION"
"""The environment variable that every command of a session carries."""

_PROC = Path("/proc")
_DEEPEST_JOB = 4
_MAX_PID_FILE = 64
_CLOCK_SLACK_S = 2.0


@dataclass(frozen=True, slots=True)
class Process:
    """group: its session on Linux, its process group elsewhere. ticks: its start in clock ticks
    since boot, and started: the same in Unix time; 0 where unknown."""

    pid: int
    parent: int
    group: int
    ticks: int = 0
    started: float = 0.0


@dataclass(frozen=True, slots=True)
class Job:
    """A detached job as its folder tells it. born: its start, in clock ticks where there is /proc
    and as `ps` words it elsewhere, "" when it is not told. written: Unix time of the pid file."""

    pid: int
    born: str
    written: float


def table() -> dict[int, Process]:
    """All living processes by pid; zombies are left out."""
    return _linux_table() if sys.platform == "linux" else _ps_table()


def _linux_table() -> dict[int, Process]:
    ticks = os.sysconf("SC_CLK_TCK")
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    found = {}
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit():
            continue
        try:
            text = Path(entry.path, "stat").read_text(errors="replace")
        except OSError:
            continue
        # The name stands in parentheses and may itself hold any of them.
        fields = text.rpartition(")")[2].split()
        if len(fields) < 20 or fields[0] in "ZX":
            continue
        pid = int(entry.name)
        born = int(fields[19])
        found[pid] = Process(pid, int(fields[1]), int(fields[3]), born, booted + born / ticks)
    return found


def _ps_table() -> dict[int, Process]:
    found = {}
    for line in _ps("-A", "-o", "pid=,ppid=,pgid=,stat=").splitlines():
        words = line.split()
        if len(words) >= 4 and not words[3].startswith("Z"):
            pid, parent, group = (int(word) for word in words[:3])
            found[pid] = Process(pid, parent, group)
    return found


def _ps(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["ps", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=5,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


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


def _is_the_job(job: Job, process: Process) -> bool:
    """Whether that process is still the job, and not a later one that was given its pid."""
    if job.born.isdecimal():
        return int(job.born) == process.ticks
    if job.born:
        return " ".join(_ps("-o", "lstart=", "-p", str(job.pid)).split()) == job.born
    return 0 < process.started <= job.written + _CLOCK_SLACK_S


def belonging(ident: str, folder: Path, groups: Collection[int]) -> set[int]:
    """The pids that belong to session `ident`, whose files are in `folder`.

    `groups`: pids of commands that this process started for it, each leading a group.
    Never this process itself, nor one it descends from.
    """
    processes = table()
    mark = f"{MARK}={ident}".encode()
    jobs = read_jobs(folder / "work")
    named = {j.pid for j in jobs}
    leaders = {j.pid for j in jobs if j.pid in processes and _is_the_job(j, processes[j.pid])}
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


def _carries(pid: int, mark: bytes) -> bool:
    try:
        return mark in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _sits_in(pid: int, folder: Path) -> bool:
    try:
        return (_PROC / str(pid) / "cwd").readlink().is_relative_to(folder.resolve())
    except OSError:
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
    started = time.monotonic()
    told: set[int] = set()
    wait = 0.01
    while alive := await asyncio.to_thread(belonging, ident, folder, groups):
        elapsed = time.monotonic() - started
        if elapsed > 2 * grace_s:
            return alive
        if elapsed > grace_s:
            _signal(alive, signal.SIGKILL)
        else:
            # Each is told once: a second TERM may cut a server's orderly end short.
            _signal(alive - told, signal.SIGTERM)
            told |= alive
        await asyncio.sleep(wait)
        wait = min(wait * 1.5, 0.2)
    return set()


def _signal(pids: Collection[int], which: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, which)
