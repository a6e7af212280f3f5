"""Rounds of a soak: deployments with all kinds of trouble, and what must hold after each.

A round has a market and a data folder of its own, and follows from its seed as far as chance is
ours: when a process is scheduled is not. What is true is what the market's own books say.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import soak_processes as processes
from local_ports import free_port
from soak_processes import SPEED, Trouble

HANG_S = 60.0
_KILLED, _KILLED_AFTER_S = 0.4, (0.02, 1.5)
_KILLED_AT_WRITE = 0.5
"""The share of programs that are killed, and when: after a time, and at a write to the journal."""
_SLOWER = 8
"""What happens at random happens so much later with machines that are real processes."""
_SEEN = ("active", "requested", "unknown")
_UNCERTAIN = ("rent_uncertain", "release_uncertain")
_CAME_OF_IT = ("rented", "rent_uncertain")
_KEY_ON_DISK = "its key is on disk"


@dataclass
class Tally:
    """violations: a sentence each, with the seed of its round."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


@dataclass
class _Program:
    pid: int
    number: int
    end: Path
    killed: bool = False


class Round:
    """real: on simulated machines with SSH, shell and processes, which takes more time."""

    def __init__(self, seed: int, folder: Path, tally: Tally, *, real: bool = False) -> None:
        self._real = real
        self._seed = seed
        self._chance = random.Random(seed)
        self._folder = folder
        self._data = folder / "data"
        self._data.mkdir()
        self._books_file = folder / "books.json"
        self._log = folder / "output.txt"
        self._tally = tally
        self._port = free_port()
        self._url = f"http://127.0.0.1:{self._port}"
        self._market = 0
        self._markets = 0
        self._number = 0
        self._ends: list[Path] = []
        self._told: set[Path] = set()

    def play(self) -> None:
        self._open_market()
        try:
            steps = self._chance.randint(2, 4)
            for step in range(steps):
                self._step()
                self._check(ends=step == steps - 1 or self._chance.random() < 0.3)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._market, signal.SIGTERM)
            if processes.over(self._market, 20) is None:
                self._wrong("the market does not end")
                self._end(self._market)
            for pid, line in _left_in(self._folder).items():
                self._wrong(f"process {pid} of a machine is left: {line}")
        with contextlib.suppress(ChildProcessError):
            self._wrong(f"a process is left: {os.waitpid(-1, os.WNOHANG)}")

    def _wrong(self, what: str) -> None:
        self._tally.violations.append(f"seed {self._seed}: {what}")

    # -- the market ------------------------------------------------------------------------------

    def _open_market(self) -> None:
        seed, port = self._seed * 10 + self._markets, self._port
        folder, books = self._folder / "markets", self._books_file
        self._markets += 1
        self._market = processes.fork(
            lambda: processes.market(seed, folder, port, books, real=self._real), self._log
        )
        for _ in range(1000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.01)
        raise RuntimeError("the market does not start")

    def _books(self) -> list[dict[str, Any]]:
        self._books_file.unlink(missing_ok=True)
        os.kill(self._market, signal.SIGUSR1)
        for _ in range(1000):
            if self._books_file.exists():
                rows: list[dict[str, Any]] = json.loads(self._books_file.read_text())
                return rows
            time.sleep(0.01)
        raise RuntimeError("the market does not tell its books")

    # -- trouble -----------------------------------------------------------------------------------

    def _step(self) -> None:
        """One or two programs deploy; what happens to them meanwhile happens at random times."""
        chance, counts = self._chance, self._tally.counts
        programs = [self._deploy() for _ in range(2 if chance.random() < 0.3 else 1)]
        slower = _SLOWER if self._real else 1
        counts["two at once"] += len(programs) == 2
        acts: list[tuple[float, Callable[[], None]]] = []
        acts += [
            (chance.uniform(*_KILLED_AFTER_S) * slower, partial(self._kill, each))
            for each in programs
            if chance.random() < _KILLED
        ]
        if chance.random() < 0.2:
            acts.append((chance.uniform(0, 0.8) * slower, self._cut))
        if chance.random() < 0.04:
            acts.append((chance.uniform(0.1, 0.8) * slower, self._kill_market))
        if self._real and chance.random() < 0.3:
            acts.append((chance.uniform(1, 8), self._end_ssh))
        other = 0
        if chance.random() < 0.15:
            acts.append((chance.uniform(0.1, 1.0), lambda: others.append(self._settle(ends=True))))
        others: list[tuple[int, Path]] = []
        begun = time.monotonic()
        for at, act in sorted(acts, key=lambda each: each[0]):
            time.sleep(max(begun + at - time.monotonic(), 0))
            act()
        for each in programs:
            self._ended(each.pid, f"deployment {each.number}", killed=each.killed)
        for other, _ in others:
            counts["destroyed beside"] += 1
            self._ended(other, "a destroy beside a deployment")

    def _deploy(self) -> _Program:
        chance, counts = self._chance, self._tally.counts
        self._number += 1
        skew, full = 0.0, None
        if chance.random() < 0.2:
            skew = chance.choice((-18_000.0, -1_800.0, -90.0, 90.0, 1_800.0, 18_000.0))
        if chance.random() < 0.12:
            full = chance.uniform(0, 1.0)
        most = chance.choice((0, 0, 100_000, 200_000))
        at_write = chance.randint(1, 60) if chance.random() < _KILLED_AT_WRITE else 0
        trouble = Trouble(skew, full, most, at_write, chance.random() < 0.5)
        counts["deployments"] += 1
        counts["clock jumps"] += bool(skew)
        counts["disks full"] += full is not None
        seed, end = chance.randrange(2**31), self._folder / f"end-{self._number}.json"
        resume = chance.random() < 0.4
        self._ends.append(end)
        pid = processes.fork(
            lambda: processes.deploy(
                self._data, self._url, seed, trouble, end, resume=resume, real=self._real
            ),
            self._log,
        )
        return _Program(pid, self._number, end)

    def _kill(self, each: _Program) -> None:
        found, status = os.waitpid(each.pid, os.WNOHANG)
        if found:
            each.pid = 0
            if status == signal.SIGKILL:
                self._tally.counts["kills of programs"] += 1
            elif status:
                self._wrong(f"deployment {each.number} ended with status {status}")
            return
        os.kill(each.pid, signal.SIGKILL)
        each.killed = True
        self._tally.counts["kills of programs"] += 1

    def _cut(self) -> None:
        with processes.stopped(self._market):
            time.sleep(self._chance.uniform(1, 120) / SPEED)
        self._tally.counts["cuts"] += 1

    def _end_ssh(self) -> None:
        os.kill(self._market, signal.SIGUSR2)
        self._tally.counts["ends of sshd"] += 1

    def _kill_market(self) -> None:
        """With it go its machines: they run in it."""
        os.kill(self._market, signal.SIGKILL)
        os.waitpid(self._market, 0)
        self._tally.counts["kills of services"] += 1
        time.sleep(self._chance.uniform(0, 0.3))
        self._open_market()

    def _settle(self, *, ends: bool) -> tuple[int, Path]:
        self._number += 1
        told = self._folder / f"told-{self._number}.json"
        pid = processes.fork(
            lambda: processes.settle(
                self._data, self._url, self._seed, told, ends=ends, real=self._real
            ),
            self._log,
        )
        return pid, told

    def _ended(self, pid: int, what: str, *, killed: bool = False) -> None:
        if not pid:
            return
        status = processes.over(pid, HANG_S * (_SLOWER if self._real else 1))
        if status is None:
            self._wrong(f"{what} hangs")
            self._end(pid)
        elif status == signal.SIGKILL:
            self._tally.counts["kills of programs"] += not killed
        elif status:
            self._wrong(f"{what} ended with status {status}")

    def _end(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    # -- what must hold ----------------------------------------------------------------------------

    def _check(self, *, ends: bool) -> None:
        # Machines that a marketplace is still making appear first.
        time.sleep(35 / SPEED)
        before = {row["id"] for row in self._books() if row["rented"]}
        pid, told = self._settle(ends=ends)
        self._ended(pid, "the next start")
        if not told.exists():
            return
        books = {row["id"]: row for row in self._books()}
        running = {ident for ident in before if books.get(ident, {}).get("rented")}
        lists = json.loads(told.read_text())["lists"]
        self._tally.counts["checks"] += 1
        self._tally.counts["machines found"] += len(before)
        self._tally.counts["machines in doubt at the end"] += len(running) if ends else 0
        for rows in lists:
            self._listed({row["id"]: row["billing"] for row in rows}, running)
        journal = _Journaled(self._data / "journal.sqlite")
        self._journaled(journal, running)
        self._once(journal, books)
        self._said(journal, running)

    def _listed(self, told: dict[str, str], running: set[str]) -> None:
        for ident in running:
            billing = told.get(ident, "not listed")
            if billing not in _SEEN:
                self._wrong(f"{ident} runs, and is {billing}")

    def _journaled(self, journal: _Journaled, running: set[str]) -> None:
        for rental in journal.rentals:
            ident, kinds = rental["session_id"], journal.kinds(rental["intent_id"])
            if rental["deployment_id"] and "requested" not in kinds:
                self._wrong(f"the ledger does not tell who asked for {ident}")
            # What a full disk did not take is not there.
            full = self._tally.counts["disks full"]
            if ident and rental["deployment_id"] and not full and not {*kinds} & {*_CAME_OF_IT}:
                self._wrong(f"the ledger does not tell that {ident} was rented: {kinds}")
            if ident not in running:
                continue
            if rental["billing"] not in _SEEN:
                self._wrong(f"{ident} runs, and the journal says {rental['billing']}")
            has_key = any(_KEY_ON_DISK in e["evidence"] for e in journal.entries_of(ident))
            if has_key and not (rental["key_file"] and Path(rental["key_file"]).is_file()):
                self._wrong(f"the key of {ident} is lost")

    def _once(self, journal: _Journaled, books: dict[str, dict[str, Any]]) -> None:
        """No deployment has two machines at a time, unless it could not prove the first one's
        end."""
        by_deployment: dict[str, set[str]] = {}
        for entry in journal.entries:
            if entry["session_id"] in books and entry["deployment_id"]:
                by_deployment.setdefault(entry["deployment_id"], set()).add(entry["session_id"])
        for deployment, idents in by_deployment.items():
            made = sorted((b for b in map(books.get, idents) if b and b["made"]), key=_created)
            for first, second in itertools.combinations(made, 2):
                doubted = {e["kind"] for e in journal.entries_of(first["id"])} & {*_UNCERTAIN}
                overlap = first["ended"] is None or first["ended"] > second["created"]
                if overlap and not doubted:
                    self._wrong(f"{deployment} has {first['id']} and {second['id']} at a time")

    def _said(self, journal: _Journaled, running: set[str]) -> None:
        """What the programs themselves said at their end."""
        for path in self._ends:
            end = json.loads(path.read_text()) if path.exists() else {}
            self._tally.counts["resumed to an end"] += path not in self._told and end.get(
                "resumed", 0
            )
            self._told.add(path)
            if "internal error" in end.get("error", ""):
                self._wrong(f"{end['error']}")
            if end.get("billing") not in ("none", "released"):
                continue
            theirs = {
                e["session_id"] for e in journal.entries if e["deployment_id"] == end["deployment"]
            }
            for ident in theirs & running:
                self._wrong(f"{end['deployment']} said {end['billing']}, and {ident} runs")


class _Journaled:
    """The journal as it lies on the disk."""

    def __init__(self, path: Path) -> None:
        database = sqlite3.connect(path)
        database.row_factory = sqlite3.Row
        try:
            self.rentals = database.execute("SELECT * FROM rentals").fetchall()
            self.entries = database.execute("SELECT * FROM ledger ORDER BY id").fetchall()
        finally:
            database.close()

    def kinds(self, intent_id: str) -> list[str]:
        return [e["kind"] for e in self.entries if e["intent_id"] == intent_id]

    def entries_of(self, session_id: str) -> list[sqlite3.Row]:
        return [e for e in self.entries if e["session_id"] == session_id]


def _left_in(folder: Path) -> dict[int, str]:
    """Processes that work in a folder or were started from it, and their command lines; those
    that were killed just now have a moment to go, which a busy machine needs."""
    deadline = time.monotonic() + 5.0
    while (found := _processes_in(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _processes_in(folder: Path) -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                if str(folder) in line or str(folder) in os.readlink(entry / "cwd"):
                    found[int(entry.name)] = line.replace("\0", " ")[:200]
    return found


def _created(row: dict[str, Any]) -> float:
    created: float = row["created"]
    return created
