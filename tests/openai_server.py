"""A stand-in for a served model: a real HTTP server on loopback that speaks the OpenAI API.

In a test:

    async with OpenAIServer(model="tiny", api_key="k") as server:
        server.answers["capital of France"] = "The capital of France is Paris."
        server.token_delay_s = 0.01
        ... server.url, server.port, server.requests ...

As a process (key from VLLM_API_KEY): python tests/openai_server.py --port 8000 --model tiny
Nothing but the standard library, so any Python can run it. One word is one token.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
from dataclasses import dataclass, field
from typing import Any

NO_TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a "
    "chat template if the tokenizer does not define one."
)
_PHRASES = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}


@dataclass
class Request:
    """One request as it came; header names in lower case. `json`: its body, {} without one."""

    method: str
    path: str
    headers: dict[str, str]
    json: dict[str, Any]

    @property
    def prompt(self) -> str:
        if "prompt" in self.json:
            return str(self.json["prompt"])
        return str(self.json["messages"][-1]["content"])


class Abort(Exception):
    """Drop the connection without a word."""


@dataclass
class OpenAIServer:
    """Everything may be changed while it runs, and holds for the requests that come after.

    answers: (part of a prompt -> answer); default_answer for all others. statuses: (path ->
    (status, body)) answered instead of what the path would do. fail_next: as many generation
    requests get an HTTP 500. After `*_after` tokens of a stream: truncate ends it without [DONE],
    reset cuts the connection, stall holds it until the server closes, error puts an error object
    into the stream. raw_events: `data:` payloads to send in place of an answer.
    """

    model: str = "tiny"
    api_key: str = ""
    port: int = 0
    default_answer: str = "one two three four five six seven eight nine ten"
    answers: dict[str, str] = field(default_factory=dict)
    first_delay_s: float = 0.0
    token_delay_s: float = 0.0
    health_status: int = 200
    chat_template: bool = True
    usage: bool = True
    statuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    fail_next: int = 0
    truncate_after: int | None = None
    reset_after: int | None = None
    stall_after: int | None = None
    error_after: int | None = None
    raw_events: list[str] | None = None
    content_type: str = "text/event-stream; charset=utf-8"

    requests: list[Request] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def __aenter__(self) -> OpenAIServer:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Own tasks, because the server's own ones are not told to end when it closes.
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read_request(reader)) is not None:
                self.requests.append(request)
                await self._answer(request, writer)
                await writer.drain()
        except Abort:
            writer.transport.abort()
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        path = request.path.split("?")[0]
        if path in self.statuses:
            status, body = self.statuses[path]
            return _respond(writer, status, body)
        if path == "/health":
            return _respond(writer, self.health_status, "")
        if path == "/metrics":
            return _respond(writer, 200, self._metrics(), "text/plain; version=0.0.4")
        if self.api_key and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return _respond(writer, 401, {"error": "Unauthorized"})
        if path == "/v1/models":
            entry = {"id": self.model, "object": "model", "owned_by": "vllm"}
            return _respond(writer, 200, {"object": "list", "data": [entry]})
        if path in ("/v1/chat/completions", "/v1/completions") and request.method == "POST":
            return await self._generate(request, writer, chat="chat" in path)
        return _respond(writer, 404, {"detail": "Not Found"})

    async def _generate(self, request: Request, writer: asyncio.StreamWriter, chat: bool) -> None:
        if self.fail_next > 0:
            self.fail_next -= 1
            return _respond(writer, 500, _error("the engine has a cold", 500))
        if chat and not self.chat_template:
            return _respond(writer, 400, _error(NO_TEMPLATE, 400))
        if request.json.get("model") != self.model:
            wrong = request.json.get("model")
            return _respond(writer, 404, _error(f"The model `{wrong}` does not exist.", 404))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if request.json.get("stream"):
                await self._stream(request, writer, chat)
            else:
                await self._whole(request, writer, chat)
        finally:
            self.running -= 1

    def _tokens(self, request: Request) -> tuple[list[str], str]:
        """The tokens of the answer, and the finish reason."""
        answer = next((a for part, a in self.answers.items() if part in request.prompt), None)
        tokens = re.findall(r"\s*\S+", self.default_answer if answer is None else answer)
        limit = int(request.json.get("max_tokens", 16))
        return tokens[:limit], "length" if len(tokens) > limit else "stop"

    async def _whole(self, request: Request, writer: asyncio.StreamWriter, chat: bool) -> None:
        tokens, reason = self._tokens(request)
        await asyncio.sleep(self.first_delay_s + self.token_delay_s * max(len(tokens) - 1, 0))
        text = "".join(tokens)
        content = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        body: dict[str, object] = {"choices": [{"index": 0, **content, "finish_reason": reason}]}
        if self.usage:
            body["usage"] = _usage(request, len(tokens))
        _respond(writer, 200, body)

    async def _stream(self, request: Request, writer: asyncio.StreamWriter, chat: bool) -> None:
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: {self.content_type}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        if self.raw_events is not None:
            for event in self.raw_events:
                _event(writer, event)
            return _end_stream(writer)
        tokens, reason = self._tokens(request)
        await asyncio.sleep(self.first_delay_s)
        for number, token in enumerate(tokens):
            if number and self.token_delay_s:
                await asyncio.sleep(self.token_delay_s)
            if await self._misbehave(number, writer):
                return None
            last = reason if number == len(tokens) - 1 else None
            _event(writer, {"choices": [_choice(token, last, chat)]})
            await writer.drain()
        if (request.json.get("stream_options") or {}).get("include_usage") and self.usage:
            _event(writer, {"choices": [], "usage": _usage(request, len(tokens))})
        _event(writer, "[DONE]")
        return _end_stream(writer)

    async def _misbehave(self, number: int, writer: asyncio.StreamWriter) -> bool:
        """What was ordered for after `number` tokens; True when the stream is over."""
        if number == self.reset_after:
            await writer.drain()
            raise Abort
        if number == self.stall_after:
            await writer.drain()
            await asyncio.Event().wait()
        if number == self.error_after:
            _event(writer, _error("EngineCore encountered an issue", 500))
            _event(writer, "[DONE]")
        if number in (self.error_after, self.truncate_after):
            _end_stream(writer)
            return True
        return False

    def _metrics(self) -> str:
        label = f'{{engine="0",model_name="{self.model}"}}'
        return (
            "# TYPE vllm:num_requests_running gauge\n"
            f"vllm:num_requests_running{label} {float(self.running)}\n"
            "# TYPE vllm:num_requests_waiting gauge\n"
            f"vllm:num_requests_waiting{label} 0.0\n"
            "# TYPE vllm:kv_cache_usage_perc gauge\n"
            f"vllm:kv_cache_usage_perc{label} 0.25\n"
        )


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    line = await reader.readline()
    if not line.strip():
        return None
    method, path, _ = line.decode("latin-1").split()
    headers: dict[str, str] = {}
    while (line := await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, json.loads(content) if content else {})


def _respond(
    writer: asyncio.StreamWriter, status: int, body: object, kind: str = "application/json"
) -> None:
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    writer.write(
        f"HTTP/1.1 {status} {_PHRASES.get(status, 'Trouble')}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n".encode()
        + content
    )


def _event(writer: asyncio.StreamWriter, payload: object) -> None:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    data = f"data: {text}\n\n".encode()
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


def _end_stream(writer: asyncio.StreamWriter) -> None:
    writer.write(b"0\r\n\r\n")


def _choice(token: str, finish_reason: str | None, chat: bool) -> dict[str, Any]:
    content = {"delta": {"content": token}} if chat else {"text": token}
    return {"index": 0, **content, "finish_reason": finish_reason}


def _usage(request: Request, output: int) -> dict[str, int]:
    prompt = len(request.prompt.split())
    return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}


def _error(message: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": "error", "param": None, "code": code}}


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", default="tiny")
    given = parser.parse_args()
    server = OpenAIServer(given.model, os.environ.get("VLLM_API_KEY", ""), given.port)
    server.answers["capital of France"] = "The capital of France is Paris."
    async with server:
        print(f"Application startup complete. {server.url}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main())
