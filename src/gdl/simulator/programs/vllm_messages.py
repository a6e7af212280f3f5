"""Anthropic's API of the simulated vLLM server, /v1/messages, as vLLM 0.32 speaks it (seen on the
real one): a chat in other words.

Standard library only: it runs on the simulated machine.
"""

from __future__ import annotations

import json
from typing import Any

from .vllm_answers import Event, Generation
from .vllm_parsers import ARGUMENTS, CONTENT, NAME, REASONING, message

PATH = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
_ERRORS = {400: "BadRequestError", 404: "NotFoundError"}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def chat_of(body: dict[str, Any]) -> dict[str, Any]:
    """The chat that a request means."""
    messages = [
        {"role": each.get("role"), "content": _text(each.get("content"))}
        for each in body.get("messages") or ()
        if isinstance(each, dict)
    ]
    if system := _text(body.get("system")):
        messages.insert(0, {"role": "system", "content": system})
    chat: dict[str, Any] = {
        key: body[key] for key in ("model", "max_tokens", "stream") if key in body
    }
    chat["messages"] = messages
    if tools := [tool for tool in body.get("tools") or () if isinstance(tool, dict)]:
        chat["tools"] = [_function(tool) for tool in tools]
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        named = {"type": "function", "function": {"name": choice.get("name", "")}}
        chat["tool_choice"] = _CHOICES.get(str(choice.get("type")), named)
    return chat


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    function = {"name": tool.get("name"), "parameters": tool.get("input_schema")}
    return {"type": "function", "function": function | _strict(tool)}


def _strict(tool: dict[str, Any]) -> dict[str, Any]:
    return {"strict": tool["strict"]} if "strict" in tool else {}


def _text(content: Any) -> str:
    """Of a message: the text of its blocks, and what its tools have told."""
    if isinstance(content, str):
        return content
    blocks = [block for block in content or () if isinstance(block, dict)]
    return "\n".join(str(block.get("text") or _text(block.get("content"))) for block in blocks)


class Messages:
    """See `vllm_answers.Form`."""

    def __init__(self) -> None:
        self._blocks = 0
        self._open = ""

    def whole(self, answer: Generation, *, usage: bool) -> dict[str, Any]:
        said = message(answer.tokens, answer.tool_id)
        content: list[dict[str, Any]] = []
        if said["reasoning"]:
            thought = {"thinking": said["reasoning"], "signature": f"simulated-{answer.number}"}
            content.append({"type": "thinking", **thought})
        if said["content"]:
            content.append({"type": "text", "text": said["content"]})
        for call in said.get("tool_calls", ()):
            function = call["function"]
            called = {"name": function["name"], "input": json.loads(function["arguments"])}
            content.append({"type": "tool_use", "id": call["id"], **called})
        return self._head(answer) | {
            "content": content,
            "stop_reason": _stop_reason(answer),
            "usage": _usage(answer, answer.count),
        }

    def begin(self, answer: Generation) -> list[Event]:
        empty: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
        begun = self._head(answer) | empty | {"usage": _usage(answer, 0)}
        return [("message_start", {"type": "message_start", "message": begun})]

    def piece(self, answer: Generation, place: int) -> list[Event]:
        token = answer.tokens[place]
        events: list[Event] = []
        kind = {CONTENT: "text", REASONING: "thinking"}.get(token.kind, "tool_use")
        if kind != self._open or token.kind == NAME:
            events += self._close(answer)
            self._open = kind
            block: dict[str, Any] = {"type": kind}
            if kind == "tool_use":
                block |= {"id": answer.tool_id, "name": token.text, "input": {}}
            else:
                block[kind] = ""
            events.append(self._event("content_block_start", content_block=block))
        said = {
            CONTENT: {"type": "text_delta", "text": token.text},
            REASONING: {"type": "thinking_delta", "thinking": token.text},
            ARGUMENTS: {"type": "input_json_delta", "partial_json": token.text},
        }.get(token.kind)
        if said is not None:
            events.append(self._event("content_block_delta", delta=said))
        return events

    def end(self, answer: Generation, *, usage: bool) -> list[Event]:
        ended = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
        counted = {"usage": _usage(answer, answer.count)}
        return [
            *self._close(answer),
            ("message_delta", {"type": "message_delta", "delta": ended, **counted}),
            ("message_stop", {"type": "message_stop"}),
        ]

    def error(self, text: str, status: int) -> dict[str, Any]:
        kind = _ERRORS.get(status, "InternalServerError")
        return {"type": "error", "error": {"type": kind, "message": text}}

    def _close(self, answer: Generation) -> list[Event]:
        if not self._open:
            return []
        events = []
        if self._open == "thinking":
            signed = {"type": "signature_delta", "signature": f"simulated-{answer.number}"}
            events.append(self._event("content_block_delta", delta=signed))
        events.append(self._event("content_block_stop"))
        self._open = ""
        self._blocks += 1
        return events

    def _event(self, name: str, **parts: Any) -> Event:
        return name, {"type": name, "index": self._blocks, **parts}

    def _head(self, answer: Generation) -> dict[str, Any]:
        ident = f"chatcmpl-simulated-{answer.number}"
        return {"id": ident, "type": "message", "role": "assistant", "model": answer.model}


def _stop_reason(answer: Generation) -> str:
    if answer.reason == "length":
        return "max_tokens"
    return "tool_use" if any(token.kind == NAME for token in answer.tokens) else "end_turn"


def _usage(answer: Generation, count: int) -> dict[str, int]:
    return {"input_tokens": answer.prompt_tokens, "output_tokens": count}
