"""Processes of this computer: known again by id and start, and found by what they carry."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gdl.sshd import processes


def test_a_process_is_known_again_by_its_start() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        ticks = processes.start_ticks(child.pid)
        assert processes.started_at(child.pid, ticks)
        # Another process that had this id, an hour ago.
        hour = 3600 * os.sysconf("SC_CLK_TCK")
        assert not processes.started_at(child.pid, ticks - hour)
        entry = processes.table()[child.pid]
        assert entry.parent == os.getpid()
    finally:
        child.kill()
        child.wait()
    assert not processes.started_at(child.pid, ticks)
    assert processes.start_ticks(child.pid) == 0
    assert child.pid not in processes.table()


@pytest.mark.skipif(sys.platform != "linux", reason="the shell reads starts from /proc")
def test_starts_are_what_the_shell_reads_of_them() -> None:
    # The field that ssh/job_scripts.py writes into a job's folder.
    script = 'cut -d" " -f22 /proc/$$/stat; read -r _'
    child = subprocess.Popen(
        ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        told = int(child.stdout.readline())
        assert processes.start_ticks(child.pid) == told
        child.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="an empty variable needs an own environment")
def test_the_mark_is_found_behind_an_empty_entry(tmp_path: Path) -> None:
    # As in a process that wrote its title over the start of its environment.
    entries = f'["A=1", "", "{processes.MARK}=us"]'
    code = (
        "import ctypes, json, sys\n"
        f"texts = {entries}\n"
        "argv = (ctypes.c_char_p * 3)(b'sleep', b'60', None)\n"
        "env = (ctypes.c_char_p * 4)(*(text.encode() for text in texts), None)\n"
        "ctypes.CDLL(None).execve(sys.argv[1].encode(), argv, env)\n"
    )
    sleep = subprocess.run(["sh", "-c", "command -v sleep"], capture_output=True, text=True)
    child = subprocess.Popen([sys.executable, "-c", code, sleep.stdout.strip()])
    try:
        found: set[int] = set()
        while child.pid not in found and child.poll() is None:
            found = processes.belonging("us", tmp_path, ())
        assert child.pid in found
        assert child.pid not in processes.belonging("other", tmp_path, ())
    finally:
        child.kill()
        child.wait()


def test_this_process_is_never_among_them(tmp_path: Path) -> None:
    assert os.getpid() not in processes.belonging("us", tmp_path, {os.getpgid(0), os.getsid(0)})


async def test_nothing_is_said_to_survive_that_was_never_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy computer a look at its processes may take longer than both times of grace."""
    script = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    child = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"up\n"

    def slow(*_: object) -> set[int]:
        time.sleep(0.1)
        return {child.pid} if child.poll() is None else set()

    monkeypatch.setattr(processes, "belonging", slow)
    try:
        assert await processes.end("s", tmp_path, (), 0.02) == set()
        assert child.returncode == -signal.SIGKILL
    finally:
        child.kill()
        child.communicate()
