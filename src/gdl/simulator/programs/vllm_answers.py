"""Answers of the simulated vLLM server, in the form of chat completions and of completions.

Standard library only: it runs on the simulated machine.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

from .vllm_parsers import Piece, delta, message

Event = tuple[str, object]
"""Of a stream: its name, "" for none, and what it holds."""


@dataclass(frozen=True)
class Generation:
    """An answer that is being given. number: of the request."""

    number: int
    model: str
    tokens: list[Piece]
    reason: str
    prompt_tokens: int

    @property
    def count(self) -> int:
        return len(self.tokens)

    @property
    def tool_id(self) -> str:
        return f"chatcmpl-tool-{self.number}"

    def usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.count,
            "total_tokens": self.prompt_tokens + self.count,
        }


class Form(Protocol):
    """How one API puts an answer. usage: whether a stream ends with the number of tokens."""

    def whole(self, answer: Generation, *, usage: bool) -> dict[str, Any]: ...

    def begin(self, answer: Generation) -> list[Event]: ...

    def piece(self, answer: Generation, place: int) -> list[Event]:
        """The events for the token at that place."""
        ...

    def end(self, answer: Generation, *, usage: bool) -> list[Event]: ...

    def error(self, text: str, status: int) -> dict[str, Any]: ...


class Completions:
    """/v1/chat/completions, and /v1/completions where chat is False."""

    def __init__(self, *, chat: bool) -> None:
        self._chat = chat

    def whole(self, answer: Generation, *, usage: bool) -> dict[str, Any]:
        if self._chat:
            said = message(answer.tokens, answer.tool_id)
            one = {"index": 0, "message": said, "logprobs": None, "finish_reason": answer.reason}
        else:
            one = _text_choice("".join(token.text for token in answer.tokens), answer.reason)
        body = self._head(answer, "chat.completion") | {"choices": [one]}
        return body | ({"usage": answer.usage()} if usage else {})

    def begin(self, answer: Generation) -> list[Event]:
        if not self._chat:
            return []
        return [self._chunk(answer, _choice({"role": "assistant", "content": ""}, None))]

    def piece(self, answer: Generation, place: int) -> list[Event]:
        token = answer.tokens[place]
        ended = answer.reason if place == answer.count - 1 else None
        if self._chat:
            return [self._chunk(answer, _choice(delta(token, answer.tool_id), ended))]
        return [self._chunk(answer, _text_choice(token.text, ended))]

    def end(self, answer: Generation, *, usage: bool) -> list[Event]:
        head = self._head(answer, "chat.completion.chunk")
        told: list[Event] = [("", head | {"choices": [], "usage": answer.usage()})]
        return [*(told if usage else ()), ("", "[DONE]")]

    def error(self, text: str, status: int) -> dict[str, Any]:
        return error_body(text, status)

    def _chunk(self, answer: Generation, one: dict[str, Any]) -> Event:
        return "", self._head(answer, "chat.completion.chunk") | {"choices": [one]}

    def _head(self, answer: Generation, kind: str) -> dict[str, Any]:
        return {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-simulated-{answer.number}",
            "object": kind if self._chat else "text_completion",
            "created": int(time.time()),
            "model": answer.model,
        }


def _choice(said: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": said, "logprobs": None, "finish_reason": reason}


def _text_choice(text: str, reason: str | None) -> dict[str, Any]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}


def error_body(text: str, code: int) -> dict[str, Any]:
    return {"error": {"message": text, "type": "simulated", "param": None, "code": code}}
