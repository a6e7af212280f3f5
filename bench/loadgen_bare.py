"""The bare reader that `loadgen.py` measures beside the others: the least that Python can do.

python bench/loadgen_bare.py PORT CONCURRENCY REQUESTS TOKENS
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from itertools import pairwise
from time import perf_counter
from typing import Any, cast

import uvloop
from loadgen_clients import MODEL


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


def main() -> None:
    port, concurrency, requests, tokens = map(int, sys.argv[1:])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(read_bare(port, concurrency, requests, tokens))))


if __name__ == "__main__":
    main()
