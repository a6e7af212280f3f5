"""Tools and reasoning of the simulated vLLM server: what vLLM 0.32 makes of an answer, its traps
included (seen on the real one).

Standard library only: it runs on the simulated machine.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

CONTENT, REASONING, NAME, ARGUMENTS = "content", "reasoning", "name", "arguments"
CALLS, LOOSE, WORDS, TEXT = "calls", "loose", "words", "text"
"""What a model does with tools: it calls them as it should; with arguments of any shape unless
they are held to their schema; it answers in words; its calls are written in another form than the
parser's."""


@dataclass(frozen=True)
class Parsers:
    """What the server was started with. auto: calls of the model's own accord are recognized."""

    tools: str = ""
    auto: bool = False
    reasoning: str = ""


NO_PARSERS = Parsers()


@dataclass(frozen=True)
class Piece:
    """A token of an answer. kind: one of the four above."""

    kind: str
    text: str


def choice_of(body: dict[str, Any]) -> str:
    """none, auto, required, or the name of the function that has to be called."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        function = choice.get("function")
        return str(function.get("name", "")) if isinstance(function, dict) else ""
    return str(choice or ("auto" if body.get("tools") else "none"))


def refusal(body: dict[str, Any], parsers: Parsers) -> str:
    """Why the server takes no such request; "" when it does."""
    choice = choice_of(body)
    if choice == "none":
        return ""
    if not body.get("tools"):
        return "When using `tool_choice`, `tools` must be set. (parameter=tool_choice)"
    if choice == "auto":
        usable = bool(parsers.tools) and parsers.auto
        need = "--enable-auto-tool-choice and --tool-call-parser"
        return "" if usable else f'"auto" tool choice requires {need} to be set'
    if choice != "required" and choice not in (tool["name"] for tool in _tools(body)):
        return (
            "The tool specified in `tool_choice` does not match any of the specified `tools` "
            "(parameter=tool_choice)"
        )
    shown = '"required"' if choice == "required" else f'function "{choice}"'
    return "" if parsers.tools else f"tool_choice={shown} requires --tool-call-parser to be set"


def pieces(
    body: dict[str, Any], text: str, parsers: Parsers, *, thinks: str, tool_habit: str
) -> list[Piece]:
    """The answer to a chat, in tokens. text: what the model says. thinks: before that; "" for one
    that does not reason. tool_habit: see above."""
    choice, thought = choice_of(body), words(REASONING, thinks)
    silent = bool(parsers.reasoning) and not thinks
    if choice != "none" and not silent:
        if call := _call(body, choice, tool_habit):
            return [*(thought if parsers.reasoning else ()), *call]
        if tool_habit == TEXT:
            tool = _tools(body)[0]
            text = f"[{tool['name']}({_arguments(tool)})]"
    if parsers.reasoning:
        # Of a model that never says that it begins to answer, all is taken for reasoning.
        return [*thought, *words(CONTENT, text)] if thinks else words(REASONING, text)
    if thinks:
        text = f"<think>\n{thinks}\n</think>\n\n{text}"
    return words(CONTENT, text)


def delta(piece: Piece, ident: str) -> dict[str, Any]:
    """What a chunk of a stream says of a token."""
    if piece.kind == NAME:
        call = {"id": ident, "type": "function", "index": 0, "function": {"name": piece.text}}
        return {"content": None, "tool_calls": [call]}
    if piece.kind == ARGUMENTS:
        call = {"index": 0, "function": {"arguments": piece.text}}
        return {"content": None, "tool_calls": [call]}
    return {piece.kind: piece.text}


def message(answer: list[Piece], ident: str) -> dict[str, Any]:
    """The whole answer."""
    said = {
        kind: "".join(piece.text for piece in answer if piece.kind == kind)
        for kind in (CONTENT, REASONING, NAME, ARGUMENTS)
    }
    made: dict[str, Any] = {"role": "assistant", "content": said[CONTENT] or None}
    if not said[REASONING]:
        made["content"] = said[CONTENT]
    if said[NAME]:
        function = {"name": said[NAME], "arguments": said[ARGUMENTS]}
        made["tool_calls"] = [{"id": ident, "type": "function", "function": function}]
    return made | {"reasoning": said[REASONING] or None}


def finish_reason(body: dict[str, Any], answer: list[Piece]) -> str:
    """Of an answer that was not cut: a call that was forced by its name ends in `stop`, too."""
    called = any(piece.kind == NAME for piece in answer)
    return "tool_calls" if called and choice_of(body) in ("auto", "required") else "stop"


def _call(body: dict[str, Any], choice: str, tool_habit: str) -> list[Piece]:
    """The model's call; [] when it makes none."""
    automatic = choice == "auto"
    if automatic and tool_habit in (WORDS, TEXT):
        return []
    tools = _tools(body)
    tool = next((each for each in tools if each["name"] == choice), tools[0])
    arguments = _arguments(tool)
    if tool_habit != CALLS and not tool.get("strict"):
        # Any JSON value is taken.
        arguments = f"[{arguments}, {arguments}]"
    return [Piece(NAME, tool["name"]), *words(ARGUMENTS, arguments)]


def _tools(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The functions that were offered."""
    tools = body.get("tools")
    found = [tool.get("function") for tool in tools or () if isinstance(tool, dict)]
    return [tool for tool in found if isinstance(tool, dict) and isinstance(tool.get("name"), str)]


def _arguments(tool: dict[str, Any]) -> str:
    """What its schema requires, made up."""
    schema = tool.get("parameters")
    schema = schema if isinstance(schema, dict) else {}
    properties = schema.get("properties") or {}
    worths: dict[str, Any] = {"integer": 1, "number": 1.5, "boolean": True, "array": []}
    values = {
        name: worths.get(properties.get(name, {}).get("type"), "Paris")
        for name in schema.get("required") or ()
    }
    return json.dumps(values)


def words(kind: str, text: str) -> list[Piece]:
    return [Piece(kind, token) for token in re.findall(r"\s*\S+", text)]
