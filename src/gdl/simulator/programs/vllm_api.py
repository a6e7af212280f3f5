"""The HTTP API of the simulated vLLM server: made-up answers at the speed of a real GPU.

Standard library only: it runs on the simulated machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

from . import vllm_messages, vllm_responses
from .vllm_answers import Completions, Form, Generation, error_body
from .vllm_http import (
    Abort,
    BadRequest,
    Request,
    begin_stream,
    end_stream,
    event,
    read_request,
    respond,
    send,
)
from .vllm_messages import Messages
from .vllm_metrics import Metrics
from .vllm_parsers import CONTENT, NO_PARSERS, Parsers, Piece, finish_reason, pieces, refusal, words
from .vllm_responses import Responses
from .vllm_script import NO_TEMPLATE, Script

LABEL = "(simulated)"
ANSWERS = (
    ("capital of France", "The capital of France is Paris."),
    ("2 + 2", "2 + 2 is 4."),
    ("9.11 or 9.9", "9.9 is larger."),
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
_USUAL_WORDS = 200
"""Of an answer that nobody limited."""
PATHS = frozenset(
    (
        "/v1/chat/completions",
        "/v1/completions",
        vllm_messages.PATH,
        vllm_messages.COUNT,
        vllm_responses.PATH,
    )
)
"""Those that are asked something."""


@dataclass(frozen=True)
class Served:
    """token_s: seconds for one token of one request, at speed 1. seats: requests that run at a
    time; the others wait. trouble: request, sick, template or "": what goes wrong with generations.
    trouble_text: what it says. die: ends the process. template_tokens: what the chat template adds
    to a prompt. parsers: of tool calls and reasoning."""

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
    template_tokens: int = 8
    parsers: Parsers = NO_PARSERS

    @property
    def first_s(self) -> float:
        return 0.018 + 2 * self.token_s


class Api:
    """Its API. Speed as of the GPU: a token needs all weights once, and reading them takes
    as long as the memory's bandwidth lets it; more requests at a time slow each down a little,
    and what finds no seat waits until one is free, so the throughput grows up to that number."""

    def __init__(self, served: Served, script: Script | None = None) -> None:
        self._served = served
        self._script = script or Script()
        self._seats = asyncio.Semaphore(max(served.seats, 1))
        self._number = 0
        self._metrics = Metrics()
        self.answered = asyncio.Event()
        """A generation has gone well."""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await read_request(reader)) is not None:
                self._script.requests.append(request)
                await self._answer(request, writer)
                await writer.drain()
        except Abort:
            writer.transport.abort()
        except BadRequest:
            # In uvicorn's words.
            respond(writer, 400, "Invalid HTTP request received.", "text/plain; charset=utf-8")
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        path = request.path.partition("?")[0]
        if path in self._script.statuses:
            status, body = self._script.statuses[path]
            return respond(writer, status, body)
        if path in ("/health", "/ping"):
            return respond(writer, self._script.health_status, "")
        if path == "/version":
            return respond(writer, 200, {"version": self._served.version, "simulated": True})
        if path == "/metrics":
            text = self._metrics.text(self._served.model, self._served.seats)
            return respond(writer, 200, text, "text/plain; version=0.0.4")
        authorized = f"Bearer {self._served.key}" == request.headers.get("authorization", "")
        if path.startswith("/v1/") and self._served.key and not authorized:
            return respond(writer, 401, {"error": "Unauthorized"})
        if path == "/v1/models":
            return respond(writer, 200, {"object": "list", "data": [self._card()]})
        if path not in PATHS:
            return respond(writer, 404, {"detail": "Not Found"})
        if request.method != "POST":
            return respond(writer, 405, {"detail": "Method Not Allowed"})
        request, form = _understood(path, request)
        if path == vllm_messages.COUNT:
            count = self._prompt_tokens(request, chat=True)
            told = {"input_tokens": count, "context_management": {"original_input_tokens": count}}
            return respond(writer, 200, told)
        return await self._generate(request, writer, form, chat=path != "/v1/completions")

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

    def _refusal(self, body: Any, chat: bool) -> tuple[int, str] | None:
        """Status and text of the error that a generation ends with before it begins."""
        served, script = self._served, self._script
        if not isinstance(body, dict):
            return 400, "the body is not a JSON object"
        if served.trouble == "request":
            served.die()
        if served.trouble == "sick" or script.fail_next > 0:
            script.fail_next = max(script.fail_next - 1, 0)
            return 500, "EngineCore encountered an issue"
        if body.get("model", served.model) != served.model:
            return 404, f"The model `{body['model']}` does not exist."
        if chat and served.trouble == "template":
            return 400, served.trouble_text.strip()
        if chat and not script.chat_template:
            return 400, NO_TEMPLATE
        if chat and (wrong := refusal(body, served.parsers)):
            return 400, wrong
        return None

    async def _generate(
        self, request: Request, writer: asyncio.StreamWriter, form: Form, *, chat: bool
    ) -> None:
        if refusal := self._refusal(request.body, chat):
            status, text = refusal
            return respond(writer, status, form.error(text, status))
        answer = self._generation(request, chat)
        async with self._seat():
            if request.json.get("stream"):
                await self._stream(request, writer, answer, form)
            else:
                await asyncio.sleep(self._first_delay(answer) + self._gap() * (answer.count - 1))
                respond(writer, 200, form.whole(answer, usage=self._script.usage))
        counts = self._metrics.counts
        counts["prompt"] += answer.prompt_tokens
        counts["generation"] += answer.count
        # An answer that calls a tool has come to its own end.
        counts["length" if answer.reason == "length" else "stop"] += 1
        self.answered.set()
        return None

    @contextlib.asynccontextmanager
    async def _seat(self) -> AsyncIterator[None]:
        """A place among the requests that run; waits for one."""
        metrics, script = self._metrics, self._script
        metrics.waiting += 1
        try:
            await self._seats.acquire()
        finally:
            metrics.waiting -= 1
        metrics.running += 1
        script.running = metrics.running
        script.most_running = max(script.most_running, metrics.running)
        try:
            yield
        finally:
            metrics.running -= 1
            script.running = metrics.running
            self._seats.release()

    def _generation(self, request: Request, chat: bool) -> Generation:
        prompt, body = request.prompt, request.json
        asked = int(body.get("max_completion_tokens") or body.get("max_tokens") or 0)
        # A chat's answer may fill the context, a plain completion has 16 tokens, as with vLLM.
        limit = asked or (self._served.longest if chat else 16)
        limit = max(min(limit, self._served.longest), 1)
        text = self._script.answer_to(prompt)
        known = next((answer for part, answer in ANSWERS if part in prompt), None)
        if text is None and known is not None and not body.get("ignore_eos"):
            text = f"{known} {LABEL}"
        elif text is None:
            chance = random.Random(prompt)  # noqa: S311 - a simulation
            text = f"{LABEL} " + " ".join(
                chance.choice(WORDS)
                for _ in range(min(limit, _USUAL_WORDS) if not asked else limit)
            )
        tokens = self._pieces(body, text, chat)
        reason = "length" if len(tokens) > limit else finish_reason(body, tokens)
        self._number += 1
        counted = self._prompt_tokens(request, chat=chat)
        return Generation(self._number, self._served.model, tokens[:limit], reason, counted)

    def _prompt_tokens(self, request: Request, *, chat: bool) -> int:
        return len(request.prompt.split()) + (self._served.template_tokens if chat else 0)

    def _pieces(self, body: dict[str, Any], text: str, chat: bool) -> list[Piece]:
        if not chat:
            return words(CONTENT, text)
        thinks, habit = self._script.thinks, self._script.tool_habit
        return pieces(body, text, self._served.parsers, thinks=thinks, tool_habit=habit)

    def _first_delay(self, answer: Generation) -> float:
        if self._script.first_delay_s is not None:
            return self._script.first_delay_s
        seconds = self._served.first_s + answer.prompt_tokens * self._served.token_s / 60
        return seconds / self._served.speed

    def _gap(self) -> float:
        if self._script.token_delay_s is not None:
            return self._script.token_delay_s
        seconds = self._served.token_s * (1 + 0.02 * (self._metrics.running - 1))
        return seconds / self._served.speed

    def _next_due(self, due: float) -> float:
        """When the token after the one that was due is due."""
        if self._script.token_delay_s is not None:
            return time.perf_counter() + self._script.token_delay_s
        # Never late on purpose: a delay too short to be slept is made up by the next one.
        return due + self._gap()

    async def _stream(
        self, request: Request, writer: asyncio.StreamWriter, answer: Generation, form: Form
    ) -> None:
        begin_stream(writer, self._script.content_type)
        if self._script.raw_events is not None:
            for payload in self._script.raw_events:
                event(writer, payload)
            return end_stream(writer)
        began = time.perf_counter()
        if not await self._tokens(writer, answer, form, began):
            return end_stream(writer)
        options = request.json.get("stream_options")
        wanted = isinstance(options, dict) and bool(options.get("include_usage"))
        send(writer, form.end(answer, usage=wanted and self._script.usage))
        end_stream(writer)
        self._metrics.times["whole"].append(time.perf_counter() - began)
        return None

    async def _tokens(
        self, writer: asyncio.StreamWriter, answer: Generation, form: Form, began: float
    ) -> bool:
        """Each token when it is due; False when the stream is to end early."""
        due = began + self._first_delay(answer)
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        self._metrics.times["first"].append(time.perf_counter() - began)
        last = time.perf_counter()
        send(writer, form.begin(answer))
        for place in range(answer.count):
            if await self._misbehaves(place, writer):
                return False
            send(writer, form.piece(answer, place))
            due = self._next_due(due)
            if due - time.perf_counter() > 0.001 and place < answer.count - 1:
                await writer.drain()
                await asyncio.sleep(due - time.perf_counter())
                now = time.perf_counter()
                self._metrics.times["between"].append(now - last)
                last = now
        return True

    async def _misbehaves(self, place: int, writer: asyncio.StreamWriter) -> bool:
        """What was ordered for after `place` tokens; True when the stream is over."""
        script = self._script
        if place == script.reset_after:
            await writer.drain()
            raise Abort
        if place == script.stall_after:
            await writer.drain()
            await asyncio.Event().wait()
        if place == script.error_after:
            event(writer, error_body("EngineCore encountered an issue", 500))
            event(writer, "[DONE]")
        return place in (script.error_after, script.truncate_after)


def _understood(path: str, request: Request) -> tuple[Request, Form]:
    """The chat or completion that is meant, and the form of its answer."""
    if path in (vllm_messages.PATH, vllm_messages.COUNT):
        form: Form = Messages()
        chat_of = vllm_messages.chat_of
    elif path == vllm_responses.PATH:
        form, chat_of = Responses(request.json), vllm_responses.chat_of
    else:
        return request, Completions(chat="chat" in path)
    body = chat_of(request.body) if isinstance(request.body, dict) else None
    return replace(request, body=body), form
