"""Our SSH tunnel beside OpenSSH's `ssh -N -L` with its defaults, through one real OpenSSH server.

    .venv/bin/python bench/tunnel.py [--rounds 5] [--megabytes 256] [--trips 3000] [--json FILE]

Bulk throughput, the round trip of 64 bytes, and what the way adds to a token of 64 streams that get
one every 10 ms. Ours runs as the program runs it: a process of its own, on uvloop.
Rounds alternate between the ways; medians are shown. Needs openssh-server.
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
from pathlib import Path
from statistics import median
from time import perf_counter

import uvloop

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from tunnel_server import TOKEN  # noqa: E402

from real_sshd import Sshd, real_sshd  # noqa: E402 - a part of the tests

TICKS = os.sysconf("SC_CLK_TCK")
WAYS = ("none", "ssh", "ours")
Figures = dict[str, float]


# -- ways --------------------------------------------------------------------------------------


async def hold(host: str, port: int, user: str, identity: str, to: int) -> None:
    """Our tunnel, until it is ended; says its local port."""
    from gdl.domain.session import SshAddress
    from gdl.ssh.connection import Target
    from gdl.ssh.reconnecting import Link

    with tempfile.TemporaryDirectory() as folder:
        pin = Path(folder, "host_key")
        link = Link(Target(SshAddress(host, port, user), Path(identity), pin))
        await link.connect()
        forward = await link.forward(to)
        print(f"ready {forward.local_port}", flush=True)
        try:
            await asyncio.Event().wait()
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
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def opened(way: str, sshd: Sshd, to: int) -> Iterator[tuple[int, int | None]]:
    """(the local port, the pid of what carries it)."""
    if way == "none":
        yield to, None
        return
    if way == "ours":
        words = [sys.executable, __file__, "--hold", sshd.host, str(sshd.port), sshd.user]
        words += [str(sshd.identity), str(to)]
        with ended(subprocess.Popen(words, stdout=subprocess.PIPE, text=True)) as process:
            assert process.stdout is not None
            yield int(process.stdout.readline().split()[1]), process.pid
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
    """CPU seconds of a process so far."""
    if pid is None:
        return 0.0
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


# -- what is measured --------------------------------------------------------------------------


def bulk(port: int, pid: int | None, megabytes: int) -> Figures:
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
    return {"MB/s": megabytes / seconds, "CPU s/GB": (cpu_s(pid) - spent) / megabytes * 1000}


def round_trips(port: int, count: int) -> Figures:
    times = []
    with socket.create_connection(("127.0.0.1", port)) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.sendall(b"echo\n")
        for number in range(count + 100):
            began = perf_counter()
            wire.sendall(b"x" * 64)
            left = 64
            while left:
                left -= len(wire.recv(left)) or left
            if number >= 100:
                times.append(perf_counter() - began)
    return {"trip p50 us": cut(times, 50) * 1e6, "trip p99 us": cut(times, 99) * 1e6}


async def added(port: int, streams: int, tokens: int) -> Figures:
    """How long after it was written a token is read, all streams at once."""

    async def read() -> list[float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"stream {tokens}\n".encode())
        late = []
        for _ in range(tokens):
            data = await reader.readexactly(TOKEN)
            late.append(time.monotonic() - struct.unpack_from("d", data)[0])
        writer.close()
        return late

    found = [
        one for all_of in await asyncio.gather(*(read() for _ in range(streams))) for one in all_of
    ]
    return {"token p50 us": cut(found, 50) * 1e6, "token p99 us": cut(found, 99) * 1e6}


def cut(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def measure(options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    results: dict[str, dict[str, list[float]]] = {way: defaultdict(list) for way in WAYS}
    program = [sys.executable, str(ROOT / "bench/tunnel_server.py")]
    with (
        tempfile.TemporaryDirectory() as folder,
        real_sshd(Path(folder)) as sshd,
        ended(subprocess.Popen(program, stdout=subprocess.PIPE, text=True)) as server,
    ):
        assert server.stdout is not None
        to = int(server.stdout.readline().split()[1])
        for number in range(options.rounds):
            print(f"round {number + 1}", file=sys.stderr)
            for way in WAYS:
                with opened(way, sshd, to) as (port, pid):
                    figures = bulk(port, pid, options.megabytes)
                    figures |= round_trips(port, options.trips)
                    figures |= asyncio.run(added(port, options.streams, options.tokens))
                for name, value in figures.items():
                    results[way][name].append(value)
    return results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--trips", type=int, default=3000)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--hold", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        host, port, user, identity, to = options.hold
        with contextlib.suppress(KeyboardInterrupt):
            uvloop.run(hold(host, int(port), user, identity, int(to)))
        return
    results = measure(options)
    names = list(results["none"])
    print(f"load {os.getloadavg()}\n\n| | {' | '.join(names)} |\n{'|---' * (len(names) + 1)}|")
    middle = {way: {name: median(results[way][name]) for name in names} for way in WAYS}
    for way in WAYS:
        print(f"| {way} | {' | '.join(f'{middle[way][name]:.1f}' for name in names)} |")
    print()
    ours, theirs = middle["ours"], middle["ssh"]
    for name, goal in (("MB/s", ">= 1.0"), ("trip p50 us", "<= 1.5"), ("token p99 us", "< 1")):
        print(f"ours by ssh's, {name}: {ours[name] / theirs[name]:.2f} (goal: {goal})")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
