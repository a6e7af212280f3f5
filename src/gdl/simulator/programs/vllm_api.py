"""The OpenAI API of the simulated vLLM server: made-up answers at the speed of a real GPU.

Standard library only: it runs on the simulated machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

LABEL = "(simulated)"
ANSWERS = (
    ("capital of France", "The capital of France is Paris."),
    ("2 + 2", "2 + 2 is 4."),
    ("adds two numbers", "def add(a, b):\n    return a + b"),
    ("haiku", "Waves fold into foam,\na slow tide combs the grey shore,\nthe deep keeps its salt."),
    ("primary colors", "The three primary colors are red, blue and yellow."),
)
_ARTICLE = (
    "their history begins long before the first written record and every age has found another "
    "use for them in towns and at sea by night and in the cold of winter people relied on what "
    "earlier hands had made well and repaired often so that knowledge passed on slowly but surely"
)
WORDS = _ARTICLE.split()


@dataclass(frozen=True)
class Served:
    """token_s: seconds for one token of one request, at speed 1. seats: requests that run at a
    time; the others wait. trouble: request, sick, template
    or "": what goes wrong with generations. trouble_text: what it says. die: ends the process."""

    model: str
    longest: int
    key: str
    token_s: float
    speed: float
    version: str
    trouble: str
    trouble_text: str
    die: Callable[[], None]
    seats: int = 256

    @property
    def first_s(self) -> float:
        return 0.018 + 2 * self.token_s


class Api:
    """The OpenAI API. Speed as of the GPU: a token needs all weights once, and reading them takes
    as long as the memory's bandwidth lets it; more requests at a time slow each down a little,
    and what finds no seat waits until one is free, so the throughput grows up to that number."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._running = 0
        self._waiting = 0
        self._seats = asyncio.Semaphore(max(served.seats, 1))
        self._number = 0
        self._counts = {"prompt": 0, "generation": 0, "stop": 0, "length": 0}
        self._times: dict[str, list[float]] = {"first": [], "between": [], "whole": []}

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await read_request(reader)) is not None:
                await self._answer(request, writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()

    async def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        path = request["path"].partition("?")[0]
        if path in ("/health", "/ping"):
            return respond(writer, 200, "")
        if path == "/version":
            return respond(writer, 200, {"version": self._served.version, "simulated": True})
        if path == "/metrics":
            return respond(writer, 200, self._metrics(), "text/plain; version=0.0.4")
        authorized = f"Bearer {self._served.key}" == request["headers"].get("authorization", "")
        if path.startswith("/v1/") and self._served.key and not authorized:
            return respond(writer, 401, {"error": "Unauthorized"})
        if path == "/v1/models":
            return respond(writer, 200, {"object": "list", "data": [self._card()]})
        if path in ("/v1/chat/completions", "/v1/completions"):
            if request["method"] != "POST":
                return respond(writer, 405, {"detail": "Method Not Allowed"})
            return await self._generate(request["body"], writer, chat="chat" in path)
        return respond(writer, 404, {"detail": "Not Found"})

    def _card(self) -> dict[str, Any]:
        return {
            "id": self._served.model,
            "object": "model",
            "created": int(time.time()),
            "owned_by": "vllm",
            "root": self._served.model,
            "parent": None,
            "max_model_len": self._served.longest,
            "simulated": True,
        }

    async def _generate(self, body: Any, writer: asyncio.StreamWriter, chat: bool) -> None:
        if not isinstance(body, dict):
            return respond(writer, 400, error_body("the body is not a JSON object", 400))
        if self._served.trouble == "request":
            self._served.die()
        if self._served.trouble == "sick":
            return respond(writer, 500, error_body("EngineCore encountered an issue", 500))
        if body.get("model", self._served.model) != self._served.model:
            text = f"The model `{body['model']}` does not exist."
            return respond(writer, 404, error_body(text, 404))
        if chat and self._served.trouble == "template":
            return respond(writer, 400, error_body(self._served.trouble_text.strip(), 400))
        prompt = prompt_of(body, chat)
        tokens, reason = self._tokens(prompt, body)
        usage = {
            "prompt_tokens": len(prompt.split()) + (8 if chat else 0),
            "completion_tokens": len(tokens),
        }
        usage["total_tokens"] = usage["prompt_tokens"] + len(tokens)
        self._number += 1
        async with self._seat():
            if body.get("stream"):
                await self._stream(body, writer, chat, tokens, reason, usage)
            else:
                await self._keep_time(len(tokens), usage["prompt_tokens"])
                respond(writer, 200, self._whole(chat, "".join(tokens), reason, usage))
        self._counts["prompt"] += usage["prompt_tokens"]
        self._counts["generation"] += len(tokens)
        self._counts[reason] += 1
        return None

    @contextlib.asynccontextmanager
    async def _seat(self) -> AsyncIterator[None]:
        """A place among the requests that run; waits for one."""
        self._waiting += 1
        try:
            await self._seats.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._seats.release()

    def _tokens(self, prompt: str, body: dict[str, Any]) -> tuple[list[str], str]:
        limit = int(body.get("max_completion_tokens") or body.get("max_tokens") or 16)
        limit = max(min(limit, self._served.longest), 1)
        known = next((answer for part, answer in ANSWERS if part in prompt), None)
        if known is not None and not body.get("ignore_eos"):
            text = f"{known} {LABEL}"
        else:
            chance = random.Random(prompt)  # noqa: S311 - a simulation
            text = f"{LABEL} " + " ".join(chance.choice(WORDS) for _ in range(limit))
        tokens = re.findall(r"\s*\S+", text)
        return tokens[:limit], "length" if len(tokens) > limit else "stop"

    def _first_delay(self, prompt_tokens: int) -> float:
        seconds = self._served.first_s + prompt_tokens * self._served.token_s / 60
        return seconds / self._served.speed

    def _gap(self) -> float:
        seconds = self._served.token_s * (1 + 0.02 * (self._running - 1))
        return seconds / self._served.speed

    async def _keep_time(self, count: int, prompt_tokens: int) -> None:
        await asyncio.sleep(self._first_delay(prompt_tokens) + self._gap() * (count - 1))

    async def _stream(
        self,
        body: dict[str, Any],
        writer: asyncio.StreamWriter,
        chat: bool,
        tokens: list[str],
        reason: str,
        usage: dict[str, int],
    ) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        began = time.perf_counter()
        due = began + self._first_delay(usage["prompt_tokens"])
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        self._times["first"].append(time.perf_counter() - began)
        head = self._head(chat, "chat.completion.chunk" if chat else "text_completion")
        if chat:
            event(writer, head | {"choices": [choice({"role": "assistant", "content": ""}, None)]})
        last = time.perf_counter()
        for place, token in enumerate(tokens):
            ended = reason if place == len(tokens) - 1 else None
            one = choice({"content": token}, ended) if chat else text_choice(token, ended)
            event(writer, head | {"choices": [one]})
            due += self._gap()
            # Never late on purpose: a delay too short to be slept is made up by the next one.
            if due - time.perf_counter() > 0.001 and ended is None:
                await writer.drain()
                await asyncio.sleep(due - time.perf_counter())
                now = time.perf_counter()
                self._times["between"].append(now - last)
                last = now
        options = body.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            event(writer, head | {"choices": [], "usage": usage})
        event(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")
        self._times["whole"].append(time.perf_counter() - began)

    def _head(self, chat: bool, kind: str) -> dict[str, Any]:
        return {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-simulated-{self._number}",
            "object": kind,
            "created": int(time.time()),
            "model": self._served.model,
        }

    def _whole(self, chat: bool, text: str, reason: str, usage: dict[str, int]) -> dict[str, Any]:
        head = self._head(chat, "chat.completion" if chat else "text_completion")
        if chat:
            message = {"role": "assistant", "content": text}
            one = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        else:
            one = text_choice(text, reason)
        return head | {"choices": [one], "usage": usage}

    def _metrics(self) -> str:
        label = f'engine="0",model_name="{self._served.model}"'
        used = min(self._running / max(self._served.seats, 1), 1.0)
        lines = ["# A simulated server: these figures are made up."]
        for name, value in (
            ("num_requests_running", float(self._running)),
            ("num_requests_waiting", float(self._waiting)),
            ("kv_cache_usage_perc", used),
        ):
            lines += [f"# TYPE vllm:{name} gauge", f"vllm:{name}{{{label}}} {value}"]
        for name, value in (
            ("prompt_tokens_total", self._counts["prompt"]),
            ("generation_tokens_total", self._counts["generation"]),
            ("num_preemptions_total", 0.0),
        ):
            lines += [f"# TYPE vllm:{name} counter", f"vllm:{name}{{{label}}} {float(value)}"]
        lines.append("# TYPE vllm:request_success_total counter")
        for reason in ("stop", "length"):
            one = f'{label},finished_reason="{reason}"'
            lines.append(f"vllm:request_success_total{{{one}}} {float(self._counts[reason])}")
        for name, key in (
            ("time_to_first_token_seconds", "first"),
            ("inter_token_latency_seconds", "between"),
            ("e2e_request_latency_seconds", "whole"),
        ):
            lines += histogram(f"vllm:{name}", label, self._times[key])
        return "\n".join(lines) + "\n"


def histogram(name: str, label: str, values: list[float]) -> list[str]:
    lines = [f"# TYPE {name} histogram"]
    for bound in (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0):
        count = sum(value <= bound for value in values)
        lines.append(f'{name}_bucket{{{label},le="{bound}"}} {float(count)}')
    lines.append(f'{name}_bucket{{{label},le="+Inf"}} {float(len(values))}')
    lines += [f"{name}_sum{{{label}}} {sum(values)}", f"{name}_count{{{label}}} {len(values)}"]
    return lines


def prompt_of(body: dict[str, Any], chat: bool) -> str:
    if not chat:
        return str(body.get("prompt", ""))
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        return ""
    return str(messages[-1].get("content", ""))


def choice(delta: dict[str, str], reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def text_choice(text: str, reason: str | None) -> dict[str, Any]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}


def error_body(text: str, code: int) -> dict[str, Any]:
    return {"error": {"message": text, "type": "simulated", "param": None, "code": code}}


async def read_request(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    line = await reader.readline()
    if not line.strip():
        return None
    method, path, _ = line.decode("latin-1").split()
    headers: dict[str, str] = {}
    while (line := await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    content = await reader.readexactly(min(int(headers.get("content-length", 0)), 2**24))
    try:
        body = json.loads(content) if content else None
    except ValueError:
        body = None
    return {"method": method, "path": path, "headers": headers, "body": body}


def respond(
    writer: asyncio.StreamWriter, status: int, body: object, kind: str = "application/json"
) -> None:
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    head = f"HTTP/1.1 {status} {'OK' if status == 200 else 'Error'}\r\nContent-Type: {kind}\r\n"
    writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)


def event(writer: asyncio.StreamWriter, payload: object) -> None:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    data = f"data: {text}\n\n".encode()
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))
