"""What `tunnel.py` measures tunnels against, on the far side: sends, takes, echoes, streams.

    python bench/tunnel_server.py [--core 0]

A connection says what it wants by its first line: `bulk BYTES`; `sink BYTES`, answered by one byte
when all have arrived; `echo`; or `stream COUNT`: as many tokens of 350 bytes, one every 10 ms, each
beginning with the moment at which it was written (CLOCK_MONOTONIC, which all processes of a machine
share).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import struct
import time

import uvloop

TOKEN = 350
GAP_S = 0.01
BLOCK = b"\0" * 256 * 1024


async def bulk(writer: asyncio.StreamWriter, size: int) -> None:
    while size > 0:
        writer.write(BLOCK[:size])
        size -= len(BLOCK)
        await writer.drain()


async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
    while size > 0 and (data := await reader.read(1 << 20)):
        size -= len(data)
    writer.write(b".")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


async def stream(writer: asyncio.StreamWriter, count: int) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    for _ in range(count):
        due += GAP_S
        await asyncio.sleep(due - loop.time())
        writer.write(struct.pack("d", time.monotonic()).ljust(TOKEN, b"x"))


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        match (await reader.readline()).decode().split():
            case ["bulk", size]:
                await bulk(writer, int(size))
            case ["sink", size]:
                await sink(reader, writer, int(size))
            case ["echo"]:
                await echo(reader, writer)
            case ["stream", count]:
                await stream(writer, int(count))
    except OSError:
        pass
    finally:
        writer.close()


async def serve() -> None:
    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1024, limit=1 << 21)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--core", type=int)
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    uvloop.run(serve())


if __name__ == "__main__":
    main()
