#!/usr/bin/env bash
# Version: httpx-aiohttp==0.2.0 httpx==0.28.1 aiohttp==3.14.5
# Behaviour: httpx-aiohttp 0.2.0 (httpx 0.28.1, aiohttp 3.14.5): `max_connections=None` means 100, not "no limit".
#
# httpx documents None as "no limit", and its own transport opens as many connections as there are
# requests. Behind the drop-in aiohttp transport the same object falls back to aiohttp's default
# connector limit, without a word. A load generator that asks for 250 requests at a time measures 100
# of them and the wait of the others. A number is honoured by both.
#
# Seen (most requests that reached the server at once, of 250):
#   httpx None: 250, httpx-aiohttp None: 100, httpx-aiohttp 300: 250
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q httpx==0.28.1 aiohttp==3.14.5 httpx-aiohttp==0.2.0
cat > "$folder/count.py" <<'P'
import asyncio

import httpx
import httpx_aiohttp

WANTED = 250


async def at_once(transport: httpx.AsyncBaseTransport) -> int:
    """How many requests the server holds at once, when none is answered before all have come or
    no more have come for a second."""
    inside = most = 0
    gate = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal inside, most
        await reader.readuntil(b"\r\n\r\n")
        inside += 1
        most = max(most, inside)
        await gate.wait()
        inside -= 1
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with httpx.AsyncClient(transport=transport, timeout=60) as client:
        requests = [asyncio.create_task(client.get(url)) for _ in range(WANTED)]
        before = -1
        while most < WANTED and most != before:
            before = most
            await asyncio.sleep(1)
        gate.set()
        await asyncio.gather(*requests)
    server.close()
    return most


async def main() -> None:
    none, some = httpx.Limits(max_connections=None), httpx.Limits(max_connections=300)
    print("httpx None:", await at_once(httpx.AsyncHTTPTransport(limits=none)))
    print("httpx-aiohttp None:", await at_once(httpx_aiohttp.AiohttpTransport(limits=none)))
    print("httpx-aiohttp 300:", await at_once(httpx_aiohttp.AiohttpTransport(limits=some)))


asyncio.run(main())
P
said=$("$folder/env/bin/python" "$folder/count.py")
echo "$said"
diff <(echo "$said") - <<'E'
httpx None: 250
httpx-aiohttp None: 100
httpx-aiohttp 300: 250
E
echo "as described"
