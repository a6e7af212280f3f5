"""Our SSH tunnel beside OpenSSH's `ssh -N -L` with its defaults, through one real OpenSSH server.

    .venv/bin/python bench/tunnel.py [--links 0,20,60,150,60@100] [--ways ssh,ours] [--rounds 5]

A link is the round trip in milliseconds, and after @ the megabits a second of each direction; 0 is
loopback, the others are bench/link.py's (root). Ways: `none` (no tunnel, loopback alone), `ssh`,
`ours` (as the program does by itself) and `built-in` (without the computer's ssh). Ours runs as the
program runs it, a process of its own on uvloop; its processor time is that of the process and of
what it started.

Bulk both ways, the round trip of 64 bytes, what the way adds to a token of so many streams that get
one every 10 ms each, and 256 connections at once. Rounds take the ways in turns; medians. What is
left out: the sshd's processor time, which is the machine's, and the time until the tunnel stands.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import uvloop

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from link import delayed_link, why_not  # noqa: E402
from tunnel_server import TOKEN  # noqa: E402

from real_sshd import Sshd, real_sshd  # noqa: E402 - a part of the tests

WAYS = ("none", "ssh", "ours", "built-in")
GOALS = {
    "down": (">=", 1.0),
    "up": (">=", 1.0),
    "p50": ("<=", 1.1),
    "p99": ("<=", 1.1),
    "CPU": ("<=", 1.3),
}
Figures = dict[str, float]


@dataclass(frozen=True)
class Line:
    """A link to measure through."""

    rtt_ms: float
    mbit: float = 0

    @classmethod
    def of(cls, text: str) -> Line:
        rtt, _, mbit = text.partition("@")
        return cls(float(rtt), float(mbit or 0))

    def __str__(self) -> str:
        limit = f" at {self.mbit:g} Mbit/s" if self.mbit else ""
        return f"{self.rtt_ms:g} ms{limit}"

    @property
    def megabytes(self) -> int:
        """Some seconds of a connection."""
        if self.mbit or self.rtt_ms > 100:
            return 32
        return 64 if self.rtt_ms > 30 else 96 if self.rtt_ms > 1 else 256


# -- ways --------------------------------------------------------------------------------------


async def hold(host: str, port: int, user: str, identity: str, to: int, tunnel: str) -> None:
    """Our tunnel, until it is ended; says its local port."""
    from gdl.domain.session import SshAddress
    from gdl.ssh.dial import Target
    from gdl.ssh.reconnecting import Link

    by = "built-in" if tunnel == "built-in" else "auto"
    with tempfile.TemporaryDirectory() as folder:
        target = Target(
            SshAddress(host, port, user), Path(identity), Path(folder, "pin"),
            tunnel="built-in" if by == "built-in" else "auto",
        )  # fmt: skip
        link = Link(target)
        await link.connect()
        forward = await link.forward(to)
        print(f"ready {forward.local_port} {forward.by} {link.openssh.reason}", flush=True)
        try:
            await asyncio.to_thread(sys.stdin.read)
        finally:
            await link.aclose()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        else:
            process.terminate()
        process.wait(20)


@contextlib.contextmanager
def opened(way: str, sshd: Sshd, to: int) -> Iterator[tuple[int, int | None]]:
    """(the local port, the pid of what carries it)."""
    if way == "none":
        yield to, None
        return
    if way in ("ours", "built-in"):
        words = [sys.executable, __file__, "--hold", sshd.host, str(sshd.port), sshd.user]
        words += [str(sshd.identity), str(to), way]
        pipe = subprocess.PIPE
        with ended(subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True)) as process:
            assert process.stdout is not None
            told = process.stdout.readline().split(maxsplit=3)
            if way == "ours" and told[2] != "openssh":
                print(f"ours goes the built-in way: {told[3:]}", file=sys.stderr)
            yield int(told[1]), process.pid
        return
    port = free_port()
    words = ["ssh", "-N", "-L", f"{port}:127.0.0.1:{to}", "-p", str(sshd.port)]
    words += ["-i", str(sshd.identity), "-F", "/dev/null", "-o", "StrictHostKeyChecking=no"]
    words += ["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    with ended(subprocess.Popen([*words, f"{sshd.user}@{sshd.host}"], text=True)) as process:
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        yield port, process.pid


def cpu_s(pid: int | None) -> float:
    """CPU seconds of a process so far, and of those it started."""
    if pid is None:
        return 0.0
    spent = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        # Nanoseconds, where `stat` counts ticks of 10 ms.
        spent += int((task / "schedstat").read_text().split()[0]) / 1e9
        spent += sum(cpu_s(int(child)) for child in (task / "children").read_text().split())
    return spent


# -- what is measured --------------------------------------------------------------------------


def down(port: int, pid: int | None, megabytes: int) -> Figures:
    size = megabytes * 10**6
    room = bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", port)) as wire:
        spent, began, got = cpu_s(pid), perf_counter(), 0
        wire.sendall(f"bulk {size}\n".encode())
        while got < size:
            if not (count := wire.recv_into(room)):
                raise RuntimeError(f"the tunnel broke off after {got} bytes")
            got += count
        seconds = perf_counter() - began
    return {"down MB/s": megabytes / seconds, "CPU s/GB": (cpu_s(pid) - spent) / megabytes * 1000}


def up(port: int, megabytes: int) -> Figures:
    size = megabytes * 10**6
    block = memoryview(bytes(1 << 20))
    with socket.create_connection(("127.0.0.1", port)) as wire:
        began, left = perf_counter(), size
        wire.sendall(f"sink {size}\n".encode())
        while left:
            left -= wire.send(block[: min(left, len(block))])
        if wire.recv(1) != b".":
            raise RuntimeError("the tunnel broke off")
        return {"up MB/s": megabytes / (perf_counter() - began)}


def round_trips(port: int, count: int) -> Figures:
    times = []
    with socket.create_connection(("127.0.0.1", port)) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.sendall(b"echo\n")
        for number in range(count + count // 10):
            began = perf_counter()
            wire.sendall(b"x" * 64)
            left = 64
            while left:
                left -= len(wire.recv(left)) or left
            if number >= count // 10:
                times.append(perf_counter() - began)
    return {"trip p50 us": cut(times, 50) * 1e6, "trip p99 us": cut(times, 99) * 1e6}


class Reader(asyncio.Protocol):
    """Notes how long after it was written each token is read."""

    def __init__(self, tokens: int) -> None:
        self.late: list[float] = []
        self.over = asyncio.get_running_loop().create_future()
        self._tokens = tokens
        self._held = b""

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        data = self._held + data
        whole = len(data) // TOKEN * TOKEN
        for at in range(0, whole, TOKEN):
            self.late.append(now - struct.unpack_from("d", data, at)[0])
        self._held = data[whole:]
        if len(self.late) >= self._tokens and not self.over.done():
            self.over.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_exception(exc or RuntimeError("the tunnel broke off"))


async def added(port: int, pid: int | None, streams: int, tokens: int) -> Figures:
    """All streams at once. Their first quarter warms up and is not counted."""
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Reader(tokens), "127.0.0.1", port)
        for _ in range(streams)
    ]
    spent = cpu_s(pid)
    for transport, _ in made:
        transport.write(f"stream {tokens}\n".encode())
    await asyncio.gather(*(reader.over for _, reader in made))
    found = [late for _, reader in made for late in reader.late[tokens // 4 :]]
    each = (cpu_s(pid) - spent) / streams / tokens
    for transport, _ in made:
        transport.close()
    return {
        f"{streams} streams p50 ms": cut(found, 50) * 1e3,
        f"{streams} streams p99 ms": cut(found, 99) * 1e3,
        f"{streams} streams CPU us/token": each * 1e6,
    }


async def at_once(port: int, count: int) -> Figures:
    """So many connections in the same moment, until each has its answer."""

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"echo\nx")
        await reader.readexactly(1)
        writer.close()

    began = perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    return {f"{count} connections s": perf_counter() - began}


def cut(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def measured(line: Line, port: int, pid: int | None, options: argparse.Namespace) -> Figures:
    figures = down(port, pid, line.megabytes) | up(port, line.megabytes)
    figures |= round_trips(port, 1000 if line.rtt_ms < 1 else 20)
    for streams in options.streams:
        figures |= uvloop.run(added(port, pid, streams, options.tokens))
    return figures | uvloop.run(at_once(port, 256))


# -- runs --------------------------------------------------------------------------------------


@contextlib.contextmanager
def machine(line: Line, folder: Path) -> Iterator[tuple[Sshd, int]]:
    """(the SSH server, the port of what is measured against, on its side)."""
    program = [sys.executable, str(ROOT / "bench/tunnel_server.py")]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(program, stdout=subprocess.PIPE, text=True)

    with contextlib.ExitStack() as stack:
        if line.rtt_ms or line.mbit:
            link = stack.enter_context(delayed_link(folder, line.rtt_ms, mbit=line.mbit))
            sshd = link.sshd
            with link.far():
                server = stack.enter_context(ended(start()))
        else:
            sshd = stack.enter_context(real_sshd(folder))
            server = stack.enter_context(ended(start()))
        assert server.stdout is not None
        yield sshd, int(server.stdout.readline().split()[1])


def run(line: Line, options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    ways = [way for way in options.ways if way != "none" or not (line.rtt_ms or line.mbit)]
    results: dict[str, dict[str, list[float]]] = {way: defaultdict(list) for way in ways}
    with tempfile.TemporaryDirectory() as folder, machine(line, Path(folder)) as (sshd, to):
        for number in range(options.rounds):
            for way in ways if number % 2 == 0 else reversed(ways):
                print(f"{line}, round {number + 1}, {way}", file=sys.stderr)
                with opened(way, sshd, to) as (port, pid):
                    for name, value in measured(line, port, pid, options).items():
                        results[way][name].append(value)
    return results


def show(line: Line, results: dict[str, dict[str, list[float]]]) -> None:
    """A table, the figures of `ssh` as 1 in brackets, goals that are missed marked."""
    ways = list(results)
    print(f"\n### {line}; load {' '.join(f'{each:.1f}' for each in os.getloadavg())}\n")
    print(f"| | {' | '.join(ways)} |\n{'|---' * (len(ways) + 1)}|")
    for name in next(iter(results.values())):
        cells = []
        for way in ways:
            value = median(results[way][name])
            theirs = median(results["ssh"][name]) if "ssh" in results else 0
            ratio = f" ({value / theirs:.2f})" if theirs and way != "ssh" else ""
            missed = bool(ratio) and way == "ours" and not met(name, value / theirs)
            cells.append(f"{value:.3g}{ratio}{' MISSED' if missed else ''}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def met(name: str, ratio: float) -> bool:
    for word, (sign, goal) in GOALS.items():
        if word in name.split() and "GB" not in name and "trip" not in name:
            return ratio >= goal if sign == ">=" else ratio <= goal
    return True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--links", default="0,20,60,150,60@100")
    parser.add_argument("--ways", default="ssh,ours")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", default="16,64,256")
    parser.add_argument("--tokens", type=int, default=200, help="of each stream")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--hold", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        host, port, user, identity, to, tunnel = options.hold
        with contextlib.suppress(KeyboardInterrupt):
            uvloop.run(hold(host, int(port), user, identity, int(to), tunnel))
        return
    options.ways = options.ways.split(",")
    options.streams = [int(each) for each in options.streams.split(",")]
    if unknown := set(options.ways) - set(WAYS):
        sys.exit(f"unknown ways: {', '.join(unknown)}")
    lines = [Line.of(text) for text in options.links.split(",")]
    if (reason := why_not()) and any(line.rtt_ms or line.mbit for line in lines):
        sys.exit(f"{reason}; --links 0 needs none")
    version = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr.strip()
    print(f"{version}; medians of {options.rounds} rounds in turns; in brackets: of ssh's")
    everything = {}
    for line in lines:
        everything[str(line)] = run(line, options)
        show(line, everything[str(line)])
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
