"""What a fleet's router adds to a request, what it takes from the tokens beside none, and what two
replicas make beside one.

    .venv/bin/python bench/router.py [--program PATH] [--router NAME] [--pairs 300] [--rounds 5]

Two servers of bench/loadgen_server.py behind the router, started and told of them as a fleet does;
beside it one of the servers asked directly. Requests for one token go one after the other, in turns
with and without the router, over connections that stay. Then 16 streams of 100 tokens with a gap of
5 ms each, in turns. Then 48 streams of 50 tokens with a gap of 20 ms, before servers of which each
lets 8 go at once, as a GPU that is full: in turns by a router with one of them and by one with two.
Medians, and the tenth percentile, which a busy computer changes less. Exits 1 when the median
request takes over 1 ms longer, under 0.95 of the tokens a second come, or two make less than 1.8
times what one does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

from gdl.domain.event import Event
from gdl.domain.fleet_events import RouterStarted
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.keyring.key_files import write_key
from gdl.orchestrator.fleet.router_process import RouterProcess
from gdl.settings import load

SERVER = Path(__file__).with_name("loadgen_server.py")
STREAMS, TOKENS, GAP_MS = 16, 100, 5
FULL_STREAMS, FULL_TOKENS = 48, 50
FULL = ("--first-ms", "20", "--gap-ms", "20", "--most", "8")
MOST_MS, LEAST_SHARE, LEAST_OF_TWO = 1.0, 0.95, 1.8


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(*options: str) -> Iterator[int]:
    """Its port."""
    port = free_port()
    with subprocess.Popen([sys.executable, SERVER, "--port", str(port), *options]) as process:
        try:
            yield port
        finally:
            process.kill()


class Client:
    """One connection that stays."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pair: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, tokens: int) -> int:
        """How many pieces of text came."""
        if self._pair is None:
            self._pair = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._pair
        body = json.dumps(
            {
                "model": "smollm2-135m",
                "messages": [{"role": "user", "content": "x"}],
                "max_tokens": tokens,
                "stream": True,
            }
        ).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        came = b""
        while not came.endswith(b"0\r\n\r\n"):
            piece = await reader.read(65536)
            if not piece:
                raise RuntimeError(f"cut: {came[-200:]!r}")
            came += piece
        return came.count(b'"content"')

    def close(self) -> None:
        if self._pair is not None:
            self._pair[1].close()


async def overhead(direct: int, routed: int, pairs: int) -> dict[str, tuple[float, float]]:
    """Milliseconds: the median, and what one request in ten is quicker than."""
    ways = {"none": Client(direct), "router": Client(routed)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(pairs):
        for name, client in ways.items():
            began = perf_counter()
            await client.ask(1)
            times[name].append((perf_counter() - began) * 1000)
    for client in ways.values():
        client.close()
    return {
        name: (round(median(values), 3), round(quantiles(values, n=10)[0], 3))
        for name, values in times.items()
    }


async def speed(port: int, streams: int = STREAMS, tokens: int = TOKENS) -> float:
    """Tokens a second of all streams together."""
    clients = [Client(port) for _ in range(streams)]
    began = perf_counter()
    came = await asyncio.gather(*(client.ask(tokens) for client in clients))
    took = perf_counter() - began
    for client in clients:
        client.close()
    return sum(came) / took


class Routers:
    """Starts them as a fleet does."""

    def __init__(self, args: argparse.Namespace) -> None:
        folder = Path(args.folder)
        self._spec = FleetSpec(DeploymentSpec("m", "local"), 2, router=args.router)
        self._key = write_key(folder / "key", Secret("k"))
        self._logs = folder / "logs"
        self._settings = load(
            data_dir=folder, fleet={"program": args.program, "router": args.router}
        )

    @asynccontextmanager
    async def before(self, *ports: int) -> AsyncIterator[int]:
        """The port of one that has these servers, each of which was asked already."""
        started: asyncio.Queue[RouterStarted] = asyncio.Queue()

        async def told(event: Event) -> None:
            if isinstance(event, RouterStarted):
                started.put_nowait(event)

        async def silent(_: str) -> None:
            """Nobody is told."""

        router = RouterProcess(self._spec, self._key, self._logs, self._settings)
        await router.prepare(silent)
        await router.begin(0, told)
        try:
            port = int((await started.get()).endpoint.split(":")[2].split("/")[0])
            for each in ports:
                await router.add(f"http://127.0.0.1:{each}")
            await overhead(ports[0], port, 20)
            yield port
        finally:
            await router.aclose()


async def run(args: argparse.Namespace) -> dict[str, object]:
    figures: dict[str, object] = {}
    routers = Routers(args)
    with server() as quick, server() as other:
        async with routers.before(quick, other) as port:
            p50 = await overhead(quick, port, args.pairs)
        figures["p50_p10_ms"] = p50
        figures["added_ms"] = round(p50["router"][0] - p50["none"][0], 3)
        figures["added_p10_ms"] = round(p50["router"][1] - p50["none"][1], 3)
    gap = ("--first-ms", "5", "--gap-ms", str(GAP_MS))
    with server(*gap) as paced, server(*gap) as second:
        async with routers.before(paced, second) as port:
            rounds = [(await speed(paced), await speed(port)) for _ in range(args.rounds)]
        alone, routed = (median(values) for values in zip(*rounds, strict=True))
        figures["tokens_per_s"] = {"none": round(alone), "router": round(routed)}
        figures["share"] = round(routed / alone, 3)
    with server(*FULL) as first, server(*FULL) as second:
        async with routers.before(first) as one, routers.before(first, second) as two:
            wish = (FULL_STREAMS, FULL_TOKENS)
            rounds = [
                (await speed(one, *wish), await speed(two, *wish)) for _ in range(args.rounds)
            ]
        by_one, by_two = (median(values) for values in zip(*rounds, strict=True))
        figures["full_tokens_per_s"] = {"one": round(by_one), "two": round(by_two)}
        figures["two_by_one"] = round(by_two / by_one, 2)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="", help="the router; empty: install it")
    parser.add_argument("--router", default="vllm-router")
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="router-") as args.folder:
        figures = asyncio.run(run(args))
    for name, value in figures.items():
        print(f"{name:>17}  {value}")
    added, share, two = (figures[name] for name in ("added_ms", "share", "two_by_one"))
    assert isinstance(added, float) and isinstance(share, float) and isinstance(two, float)
    return 0 if added <= MOST_MS and share >= LEAST_SHARE and two >= LEAST_OF_TWO else 1


if __name__ == "__main__":
    sys.exit(main())
