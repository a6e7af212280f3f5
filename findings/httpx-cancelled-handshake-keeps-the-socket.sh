#!/usr/bin/env bash
# Version: httpx==0.28.1 httpcore==1.0.9 anyio==4.16.0
# Behaviour: httpx 0.28.1 (httpcore 1.0.9, anyio 4.16.0, asyncio): a request that is cancelled during the TLS handshake leaves its socket open, even after the client is closed.
#
# A time limit around a request (asyncio.timeout, wait_for) is the usual way to bound it as a whole,
# and "async with AsyncClient()" the usual way to be sure that nothing stays open. Against a server
# that accepts and then says nothing, the two together leave one established connection for each
# try: httpcore closes the raw stream of a failed handshake for exceptions, not for a cancellation.
# At httpx's own connect time-out, which covers the handshake, it is closed. So the connect time-out
# must be the shorter of the two.
#
# Seen (whether the server sees the end within 2 s of the client's closing):
#   own time-out: closed, cancelled: open
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q httpx==0.28.1 httpcore==1.0.9 anyio==4.16.0
cat > "$folder/handshake.py" <<'P'
import asyncio

import httpx


async def after(connect_s: float) -> str:
    """How the connection of a request is, that waits for a handshake for a second at most."""
    ended = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read()
        ended.set()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    limits = httpx.Timeout(60, connect=connect_s)
    async with httpx.AsyncClient(timeout=limits, trust_env=False) as client:
        try:
            async with asyncio.timeout(1):
                await client.get(url)
        except (TimeoutError, httpx.ConnectTimeout):
            pass
    try:
        await asyncio.wait_for(ended.wait(), 2)
        return "closed"
    except TimeoutError:
        return "open"
    finally:
        for writer in writers:
            writer.transport.abort()
        await asyncio.wait_for(ended.wait(), 5)
        server.close()


async def main() -> None:
    print(f"own time-out: {await after(0.5)}, cancelled: {await after(60)}")


asyncio.run(main())
P
seen=$("$folder/env/bin/python" "$folder/handshake.py")
echo "$seen"
[ "$seen" = "own time-out: closed, cancelled: open" ]
