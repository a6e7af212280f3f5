"""Failures made on real programs: run one until it ends, and ask the program what its log says.

    told = run_out([python, "-m", "pip", "install", "no-such"], folder)
    told.says("no-such-package", cause="no-such", remedy="name")

GDL_TEST_KEEP_LOGS names a folder that is given a copy of every log.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import diagnosis_support
from gdl.diagnosis.rule_engine import Scanner, explain
from gdl.domain.serialization import to_plain

GDL = Path(sys.executable).parent / "gdl-tui"
_CHILDREN_S = 20
_FORBIDDEN = re.compile(r"traceback|\{\w+\}", re.IGNORECASE)
"""What no answer may hold: a name that was not filled in, a program's own inside."""


@dataclass(frozen=True)
class Told:
    """The diagnosis of a log. status: of the process that wrote it."""

    log: Path
    status: int
    rule: str
    cause: str
    remedy: str
    action: dict[str, Any]
    confidence: str
    known: bool

    def says(self, *rules: str, cause: str = "", remedy: str = "", action: str = "") -> None:
        """Assert one of the rules, words of cause and remedy (regular expressions), and what the
        remedy does (its kind)."""
        shown = f"{self.rule}: {self.cause} | {self.remedy} | {self.action}\n{self.tail()}"
        assert self.rule in rules, shown
        assert self.known and self.confidence != "low", shown
        assert re.search(cause, self.cause, re.IGNORECASE), shown
        assert re.search(remedy, self.remedy, re.IGNORECASE), shown
        assert not _FORBIDDEN.search(f"{self.cause} {self.remedy}"), shown
        assert action in ("", self.action["kind"]), shown

    def tail(self) -> str:
        return f"status {self.status}\n" + self.log.read_text(errors="replace")[-6000:]


def told(log: Path, status: int) -> Told:
    """What `gdl-tui diagnose LOG` says. Where a signal ended it, which no file tells, what a
    deployment would say, that knows the status."""
    if folder := os.environ.get("GDL_TEST_KEEP_LOGS"):
        name = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0]
        shutil.copy(log, Path(folder, f"{name}.{status}.log"))
    found = _killed(log, status) if status < 0 or status > 128 else _asked(log)
    names = ("rule", "cause", "remedy", "action", "confidence", "known")
    return Told(log, status, **{name: found[name] for name in names})


def _asked(log: Path) -> dict[str, Any]:
    place = {**os.environ, "GDL_DATA_DIR": str(log.parent / "gdl")}
    run = subprocess.run(
        [GDL, "diagnose", log, "--json"], capture_output=True, text=True, env=place, timeout=60
    )
    found: dict[str, Any] = json.loads(run.stdout)
    assert run.returncode == (0 if found["known"] else 1), run
    return found


def _killed(log: Path, status: int) -> dict[str, Any]:
    scanner = Scanner(diagnosis_support.ALL)
    scanner.feed(log.read_bytes())
    found = explain(scanner, status)
    return {"known": found.known, **to_plain(found)}


class Running:
    """A real program at work, whose output goes into a file."""

    def __init__(self, command: Sequence[str | Path], log: Path, env: Mapping[str, str]) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=log.parent,
                start_new_session=True,
            )

    def until(self, text: str, limit_s: float = 800) -> str:
        """Wait for a line that matches; the log so far."""
        end = time.monotonic() + limit_s
        while not re.search(text, said := self.log.read_text(errors="replace")):
            assert self.process.poll() is None, f"ended before {text!r}: {said[-4000:]}"
            assert time.monotonic() < end, f"no {text!r} in time: {said[-4000:]}"
            time.sleep(0.2)
        return said

    def ends(self, limit_s: float = 800) -> Told:
        return told(self.log, self.process.wait(limit_s))

    def so_far(self) -> Told:
        """Of a program that goes on."""
        return told(self.log, 0)

    def close(self) -> None:
        """End what is left of its group: its own children, by the group's id."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_CHILDREN_S)


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], folder: Path, env: Mapping[str, str] | None = None
) -> Iterator[Running]:
    program = Running(command, folder / "log", os.environ if env is None else env)
    try:
        yield program
    finally:
        program.close()


def run_out(
    command: Sequence[str | Path],
    folder: Path,
    env: Mapping[str, str] | None = None,
    limit_s: float = 800,
) -> Told:
    """Run it to its end, and ask what its log says."""
    with running(command, folder, env) as program:
        return program.ends(limit_s)


# -- places in which programs fail ----------------------------------------------------------------


def _inside(script: str, *flags: str) -> list[str | Path]:
    """A command's beginning: it runs in namespaces of its own, after a shell script."""
    made = ["unshare", *flags, "sh", "-ec", f'{script}\nexec "$@"', "sh"]
    if os.geteuid() or subprocess.run([*made, "true"], capture_output=True).returncode:
        pytest.skip("no namespace with these mounts can be made here")
    return list(made)


def on_small_disk(folder: Path, size: str) -> list[str | Path]:
    """The folder is a disk of that size (tmpfs), for the command alone."""
    folder.mkdir(exist_ok=True)
    return _inside(f"mount -t tmpfs -o size={size} tmpfs '{folder}'", "--mount")


def on_read_only(folder: Path) -> list[str | Path]:
    """The folder cannot be written to, not even by root."""
    script = f"mount --bind '{folder}' '{folder}'\nmount -o remount,bind,ro '{folder}'"
    return _inside(script, "--mount")


def without_network() -> list[str | Path]:
    """Loopback alone, and a name server that is not there."""
    script = (
        "ip link set lo up\n"
        "mount -t tmpfs tmpfs /mnt\n"
        "echo nameserver 127.0.0.53 > /mnt/resolv.conf\n"
        "echo options attempts:1 timeout:1 >> /mnt/resolv.conf\n"
        "mount --bind /mnt/resolv.conf /etc/resolv.conf"
    )
    return _inside(script, "--mount", "--net")
