"""A program on a terminal that goes away: started, used for a while, and closed in one of the ways
in which terminals are closed. What is left of it is found by a mark in its environment.

As a program (`python closed_terminals.py ROUNDS [SEED]`) it closes that many and says what stayed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import random
import select
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MARK = "GDL_TEST_CLOSED_TERMINAL"
LIMIT_S = 5.0

WAYS = (
    "closed",  # the terminal's other end is closed: the kernel sends SIGHUP
    "closed under a shell",  # which has the terminal, and may not pass the signal on
    "shell killed",  # and then the terminal closed
    "closed unheard",  # SIGHUP is ignored, as under nohup
    "stalled",  # nobody reads any more, and SIGTERM comes
    "hung up",  # SIGHUP alone, then closed
)
UI_KEYS = ("\r", "tinyllama\r", "y", "?", "\x1b", "4", "5", "2", "q", "d", "m", "t", "s", "hello\r")


@dataclass
class Closing:
    """One program and its terminal. leader: the process that has the terminal; the program, or a
    shell before it."""

    folder: Path
    command: Sequence[str]
    way: str
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    screen: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self._near, far = pty.openpty()
        termios.tcsetwinsize(far, (24, 80))
        command = list(self.command)
        if "shell" in self.way:
            words = " ".join(f"'{word}'" for word in command)
            command = ["/bin/sh", "-c", f"{words}; exit 0"]
        ignore = self.way == "closed unheard"

        def take() -> None:
            os.setsid()
            fcntl.ioctl(far, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGHUP, signal.SIG_IGN if ignore else signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        self.leader = subprocess.Popen(
            command,
            stdin=far,
            stdout=far,
            stderr=far,
            preexec_fn=take,
            env={
                **os.environ,
                "GDL_DATA_DIR": str(self.folder / "data"),
                "XDG_CONFIG_HOME": str(self.folder / "config"),
                "HOME": str(self.folder),
                "TERM": "xterm-256color",
                MARK: self.mark,
            },
        )
        os.close(far)
        self._reads = True
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while self._reads:
            with contextlib.suppress(OSError, ValueError):
                if select.select([self._near], [], [], 0.05)[0]:
                    self.screen += os.read(self._near, 65536)
                    continue
            time.sleep(0.02)

    def type(self, keys: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._near, keys.encode())

    def shows(self, words: str) -> bool:
        return words.encode() in self.screen

    def close(self) -> None:
        """As the way says."""
        self._reads = False
        self._reader.join()
        if self.way == "stalled":
            time.sleep(1.0)
            self.leader.terminate()
            return  # the terminal stays, unread
        if self.way == "shell killed":
            self.leader.kill()
        if self.way == "hung up":
            self.leader.send_signal(signal.SIGHUP)
            time.sleep(0.1)
        os.close(self._near)
        self._near = -1

    def left(self) -> dict[int, str]:
        """The processes that still are: their commands by pid."""
        self.leader.poll()
        mark, found = f"{MARK}={self.mark}".encode(), {}
        for place in Path("/proc").iterdir():
            if not place.name.isdecimal():
                continue
            with contextlib.suppress(OSError):
                if mark in (place / "environ").read_bytes():
                    words = (place / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(place.name)] = words.decode(errors="replace")[:120]
        return found

    def ends_within(self, limit_s: float) -> bool:
        """In seconds without those in which one of its threads could have run and a busy computer
        did not let it."""
        began = time.monotonic()
        before = self._waited()
        kept_waiting = 0.0
        while time.monotonic() - began < limit_s + kept_waiting:
            if not self.left():
                return True
            now = self._waited()
            delays = [now[each] - before.get(each, 0.0) for each in now]
            kept_waiting = max([kept_waiting, *delays])
            time.sleep(0.1)
        return False

    def _waited(self) -> dict[str, float]:
        """Seconds that each thread has waited for a processor."""
        found = {}
        for pid in self.left():
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    with contextlib.suppress(OSError):
                        told = (task / "schedstat").read_text().split()
                        found[task.name] = int(told[1]) / 1e9
        return found

    def remove(self) -> None:
        """Whatever is left, killed."""
        self._reads = False
        for pid in self.left():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.leader.wait(10)
        if self._near >= 0:
            os.close(self._near)


@contextlib.contextmanager
def closing(folder: Path, command: Sequence[str], way: str) -> Iterator[Closing]:
    made = Closing(folder, command, way)
    try:
        yield made
    finally:
        made.remove()


def random_round(chance: random.Random, folder: Path, report: list[str]) -> tuple[bool, float]:
    """One closing at a moment and in a way left to chance; whether all ended in time, and after how
    many seconds."""
    way = chance.choice(WAYS)
    # What nohup started is to go on, where it needs no terminal.
    ui = way == "closed unheard" or chance.random() < 0.75
    program = [sys.executable, "-m", "gdl"]
    if ui:
        program.append("demo")
    else:
        program += ["--backend", "sandbox", "deploy", "tinyllama", "--scenario", "calm"]
    delay = chance.choice((chance.uniform(0, 2), chance.uniform(0, 6), chance.uniform(2, 30)))
    did = ""
    with closing(folder, program, way) as made:
        end = time.monotonic() + delay
        known = 0
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, chance.uniform(0.2, 0.8)))
            if ui:
                # First what leads to a deployment, then anything.
                key = UI_KEYS[known] if known < 3 else chance.choice(UI_KEYS)
                ready = (b"RTX", b"Which model", b"Deploy this")
                if known < 3 and ready[known] not in made.screen:
                    continue
                made.screen.clear()
                known += 1
                made.type(key)
                did += repr(key)
            elif chance.random() < 0.05:
                did += "^C"
                made.type("\x03")
                time.sleep(0.3)
                made.type(chance.choice(("n\n", "y\n", "c\n", "")))
        began = time.monotonic()
        made.close()
        good = made.ends_within(LIMIT_S)
        lasted = time.monotonic() - began
        if not good:
            left_now = made.left()
            report.append(f"{way}, {'ui' if ui else 'deploy'}, {delay:.1f} s, {did}: {left_now}")
            for pid in left_now:
                told = subprocess.run(
                    [str(Path(sys.executable).with_name("py-spy")), "dump", "--pid", str(pid)],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                report.append(told.stdout[:3000])
    return good, lasted


def main() -> None:
    rounds = int(sys.argv[1])
    chance = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    stayed, longest, report = 0, 0.0, list[str]()
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="gdl-closed-", ignore_cleanup_errors=True) as name:
            good, lasted = random_round(chance, Path(name), report)
        stayed += not good
        longest = max(longest, lasted)
        print(number, good, f"{lasted:.1f} s", *report, sep="\n  " if report else " ", flush=True)
        report.clear()
    print(
        f"{rounds} closings, {stayed} left something after {LIMIT_S:g} s, longest {longest:.1f} s"
    )


if __name__ == "__main__":
    main()
