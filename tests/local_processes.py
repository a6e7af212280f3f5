"""Processes of this computer, as tests look for them. Zombies count as ended."""

from __future__ import annotations

import psutil

_ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in _ENDED
    except psutil.NoSuchProcess:
        return False


def processes_naming(text: str) -> list[str]:
    """Command lines of the other living processes that contain `text`."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if text in line and process.info["status"] not in _ENDED and process != psutil.Process():
            found.append(line)
    return found


def processes_carrying(text: str) -> list[int]:
    """Pids of the living processes that have `text` in a value of their environment."""
    return [
        process.pid
        for process in psutil.process_iter(["environ", "status"])
        if process.info["status"] not in _ENDED
        and any(text in value for value in (process.info["environ"] or {}).values())
    ]
