"""What reading one piece of an answer costs, without a socket: the load generator's connection
beside a bare protocol, and reading the answers afterwards. CPU microseconds for each read.

    .venv/bin/python bench/loadgen_connection.py [--streams 256] [--rounds 5]

Reads come as the event loop brings them: a new bytes object each, one for every stream in turn.
"""

from __future__ import annotations

import argparse
import gc
import json
from statistics import median
from time import perf_counter, process_time
from typing import Any

import loadgen_server as server

from gdl.domain.secret import Secret
from gdl.loadgen.decode import decode
from gdl.loadgen.exchange import Exchange
from gdl.loadgen.http_connection import HttpConnection

TOKENS = 128
USAGE = {"prompt_tokens": 32, "completion_tokens": TOKENS, "total_tokens": 32 + TOKENS}
EVENT = server.TOKENS[False]
END = (
    server.chunk(json.dumps({**server.HEAD, "choices": [], "usage": USAGE}))
    + server.chunk("[DONE]")
    + b"0\r\n\r\n"
)
READS = [server.STREAM + EVENT, *[EVENT] * (TOKENS - 1), END]


class Transport:
    def get_extra_info(self, _: str) -> Transport:
        return self

    def fileno(self) -> int:
        return -1

    def abort(self) -> None:
        raise RuntimeError("the connection was closed")


class Bare:
    def __init__(self) -> None:
        self.times: list[float] = []
        self.pieces: list[bytes] = []
        self.over = False

    def data_received(self, data: bytes) -> None:
        self.times.append(perf_counter())
        self.pieces.append(data)
        if data.endswith(b"\r\n0\r\n\r\n"):
            self.over = True


def read(readers: list[Any]) -> float:
    """CPU us for each read."""
    gc.collect()
    gc.disable()
    spent = 0.0
    for data in READS:
        fresh = [bytes(bytearray(data)) for _ in readers]
        began = process_time()
        for reader, piece in zip(readers, fresh, strict=True):
            reader.data_received(piece)
        spent += process_time() - began
    gc.enable()
    return spent / (len(READS) * len(readers)) * 1e6


def connections(count: int, ended: list[Exchange]) -> list[HttpConnection]:
    made = []
    for _ in range(count):
        connection = HttpConnection(lambda _, exchange: ended.append(exchange), lambda _: None)
        connection.connection_made(Transport())  # type: ignore[arg-type]
        connection.exchange = Exchange()
        made.append(connection)
    return made


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found: dict[str, list[float]] = {
        "bare protocol": [],
        "connection": [],
        "decode, afterwards": [],
    }
    for _ in range(options.rounds):
        bare = [Bare() for _ in range(options.streams)]
        found["bare protocol"].append(read(bare))
        assert all(one.over for one in bare)
        ended: list[Exchange] = []
        found["connection"].append(read(connections(options.streams, ended)))
        began = process_time()
        samples = [decode(exchange, Secret("")) for exchange in ended]
        spent = process_time() - began
        found["decode, afterwards"].append(spent / (len(READS) * options.streams) * 1e6)
        assert len(samples) == options.streams
        assert all(sample.ok and sample.output == TOKENS for sample in samples)
    for name, values in found.items():
        print(f"{name}: {median(values):.3f} us a read ({min(values):.3f} to {max(values):.3f})")


if __name__ == "__main__":
    main()
