"""The API of responses of the simulated vLLM server, /v1/responses, as vLLM 0.32 speaks it (seen
on the real one): a chat in other words. Nothing is stored.

Standard library only: it runs on the simulated machine.
"""

from __future__ import annotations

import time
from typing import Any

from .vllm_answers import Event, Generation, error_body
from .vllm_parsers import ARGUMENTS, CONTENT, NAME, REASONING, Piece

PATH = "/v1/responses"
_USUAL_OUTPUT = 64
"""Tokens of an answer whose length nobody limits; the real server goes on to its context."""


def chat_of(body: dict[str, Any]) -> dict[str, Any]:
    """The chat that a request means."""
    asked = body.get("input")
    items = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked or []
    messages = [_message(item) for item in items if isinstance(item, dict)]
    if instructions := body.get("instructions"):
        messages.insert(0, {"role": "system", "content": str(instructions)})
    chat: dict[str, Any] = {key: body[key] for key in ("model", "stream") if key in body}
    chat["messages"] = messages
    chat["max_tokens"] = body.get("max_output_tokens") or _USUAL_OUTPUT
    if tools := [function for tool in body.get("tools") or () for function in _functions(tool)]:
        chat["tools"] = tools
        choice = body.get("tool_choice")
        if isinstance(choice, dict):
            choice = {"type": "function", "function": {"name": choice.get("name", "")}}
        chat["tool_choice"] = choice or "auto"
    return chat


def _message(item: dict[str, Any]) -> dict[str, Any]:
    content = item.get("content", item.get("output", ""))
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return {"role": item.get("role", "tool"), "content": str(content)}


def _functions(tool: Any) -> list[dict[str, Any]]:
    """Those of a namespace, too; what OpenAI's own servers run is passed over."""
    if not isinstance(tool, dict):
        return []
    if tool.get("type") == "namespace":
        inner = [one for each in tool.get("tools") or () for one in _functions(each)]
        return [_renamed(one, f"{tool.get('name')}__") for one in inner]
    if tool.get("type") != "function":
        return []
    kept = {key: tool.get(key) for key in ("name", "parameters", "strict")}
    return [{"type": "function", "function": kept}]


def _renamed(tool: dict[str, Any], prefix: str) -> dict[str, Any]:
    function = tool["function"]
    return {"type": "function", "function": function | {"name": f"{prefix}{function['name']}"}}


class Responses:
    """See `vllm_answers.Form`."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._body = body
        self._sequence = 0
        self._items: list[list[Piece]] = []

    def whole(self, answer: Generation, *, usage: bool) -> dict[str, Any]:
        groups = _groups(answer.tokens)
        items = [_item(group, answer, place) for place, group in enumerate(groups)]
        return self._response(answer, items)

    def begin(self, answer: Generation) -> list[Event]:
        started = self._response(answer, None)
        return [
            self._event("response.created", response=started),
            self._event("response.in_progress", response=started),
        ]

    def piece(self, answer: Generation, place: int) -> list[Event]:
        token = answer.tokens[place]
        events: list[Event] = []
        if not self._items or _kind(token) != _kind(self._items[-1][0]) or token.kind == NAME:
            events += self._close(answer)
            self._items.append([token])
            events += self._opened(answer, token)
        else:
            self._items[-1].append(token)
        name = {
            CONTENT: "response.output_text.delta",
            REASONING: "response.reasoning_text.delta",
            ARGUMENTS: "response.function_call_arguments.delta",
        }.get(token.kind)
        if name is not None:
            events.append(self._of_item(answer, name, delta=token.text))
        return events

    def end(self, answer: Generation, *, usage: bool) -> list[Event]:
        closed = self._close(answer)
        items = [_item(group, answer, place) for place, group in enumerate(self._items)]
        done = self._response(answer, items)
        return [*closed, self._event("response.completed", response=done)]

    def error(self, text: str, status: int) -> dict[str, Any]:
        return error_body(text, status)

    def _opened(self, answer: Generation, token: Piece) -> list[Event]:
        item = _item([token], answer, len(self._items) - 1) | {"status": "in_progress"}
        if token.kind in (CONTENT, REASONING):
            item["content"] = []
        added = self._event(
            "response.output_item.added", item=item, output_index=len(self._items) - 1
        )
        if token.kind not in (CONTENT, REASONING):
            return [added]
        part = self._of_item(answer, "response.content_part.added", part=_part(token.kind, ""))
        return [added, part]

    def _close(self, answer: Generation) -> list[Event]:
        if not self._items:
            return []
        tokens, place = self._items[-1], _last(self._items)
        item = _item(tokens, answer, place)
        if tokens[0].kind == NAME:
            name = "response.function_call_arguments.done"
            parts = {"arguments": item["arguments"], "name": item["name"]}
            events = [self._of_item(answer, name, **parts)]
        else:
            text, thought = "".join(token.text for token in tokens), tokens[0].kind == REASONING
            name = "response.reasoning_text.done" if thought else "response.output_text.done"
            part = _part(tokens[0].kind, text)
            events = [
                self._of_item(answer, name, text=text),
                self._of_item(answer, "response.content_part.done", part=part),
            ]
        done = self._event("response.output_item.done", item=item, output_index=place)
        return [*events, done]

    def _of_item(self, answer: Generation, name: str, /, **parts: Any) -> Event:
        """About the item that is being told."""
        place = _last(self._items)
        ident = _item(self._items[-1], answer, place)["id"]
        if "arguments" not in name:
            parts = {"content_index": 0, **parts}
        if "output_text" in name:
            parts = {"logprobs": [], **parts}
        return self._event(name, item_id=ident, output_index=place, **parts)

    def _event(self, name: str, /, **parts: Any) -> Event:
        self._sequence += 1
        return name, {"type": name, "sequence_number": self._sequence - 1, **parts}

    def _response(self, answer: Generation, items: list[dict[str, Any]] | None) -> dict[str, Any]:
        """As it is now; items: None while it has only begun."""
        cut = answer.reason == "length" and items is not None
        status = "in_progress" if items is None else "incomplete" if cut else "completed"
        return {
            "id": f"resp_simulated_{answer.number}",
            "object": "response",
            "created_at": int(time.time()),
            "model": answer.model,
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": items or [],
            "instructions": self._body.get("instructions"),
            "parallel_tool_calls": True,
            "tool_choice": self._body.get("tool_choice") or "none",
            "tools": [],
            "temperature": 1.0,
            "top_p": 1.0,
            "usage": None if items is None else _usage(answer),
        }


def _last(items: list[list[Piece]]) -> int:
    return len(items) - 1


def _kind(token: Piece) -> str:
    return NAME if token.kind == ARGUMENTS else token.kind


def _groups(tokens: list[Piece]) -> list[list[Piece]]:
    """The tokens of each item of an answer."""
    groups: list[list[Piece]] = []
    for token in tokens:
        if groups and _kind(token) == _kind(groups[-1][0]) and token.kind != NAME:
            groups[-1].append(token)
        else:
            groups.append([token])
    return groups


def _part(kind: str, text: str) -> dict[str, Any]:
    if kind == REASONING:
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": None}


def _item(tokens: list[Piece], answer: Generation, place: int) -> dict[str, Any]:
    kind, text = tokens[0].kind, "".join(token.text for token in tokens)
    ident = f"{answer.number}_{place}"
    if kind == NAME:
        arguments = "".join(token.text for token in tokens[1:])
        called = {"name": tokens[0].text, "arguments": arguments, "call_id": answer.tool_id}
        return {"id": f"fc_{ident}", "type": "function_call", "status": "completed", **called}
    part = _part(kind, text)
    if kind == REASONING:
        return {"id": f"rs_{ident}", "type": "reasoning", "summary": [], "content": [part]}
    said = {"role": "assistant", "status": "completed", "content": [part]}
    return {"id": f"msg_{ident}", "type": "message", **said}


def _usage(answer: Generation) -> dict[str, Any]:
    return {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answer.count,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.prompt_tokens + answer.count,
    }
