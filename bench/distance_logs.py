"""Logs of a machine that is far away, beside `tail -F` and `cat` over OpenSSH: how late a new line
is, how long what is there already takes, and how far behind a flood leaves one.

    python bench/distance_logs.py                   # about six minutes; root, on Linux
    python bench/distance_logs.py --rtt 60 --rounds 9 --parts delay,catch-up

Both read over a connection that stands, in turns, from the same OpenSSH server behind the same line
(link.py); a round is one of each. What a line carries is the computer's own clock. Not in the
figures: making the connection, and what the terminal UI does with the lines. Of ours, everything is
up to the clean, bounded lines that `gdl.ssh.tail.follow` hands out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from link import DelayedLink, delayed_link, why_not

from gdl.domain.session import SshAddress
from gdl.ssh.connection import Target
from gdl.ssh.reconnecting import Link
from gdl.ssh.tail import Stop, follow

LINES, EVERY_S = 25, 0.11
BYTES = 2_100_000
FLOOD_LINES, FLOOD_S = 10_000, 6.0
SETTLE_S = 0.6
TAIL_OPTIONS = "-n 0 -F"

# Arguments: path, lines at a time, seconds between two times, times.
WRITER = """
import sys, time
path, count, pause, times = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
due = time.monotonic()
with open(path, "ab", buffering=0) as file:
    for _ in range(times):
        due += pause
        time.sleep(max(due - time.monotonic(), 0))
        line = b"%d INFO [loader.py:447] Loading weights took 3 s\\n" % time.monotonic_ns()
        file.write(line * count)
"""

Lines = AsyncGenerator[list[str], None]
Reader = Callable[[Path, bool], Lines]
"""Lines of a log as they come; True: from its start."""


@dataclass(frozen=True)
class Machine:
    """Both ways to the same machine, with connections that stand."""

    link: Link
    ssh: list[str]

    async def ours(self, log: Path, whole: bool) -> Lines:
        offset = 0 if whole else log.stat().st_size
        stop = Stop()
        async with contextlib.aclosing(
            follow(self.link, str(log), offset=offset, stop=stop, max_lines=100_000)
        ) as chunks:
            async for chunk in chunks:
                yield list(chunk.lines)

    async def openssh(self, log: Path, whole: bool) -> Lines:
        command = f"cat {log}" if whole else f"tail {TAIL_OPTIONS} {log}"
        process = await asyncio.create_subprocess_exec(
            "ssh", *self.ssh, command, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        rest = ""
        try:
            while data := await process.stdout.read(262_144):
                *lines, rest = (rest + data.decode()).split("\n")
                yield lines
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


@contextlib.asynccontextmanager
async def machine(far: DelayedLink, folder: Path) -> AsyncIterator[Machine]:
    sshd = far.sshd
    target = Target(SshAddress(sshd.host, sshd.port, sshd.user), sshd.identity, folder / "pin")
    link = Link(target)
    await link.connect()
    socket = folder / "control"
    shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={socket}", "-o", "ControlPersist=yes"]
    ssh = [*shared, *far.ssh_options]
    subprocess.run(["ssh", *ssh, "true"], check=True, stdin=subprocess.DEVNULL)
    try:
        yield Machine(link, ssh)
    finally:
        leave = ["ssh", *shared, "-O", "exit", *far.ssh_options]
        subprocess.run(leave, check=False, stderr=subprocess.DEVNULL)
        await link.aclose()


async def written(log: Path, count: int, pause: float, times: int) -> asyncio.subprocess.Process:
    words = [str(log), str(count), str(pause), str(times)]
    return await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, *words)


async def delays(read: Reader, log: Path, count: int, pause: float, times: int) -> list[float]:
    """How late the newest line is each time that lines come, in seconds."""
    log.write_bytes(b"")
    found, missing = [], count * times
    writer: asyncio.subprocess.Process | None = None
    async with contextlib.aclosing(read(log, False)) as reading:
        knocking = asyncio.create_task(knock(log))
        async for lines in reading:
            if writer is None:
                knocking.cancel()
                await asyncio.sleep(SETTLE_S)
                writer = await written(log, count, pause, times)
            stamps = [int(line.split()[0]) for line in lines if line[:1] != "-"]
            if stamps:
                found.append((time.monotonic_ns() - stamps[-1]) / 1e9)
                missing -= len(stamps)
            if missing <= 0:
                break
    assert writer is not None and missing == 0, f"{-missing} lines came twice"
    await writer.wait()
    return found


async def knock(log: Path) -> None:
    """Lines until somebody hears."""
    while True:
        with log.open("ab") as file:
            file.write(b"- nothing yet\n")
        await asyncio.sleep(0.1)


async def new_line(read: Reader, log: Path) -> float:
    """Median delay of a line, in milliseconds."""
    return statistics.median(await delays(read, log, 1, EVERY_S, LINES)) * 1e3


async def flood(read: Reader, log: Path) -> float:
    """The longest that the newest line was behind, in milliseconds."""
    times = int(FLOOD_S * 100)
    return max(await delays(read, log, FLOOD_LINES // 100, 0.01, times)) * 1e3


async def catch_up(read: Reader, log: Path) -> float:
    """Until all of a log of 2.1 MB is here, in milliseconds."""
    line = b"INFO 11-23 15:00:00 [loader.py:447] Loading weights took some time\n"
    log.write_bytes(line * (BYTES // len(line)))
    await asyncio.sleep(SETTLE_S)
    missing = BYTES // len(line)
    began = time.monotonic()
    async with contextlib.aclosing(read(log, True)) as reading:
        async for lines in reading:
            missing -= len(lines)
            if missing <= 0:
                break
        took = time.monotonic() - began
    assert missing == 0, f"{missing} lines are missing"
    return took * 1e3


PARTS: dict[str, tuple[str, Callable[[Reader, Path], Awaitable[float]]]] = {
    "delay": ("a new line, ms (p50)", new_line),
    "catch-up": ("2.1 MB that are there, ms", catch_up),
    "flood": ("10 000 lines/s for 6 s: behind by, ms (max)", flood),
}


async def measure(far: DelayedLink, folder: Path, parts: list[str], rounds: int) -> None:
    async with machine(far, folder) as both:
        log = folder / "log"
        for part in parts:
            title, measured = PARTS[part]
            figures: dict[str, list[float]] = {"OpenSSH": [], "ours": []}
            for _ in range(rounds if part != "flood" else max(1, rounds // 2)):
                figures["OpenSSH"].append(await measured(both.openssh, log))
                figures["ours"].append(await measured(both.ours, log))
            peer, own = (statistics.median(values) for values in figures.values())
            ranges = [f"{min(v):.0f}-{max(v):.0f}" for v in figures.values()]
            print(
                f"  {title:44} OpenSSH {peer:7.1f} ({ranges[0]})  ours {own:7.1f} ({ranges[1]})"
                f"  {own / peer:.2f}x",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rtt", type=float, nargs="+", default=[20, 60, 150, 250], help="ms")
    parser.add_argument("--mbit", type=float, default=50, help="of the slow line; 0: leave it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default=",".join(PARTS), help="of %(default)s")
    options = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    version = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    print(f"{version.strip()}, load {os.getloadavg()[0]:.1f}, medians of {options.rounds} rounds")
    lines = [(rtt, 0.0) for rtt in options.rtt]
    if options.mbit:
        lines.append((options.rtt[len(options.rtt) // 3], options.mbit))
    for rtt, mbit in lines:
        print(f"{rtt:g} ms" + (f", {mbit:g} Mbit/s" if mbit else ""), flush=True)
        with (
            tempfile.TemporaryDirectory() as name,
            delayed_link(Path(name), rtt, mbit=mbit) as far,
        ):
            asyncio.run(measure(far, Path(name), options.parts.split(","), options.rounds))
    print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
