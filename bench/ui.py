"""How quick the terminal UI is, on a pseudo-terminal of 120x40, beside others in the same run.

    python bench/ui.py --out ui.json                    # everything, about five minutes
    python bench/ui.py --only start --runs 3
    python bench/ui.py --only flood --seconds 20
    python bench/ui.py --peers /tmp/peers --out ui.json # installs posting, harlequin, toolong there

start: milliseconds from the start of the process to its first frame (the alternate screen, and half
a screen of cells on it), runs taken in turns; `--version` and `--help` to the end of the process.
offers: 10 000 on the simulated market; key to repaint of a filter key and of a cursor key.
flood: 50 000 log lines a second; key to repaint of the pause key, memory over idle. The lines come
from within the process: reading them over SSH is another matter.

"Repaint" is the arrival of the bytes that show the key's effect, at the other end of the terminal.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import platform
import pty
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROWS, COLUMNS = 40, 120
ALTERNATE = b"\x1b[?1049h"
ESCAPE = re.compile(rb"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[\[(][0-?]*[ -/]*[@-~]|\x1b[=>78]")
COUNT = re.compile(rb"/\d+")
HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
EMPTY = "from textual.app import App\nApp().run()\n"
PEERS = {
    "posting": ["posting"],
    "harlequin": ["harlequin", "--no-download-tzdata"],
    "toolong": ["tl", __file__],
}
NEEDS = {"posting": ["tree-sitter<0.26"]}
"""With a newer one it ends with a segmentation fault before its first frame."""


class Terminal:
    """A program on a pseudo-terminal, and everything that it has written."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.began = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, env)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.output = bytearray()

    def until(self, done: Callable[[bytes], bool], limit: float = 60.0) -> float:
        """Seconds until what is written from now on satisfies `done`."""
        start, since = time.perf_counter(), len(self.output)
        while not done(bytes(self.output[since:])):
            left = start + limit - time.perf_counter()
            if left <= 0 or not self.read(left):
                raise TimeoutError(bytes(self.output[-2000:]))
        return time.perf_counter() - start

    def read(self, limit: float) -> bool:
        """Whether anything came within `limit` seconds."""
        if not select.select([self.fd], [], [], limit)[0]:
            return False
        try:
            data = os.read(self.fd, 1 << 16)
        except OSError:
            data = b""
        self.output += data
        return bool(data)

    def quiet(self, seconds: float) -> None:
        """Read on until nothing has come for so long."""
        while self.read(seconds):
            pass

    def drain(self, seconds: float) -> None:
        """Read on for so long."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self.read(left)

    def key(self, keys: bytes, done: Callable[[bytes], bool]) -> float:
        """Milliseconds from writing a key to what it is to show."""
        while self.read(0):
            pass
        os.write(self.fd, keys)
        return self.until(done) * 1000

    def memory_mb(self) -> float:
        """Resident memory now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found is not None
        return int(found[1]) / 1024

    def close(self) -> None:
        """End it, politely at first."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            end = time.perf_counter() + 10
            while time.perf_counter() < end:
                self.read(0.05)
                if os.waitpid(self.pid, os.WNOHANG)[0]:
                    os.close(self.fd)
                    return


@contextmanager
def terminal(command: list[str], **more: str) -> Iterator[Terminal]:
    """A program in a home of its own, so that nothing of the user's is read or written."""
    with tempfile.TemporaryDirectory() as home:
        env = {
            "PATH": os.environ["PATH"], "HOME": home, "TERM": "xterm-256color",
            "COLORTERM": "truecolor", "LANG": "C.UTF-8", "GDL_DATA_DIR": f"{home}/data",
            "GDL_SHOPPER_URL": "http://127.0.0.1:9", "XDG_CONFIG_HOME": f"{home}/config", **more,
        }  # fmt: skip
        running = Terminal(command, env)
        try:
            yield running
        finally:
            running.close()


def shown(output: bytes) -> bytes:
    """The cells that were written, without what moves and colours them."""
    return ESCAPE.sub(b"", output)


def painted(output: bytes) -> bool:
    """The alternate screen, and half a screen of cells on it."""
    _before, entered, after = output.partition(ALTERNATE)
    return bool(entered) and len(shown(after)) > ROWS * COLUMNS // 2


def quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)

    def at(share: float) -> float:
        return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 1)

    return {"p50": at(0.5), "p99": at(0.99), "max": round(ordered[-1], 1), "n": len(ordered)}


# What is measured


def start(runs: int, peers: dict[str, list[str]]) -> dict[str, object]:
    programs = {
        "empty Textual app": [sys.executable, "-c", EMPTY],
        "gdl-tui": [str(BIN / "gdl-tui")],
        "gdl-tui demo": [str(BIN / "gdl-tui"), "demo"],
        "gdl-tui --backend local": [str(BIN / "gdl-tui"), "--backend", "local"],
        **peers,
    }
    taken: dict[str, list[float]] = {name: [] for name in programs}
    listed: dict[str, list[float]] = {name: [] for name in programs if name.startswith("gdl-tui ")}
    for _ in range(runs):
        for name, command in programs.items():
            with terminal(command) as running:
                running.until(painted)
                taken[name].append((time.perf_counter() - running.began) * 1000)
                if name in listed:
                    # From the start of the process, too: the count of offers on the screen.
                    running.until(lambda _: COUNT.search(shown(bytes(running.output))) is not None)
                    listed[name].append((time.perf_counter() - running.began) * 1000)
    medians = {name: round(statistics.median(values), 1) for name, values in taken.items()}
    for option in ("--version", "--help"):
        times = []
        for _ in range(runs):
            began = time.perf_counter()
            subprocess.run([str(BIN / "gdl-tui"), option], capture_output=True, check=True)
            times.append((time.perf_counter() - began) * 1000)
        medians[option] = round(statistics.median(times), 1)
    empty = medians["empty Textual app"]
    offers_ms = {name: round(statistics.median(values), 1) for name, values in listed.items()}
    return {
        "first_paint_ms": medians,
        "first_offers_ms": offers_ms,
        "paint_to_empty": {name: round(medians[name] / empty, 2) for name in programs},
        "offers_to_empty": {name: round(value / empty, 2) for name, value in offers_ms.items()},
    }


def offers(rounds: int, count: int = 10_000) -> dict[str, object]:
    listed = f"/{count}".encode()
    filtering, moving = [], []
    command = [str(BIN / "gdl-tui"), "demo", "--offers", str(count), "--scenario", "calm"]
    with terminal(command) as running:
        running.until(painted)
        painted_at = time.perf_counter()
        running.until(lambda output: listed in shown(output))
        seen_at = time.perf_counter()
        running.quiet(0.5)
        for _ in range(rounds):
            os.write(running.fd, b"/")
            running.quiet(0.3)
            # Each of these changes how many are shown, so that the count is painted.
            for letter in (b"4", b"\x7f", b"h", b"\x7f", b"8", b"\x7f"):
                filtering.append(running.key(letter, lambda output: listed in shown(output)))
                running.quiet(0.05)
            os.write(running.fd, b"\x1b")
            running.quiet(0.3)
            os.write(running.fd, b"g")  # the cursor stays on its offer, which may be the last one
            running.quiet(0.3)
            for _ in range(20):
                moving.append(running.key(b"j", lambda output: len(shown(output)) >= COLUMNS))
                running.quiet(0.02)
    return {
        "offers": count,
        "start_to_first_frame_ms": round((painted_at - running.began) * 1000, 1),
        "start_to_offers_ms": round((seen_at - running.began) * 1000, 1),
        "filter_key_ms": quantiles(filtering),
        "cursor_key_ms": quantiles(moving),
    }


def flood(seconds: float, rate: int) -> dict[str, object]:
    command = [sys.executable, str(HERE / "ui_flood.py"), str(rate)]
    pauses, most = [], 0.0
    with terminal(command) as running:
        running.until(lambda output: b"Install" in shown(output))
        running.drain(2.0)
        idle = running.memory_mb()
        os.write(running.fd, b"!")  # the flood begins
        running.until(lambda output: b"following" in shown(output))
        running.drain(1.0)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pauses.append(running.key(b" ", lambda output: b"End follows" in shown(output)))
            running.drain(0.15)
            pauses.append(running.key(b" ", lambda output: b"following" in shown(output)))
            running.drain(0.15)
            most = max(most, running.memory_mb())
        os.write(running.fd, b"!")  # and ends, and tells how many lines there were
        running.until(lambda output: b"flooded" in shown(output))
        told = re.findall(rb"flooded ([\d,]+) lines in ([\d.]+) s", shown(bytes(running.output)))
    lines, took = int(told[-1][0].replace(b",", b"")), float(told[-1][1])
    return {
        "lines_per_s_wanted": rate,
        "lines_per_s_shown": round(lines / took),
        "key_ms": quantiles(pauses),
        "idle_mb": round(idle, 1),
        "over_idle_mb": round(most - idle, 1),
    }


def install(folder: Path) -> dict[str, list[str]]:
    """The peers that can be had, each in an environment of its own."""
    found = {}
    for name, (program, *arguments) in PEERS.items():
        home = folder / name
        if not (home / "bin" / program).exists():
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            done = subprocess.run(
                [home / "bin" / "pip", "install", "-q", name, *NEEDS.get(name, ())], check=False
            )
            if done.returncode != 0:
                continue
        found[name] = [str(home / "bin" / program), *arguments]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("start", "offers", "flood"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the flood")
    parser.add_argument("--rate", type=int, default=50_000, help="lines a second")
    parser.add_argument("--peers", type=Path, help="install and measure other programs there")
    parser.add_argument("--out", type=Path)
    wish = parser.parse_args()
    found: dict[str, object] = {
        "machine": f"{os.cpu_count()} cores, {platform.platform()}, Python "
        f"{platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    }
    parts: dict[str, Callable[[], dict[str, object]]] = {
        "start": lambda: start(wish.runs, install(wish.peers) if wish.peers else {}),
        "offers": lambda: offers(wish.runs * 2),
        "flood": lambda: flood(wish.seconds, wish.rate),
    }
    for name, measure in parts.items():
        if wish.only in (None, name):
            found[name] = measure()
            print(json.dumps({name: found[name]}, indent=2), flush=True)
    if wish.out:
        wish.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
