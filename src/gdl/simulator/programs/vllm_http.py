"""HTTP as far as the simulated vLLM server needs it.

Standard library only: it runs on the simulated machine.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_LONGEST_BODY = 2**24


class Abort(Exception):
    """The connection is to be dropped without a word."""


class BadRequest(Exception):
    """What came is no HTTP/1: a TLS handshake, for example."""


@dataclass(frozen=True)
class Request:
    """One request as it came; header names in lower case. body: as read from JSON, None for none
    or for what is none."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any

    @property
    def json(self) -> dict[str, Any]:
        return self.body if isinstance(self.body, dict) else {}

    @property
    def prompt(self) -> str:
        """What a generation is for; "" where it cannot be told."""
        if "prompt" in self.json:
            return str(self.json["prompt"])
        messages = self.json.get("messages")
        if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
            return ""
        return str(messages[-1].get("content", ""))


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """None at the end of the connection. Raises BadRequest for what is no HTTP/1."""
    try:
        line = await reader.readline()
        if not line.strip():
            return None
        method, path, version = line.decode("latin-1").split()
        if not version.startswith("HTTP/1."):
            raise BadRequest
        headers: dict[str, str] = {}
        while (line := await reader.readline()).strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        length = min(int(headers.get("content-length", 0)), _LONGEST_BODY)
        content = await reader.readexactly(length)
    except ValueError:
        raise BadRequest from None
    try:
        body = json.loads(content) if content else None
    except ValueError:
        body = None
    return Request(method, path, headers, body)


def respond(
    writer: asyncio.StreamWriter, status: int, body: object, kind: str = "application/json"
) -> None:
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    head = f"HTTP/1.1 {status} {'OK' if status == 200 else 'Error'}\r\nContent-Type: {kind}\r\n"
    writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)


def begin_stream(writer: asyncio.StreamWriter, kind: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())


def event(writer: asyncio.StreamWriter, payload: object, name: str = "") -> None:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    data = f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n"
    content = data.encode()
    writer.write(b"%x\r\n%s\r\n" % (len(content), content))


def send(writer: asyncio.StreamWriter, events: Iterable[tuple[str, object]]) -> None:
    """Several, each with its name."""
    for name, payload in events:
        event(writer, payload, name)


def end_stream(writer: asyncio.StreamWriter) -> None:
    writer.write(b"0\r\n\r\n")
