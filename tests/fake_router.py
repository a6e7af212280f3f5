#!/usr/bin/env python3
"""A router that speaks as vllm-router 0.1.17 does, as far as fleets use it: its options, the three
requests of its management, and requests that are sent to one server after the other.

    fake_router.py --port N [any other option of the real one]

A server that does not answer is passed over for that request, and waited for when it is added.
With FAKE_ROUTER_ENDS_AFTER=S it ends by itself after so many seconds; with FAKE_ROUTER_FAILS it
does not start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from urllib.parse import parse_qs, urlsplit

DEAD_S = 15.0
workers: list[str] = []
turn = 0


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ", 2)
        length = next((f.split(":")[1] for f in fields if f.lower().startswith("content-l")), "0")
        body = await reader.readexactly(int(length))
        path = urlsplit(target)
        if path.path in ("/add_worker", "/remove_worker"):
            _answer(writer, *await _manage(path.path, parse_qs(path.query)["url"][0]))
        elif path.path == "/workers":
            _answer(writer, 200, json.dumps({"workers": [{"url": url} for url in workers]}))
        elif path.path == "/health":
            _answer(writer, 200, "All servers healthy")
        else:
            await _forward(writer, f"{method} {target} HTTP/1.1", fields, body)
        await writer.drain()
    writer.close()


async def _manage(what: str, url: str) -> tuple[int, str]:
    if what == "/remove_worker":
        with contextlib.suppress(ValueError):
            workers.remove(url)
        return 200, f"Successfully removed worker: {url}"
    if url in workers:
        return 400, f"Worker {url} already exists"
    if not await _listens(url):
        await asyncio.sleep(DEAD_S)
        return 503, f"Worker {url} did not become healthy"
    workers.append(url)
    return 200, f"Successfully added worker: {url}"


async def _listens(url: str) -> bool:
    try:
        _, out = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    except OSError:
        return False
    out.close()
    return True


def _answer(writer: asyncio.StreamWriter, status: int, text: str) -> None:
    body = text.encode()
    head = f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)


async def _forward(writer: asyncio.StreamWriter, line: str, fields: list[str], body: bytes) -> None:
    global turn
    kept = [f for f in fields if f and not f.lower().startswith(("connection:", "host:"))]
    for _ in range(len(workers)):
        turn += 1
        url = urlsplit(workers[turn % len(workers)])
        try:
            server, out = await asyncio.open_connection(url.hostname, url.port)
        except OSError:
            continue
        head = [line, f"Host: {url.netloc}", *kept, "Connection: close", "", ""]
        out.write("\r\n".join(head).encode() + body)
        while piece := await server.read(65536):
            writer.write(piece)
            await writer.drain()
        out.close()
        return
    _answer(writer, 503, "No available workers (all circuits open or unhealthy)")


async def main() -> None:
    port = int(sys.argv[sys.argv.index("--port") + 1])
    server = await asyncio.start_server(handle, "127.0.0.1", port)
    async with server:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(float(os.environ.get("FAKE_ROUTER_ENDS_AFTER", "inf"))):
                await server.serve_forever()


if __name__ == "__main__":
    if os.environ.get("FAKE_ROUTER_FAILS"):
        sys.exit("error: no such option")
    asyncio.run(main())
