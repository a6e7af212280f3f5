"""What an hour of serving costs the terminal UI: memory and processor time, while the health screen
shows a live endpoint. On the simulated market, which runs as processes of its own.

    python bench/ui_serving.py --seconds 3600 --out serving.json

Prints a line a minute. `cpu_percent` is of one core and of the UI's process alone; memory is what
is resident after `--settle` seconds of serving, at the end, and the most between.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from ui import BIN, Terminal, painted, shown, terminal

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def busy_s(pid: int) -> float:
    """Processor seconds so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def shows(text: bytes) -> Callable[[bytes], bool]:
    """Whether it is written, to be waited for."""
    return lambda output: text in shown(output)


def to_serving(running: Terminal) -> None:
    """By the keyboard from the first frame to the health screen of a serving machine."""
    running.until(painted)
    running.until(shows(b"60/60"))
    running.quiet(0.5)
    for keys, answer in (
        (b"\r", b"Which model?"),
        (b"tinyllama", b"1.1 B"),
        (b"\r", b"Deploy this model"),
        (b"y", b"Its key is in"),
    ):
        os.write(running.fd, keys)
        running.until(shows(answer), limit=300)
    os.write(running.fd, b"3")
    running.until(shows(b"passed"))


def watch(running: Terminal, seconds: float, settle: float) -> dict[str, float]:
    running.drain(settle)
    running.output.clear()
    first = most = running.memory_mb()
    began, busy = time.monotonic(), busy_s(running.pid)
    while (gone := time.monotonic() - began) < seconds:
        running.drain(min(60.0, seconds - gone))
        running.output.clear()
        now = running.memory_mb()
        most = max(most, now)
        took = time.monotonic() - began
        percent = 100 * (busy_s(running.pid) - busy) / took
        print(f"{took:.0f} s: {now:.1f} MB, {percent:.2f} % of a core", flush=True)
    return {
        "seconds": round(took),
        "cpu_percent": round(percent, 2),
        "memory_first_mb": round(first, 1),
        "memory_last_mb": round(now, 1),
        "memory_most_mb": round(most, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--settle", type=float, default=120.0, help="before the first look")
    parser.add_argument("--out", type=Path)
    wish = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as home:
        market = subprocess.Popen(
            [BIN / "gdl-tui", "sandbox", "--port", "0", "--scenario", "calm", "--speed", "20"],
            env={**os.environ, "GDL_DATA_DIR": home, "XDG_CONFIG_HOME": home},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert market.stdout is not None
            told = re.search(r"http://\S+", market.stdout.readline())
            assert told is not None
            command = [str(BIN / "gdl-tui"), "--backend", "sandbox"]
            with terminal(command, GDL_SANDBOX__URL=told[0], GDL_HOURS="3") as running:
                to_serving(running)
                found = watch(running, wish.seconds, wish.settle)
        finally:
            market.send_signal(signal.SIGINT)
            market.wait(30)
    print(json.dumps(found, indent=2))
    if wish.out:
        wish.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
