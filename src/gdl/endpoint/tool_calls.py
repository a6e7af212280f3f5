"""Calls of tools in the OpenAI API: what is sent to get one, and what came back. No I/O here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.text import one_line
from gdl.endpoint.protocol import Fault, json_object, reasoning_of

TOOL = "get_weather"
ARGUMENT = "city"
_QUESTION = "What is the weather in Paris right now? Call the tool to find out."
_QUOTED = 80
"""Characters of an answer that are shown."""


@dataclass(frozen=True, slots=True)
class Message:
    """A whole answer. calls: (name, arguments as they came) of each tool call. content: None when
    it was null. tokens: of the answer; None: not counted."""

    content: str | None
    reasoning: str
    calls: tuple[tuple[str, str], ...]
    finish_reason: str
    tokens: int | None

    @property
    def cut(self) -> bool:
        """Whether it ended at its limit."""
        return self.finish_reason == "length"


def tool_request(
    model: str, *, forced: bool, max_tokens: int, strict: bool = False
) -> dict[str, Any]:
    """A question that one tool answers. forced: by that tool and nothing else. strict: its
    arguments are held to their schema."""
    function: dict[str, Any] = {
        "name": TOOL,
        "description": "Tells the current weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {ARGUMENT: {"type": "string", "description": "the name of the city"}},
            "required": [ARGUMENT],
            "additionalProperties": False,
        },
    }
    if strict:
        function["strict"] = True
    choice = {"type": "function", "function": {"name": TOOL}} if forced else "auto"
    return {
        "model": model,
        "messages": [{"role": "user", "content": _QUESTION}],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": choice,
        "max_tokens": max_tokens,
        "temperature": 0.0,
    }


def read_message(body: str) -> Message:
    """The answer in the body of an HTTP 200. Raises Fault for what is none."""
    data = json_object(body)
    try:
        choice = data["choices"][0]
        message = choice["message"]
        content, calls = message.get("content"), message.get("tool_calls") or ()
        found = tuple(
            (str(call["function"].get("name") or ""), str(call["function"].get("arguments") or ""))
            for call in calls
        )
        reasoning = reasoning_of(message)
        finish = choice.get("finish_reason")
    except (LookupError, TypeError, AttributeError):
        raise Fault("protocol", "an answer without a message") from None
    usage = data.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return Message(
        content if isinstance(content, str) else None,
        reasoning if isinstance(reasoning, str) else "",
        found,
        one_line(str(finish or ""), 40),
        tokens if isinstance(tokens, int) else None,
    )


def wrong_call(message: Message) -> str:
    """What is wrong with the call that was asked for; "" when it is as it should be."""
    if not message.calls:
        return _no_call(message)
    name, arguments = message.calls[0]
    shown = _quote(arguments)
    if name != TOOL:
        return f"it called {_quote(name)}, which it was not offered"
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        cut = f" (cut at {_tokens(message)})" if message.cut else ""
        return f"the call's arguments are not JSON: {shown}{cut}"
    if not isinstance(value, dict):
        return f"the call's arguments are {_kind(value)}, not an object: {shown}"
    return _against_schema(value, shown)


def call_in_words(message: Message) -> str:
    """Such as `get_weather({"city": "Paris"})`."""
    name, arguments = message.calls[0]
    return f"{one_line(name, 40)}({one_line(arguments, _QUOTED)})"


def _no_call(message: Message) -> str:
    text = message.content or ""
    if message.cut and text.strip():
        return f"no call within {_tokens(message)}: {_quote(text)}"
    if TOOL in text and "{" in text:
        return f"the call came as text, not as a call: {_quote(text)}"
    if text.strip():
        return f"answered in words, without a call: {_quote(text)}"
    if message.reasoning and message.cut:
        return f"no call within {_tokens(message)}: it was still thinking"
    if TOOL in message.reasoning and "{" in message.reasoning:
        return f"the call came as reasoning, not as a call: {_quote(message.reasoning)}"
    if message.reasoning:
        return f"no call: all that it said is taken for reasoning: {_quote(message.reasoning)}"
    return "neither a call nor words came back"


def _against_schema(value: Mapping[str, Any], shown: str) -> str:
    if ARGUMENT not in value:
        return f"the call's arguments lack {ARGUMENT!r}: {shown}"
    if not isinstance(value[ARGUMENT], str):
        return f"the call's {ARGUMENT!r} is {_kind(value[ARGUMENT])}, not a text: {shown}"
    if more := next((name for name in value if name != ARGUMENT), ""):
        return f"the call has an argument that the tool does not take, {_quote(more)}: {shown}"
    return ""


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"


def _tokens(message: Message) -> str:
    return f"{message.tokens:,} tokens" if message.tokens is not None else "its limit"


def _quote(text: str) -> str:
    return repr(one_line(text, _QUOTED))
