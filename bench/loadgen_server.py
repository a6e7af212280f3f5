"""The server that `loadgen.py` measures clients against: it streams made-up tokens, as fast as it
can or with a gap, and keeps a record of its own of when it did.

    python bench/loadgen_server.py --port 8000 [--core 0]
                                   [--first-ms 50 --gap-ms 10 [--most 8] | --burst 8]

Speaks as vLLM does: /v1/models, /v1/completions and /v1/chat/completions (streamed, `max_tokens`
tokens each, usage if asked for). GET /record: `ttfts` (from the request's arrival to the first
token's writing), `waits` (from its arrival to its being read, which is part of that) and `gaps`
between tokens, in seconds, of all requests since the last look. When a request arrived is told by
the kernel (SO_TIMESTAMPNS, Linux): of a thousand that come at once, this program reads the last
ones tens of milliseconds later, and its own clock would not know.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import socket
import struct
import time
from collections import deque
from time import perf_counter

import uvloop
from httptools import HttpRequestParser

MODEL = "smollm2-135m"
STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
SO_TIMESTAMPNS = 35
"""asm-generic/socket.h; Python has no name for it."""
HEAD = {"id": "chatcmpl-0123456789abcdef0123456789abcdef", "created": 1790000000, "model": MODEL}


def chunk(data: str) -> bytes:
    event = f"data: {data}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(event), event)


def token(chat: bool) -> bytes:
    content = {"delta": {"content": " word"}} if chat else {"text": " word"}
    choice = {"index": 0, **content, "logprobs": None, "finish_reason": None}
    kind = "chat.completion.chunk" if chat else "text_completion"
    return chunk(json.dumps({**HEAD, "object": kind, "choices": [choice]}))


TOKENS = {True: token(True), False: token(False)}


class Server:
    """first_s, gap_s: delays; a gap of 0 sends `burst` tokens to each stream in each turn of the
    loop, in one write. most: streams with a gap that go at once, as of a GPU that is full; the
    others wait for their turn. 0: all."""

    def __init__(self, first_s: float, gap_s: float, burst: int = 1, most: int = 0) -> None:
        self.first_s, self.gap_s = first_s, gap_s
        self.burst = 1 if gap_s else burst
        self.ttfts: list[float] = []
        self.waits: list[float] = []
        self.gaps: list[float] = []
        self.streams: set[Stream] = set()
        self.turning = False
        self.most = most
        self.going = 0
        self.queue: deque[Stream] = deque()

    def add(self, stream: Stream) -> None:
        loop = asyncio.get_running_loop()
        if self.gap_s:
            self.queue.append(stream)
            self.next()
            return
        self.streams.add(stream)
        if not self.turning:
            self.turning = True
            loop.call_soon(self.turn)

    def next(self) -> None:
        """Let those go on that there is room for."""
        loop = asyncio.get_running_loop()
        while self.queue and (not self.most or self.going < self.most):
            stream = self.queue.popleft()
            self.going += 1
            stream.due = loop.time() + self.first_s
            loop.call_at(stream.due, stream.step_later)

    def turn(self) -> None:
        for stream in tuple(self.streams):
            if stream.step():
                self.streams.discard(stream)
        self.turning = bool(self.streams)
        if self.turning:
            asyncio.get_running_loop().call_soon(self.turn)

    def record(self) -> bytes:
        taken = {"ttfts": self.ttfts, "waits": self.waits, "gaps": self.gaps}
        self.ttfts, self.waits, self.gaps = [], [], []
        return json.dumps(taken).encode()


class Stream:
    """One answer on its way."""

    def __init__(self, connection: Connection, body: dict[str, object], chat: bool) -> None:
        self.connection = connection
        self.server = connection.server
        self.count = int(str(body.get("max_completion_tokens") or body.get("max_tokens") or 16))
        self.left = self.count
        self.token = TOKENS[chat]
        options = body.get("stream_options")
        self.usage = isinstance(options, dict) and bool(options.get("include_usage"))
        self.came_at = self.last = connection.came_at
        self.due = 0.0

    def step_later(self) -> None:
        if self.step():
            self.server.going -= 1
            self.server.next()
            return
        self.due += self.server.gap_s
        asyncio.get_running_loop().call_at(self.due, self.step_later)

    def step(self) -> bool:
        """Write a token, or a burst; True after the last one."""
        if self.connection.closed:
            return True
        now = perf_counter()
        data = self.token
        if self.left == self.count:
            self.server.ttfts.append(now - self.came_at)
            data = STREAM + data
        else:
            self.server.gaps.append(now - self.last)
        if (more := min(self.left, self.server.burst) - 1) > 0:
            self.server.gaps.extend([0.0] * more)
            data += self.token * more
            self.left -= more
        self.connection.write(data)
        self.last = now
        self.left -= 1
        if self.left:
            return False
        self.connection.write(self.end())
        return True

    def end(self) -> bytes:
        text = b""
        if self.usage:
            counts = {"prompt_tokens": 32, "completion_tokens": self.count}
            counts["total_tokens"] = 32 + self.count
            text = chunk(json.dumps({**HEAD, "choices": [], "usage": counts}))
        return text + chunk("[DONE]") + b"0\r\n\r\n"


class Connection:
    """On a socket of its own: an event loop's transport does not hand on when something came."""

    def __init__(self, server: Server, accepted: socket.socket) -> None:
        self.server = server
        self.socket = accepted
        self.descriptor = accepted.fileno()
        self.parser = HttpRequestParser(self)
        self.waiting = self.unwritten = b""
        self.came_at = self.wait = 0.0
        self.closed = False
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(self.descriptor, self.readable)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.loop.remove_reader(self.descriptor)
            self.loop.remove_writer(self.descriptor)
            self.socket.close()

    def readable(self) -> None:
        try:
            data, told, _, _ = self.socket.recvmsg(65536, 64)
        except BlockingIOError:
            return
        except OSError:
            data, told = b"", []
        if not data:
            self.close()
            return
        # Looked at when all that came at once is read: what one request costs is no other's delay.
        if not self.waiting:
            self.wait = 0.0
            for _, kind, value in told:
                if kind == SO_TIMESTAMPNS:
                    seconds, nanos = struct.unpack("qq", value)
                    self.wait = max((time.time_ns() - seconds * 10**9 - nanos) / 1e9, 0.0)
            self.came_at = perf_counter() - self.wait
            self.loop.call_soon(self.look)
        self.waiting += data

    def look(self) -> None:
        data, self.waiting = self.waiting, b""
        self.parser.feed_data(data)

    def write(self, data: bytes) -> None:
        """At once, as far as there is room."""
        if self.closed:
            return
        written = 0
        if not self.unwritten:
            try:
                written = os.write(self.descriptor, data)
            except BlockingIOError:
                pass
            except OSError:
                self.close()
                return
        if written < len(data):
            if not self.unwritten:
                self.loop.add_writer(self.descriptor, self.write_more)
            self.unwritten += data[written:]

    def write_more(self) -> None:
        data, self.unwritten = self.unwritten, b""
        self.loop.remove_writer(self.descriptor)
        self.write(data)

    def on_message_begin(self) -> None:
        self.url, self.body = b"", b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        path = self.url.decode().partition("?")[0]
        if path.endswith("/completions"):
            body = json.loads(self.body)
            self.server.waits.append(self.wait)
            if body.get("stream"):
                self.server.add(Stream(self, body, "chat" in path))
            else:
                self.answer(self.whole(body, "chat" in path))
        elif path == "/record":
            self.answer(self.server.record())
        elif path == "/v1/models":
            card = {"id": MODEL, "object": "model", "owned_by": "vllm", "max_model_len": 8192}
            self.answer(json.dumps({"object": "list", "data": [card]}).encode())
        elif path in ("/health", "/ping", "/version"):
            self.answer(b"{}")
        else:
            self.answer(b"{}", b"404 Not Found")

    def whole(self, body: dict[str, object], chat: bool) -> bytes:
        count = int(str(body.get("max_completion_tokens") or body.get("max_tokens") or 16))
        text = " word" * count
        content = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": "length"}
        usage = {"prompt_tokens": 32, "completion_tokens": count, "total_tokens": 32 + count}
        return json.dumps({**HEAD, "choices": [choice], "usage": usage}).encode()

    def answer(self, body: bytes, status: bytes = b"200 OK") -> None:
        head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self.write(head % (status, len(body)) + body)


async def serve(port: int, server: Server) -> None:
    listening = socket.create_server(("127.0.0.1", port), backlog=4096)
    listening.setblocking(False)
    listening.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)  # accepted sockets inherit it

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = listening.accept()
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                Connection(server, accepted)

    asyncio.get_running_loop().add_reader(listening, accept)
    print(f"ready {listening.getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--core", type=int)
    parser.add_argument("--first-ms", type=float, default=0.0)
    parser.add_argument("--gap-ms", type=float, default=0.0)
    parser.add_argument("--burst", type=int, default=1)
    parser.add_argument("--most", type=int, default=0)
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    first_s, gap_s = options.first_ms / 1000, options.gap_ms / 1000
    server = Server(first_s, gap_s, options.burst, options.most)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options.port, server))


if __name__ == "__main__":
    main()
