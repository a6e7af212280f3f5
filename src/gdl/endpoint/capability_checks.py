"""Whether a served model does what its server was started for: call tools, and reason apart from
what it answers.

One that does not is degraded, not dead: it may serve well for everything else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from gdl.domain.engine import Capabilities
from gdl.domain.health import Check, CheckStatus
from gdl.domain.text import one_line
from gdl.endpoint import tool_calls
from gdl.endpoint.protocol import Fault
from gdl.endpoint.question import Endpoint
from gdl.endpoint.tool_calls import Message

NAMES = ("tool_forced", "tool_auto", "reasoning")
"""The checks, in the order in which they come, where the server is to do it."""

_CALL_TOKENS = 64
"""A call takes some 20 to 40; what is not done by then is told as far as it came."""
_THINKING_TOKENS = 1024
"""For a model that reasons before it answers or calls."""
_QUESTION = "Which is larger, 9.11 or 9.9? Answer with the number alone."
_THINK = {"enable_thinking": True, "thinking": True}
"""What chat templates call the switch of models that think only when they are asked to."""
_TAGS = ("<think>", "</think>", "[THINK]", "<|channel|>")


async def run_capability_checks(
    endpoint: Endpoint, model: str, can: Capabilities
) -> AsyncIterator[Check]:
    """The checks of `NAMES` that apply, all asked at once. Never raises for what network or server
    do."""
    asked: dict[str, Coroutine[None, None, tuple[bool, str]]] = {}
    if can.tools:
        asked["tool_forced"] = _forced(endpoint, model, can)
        asked["tool_auto"] = _automatic(endpoint, model, can)
    if can.reasoning:
        asked["reasoning"] = _reasoning(endpoint, model, can)
    running = [asyncio.create_task(_timed(name, work)) for name, work in asked.items()]
    try:
        for each in running:
            yield await each
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _timed(name: str, answer: Coroutine[None, None, tuple[bool, str]]) -> Check:
    started = time.perf_counter()
    try:
        good, detail = await answer
    except Fault as fault:
        good, detail = False, fault.message
    status = CheckStatus.PASSED if good else CheckStatus.DEGRADED
    return Check(name, status, one_line(detail, 300), (time.perf_counter() - started) * 1000)


async def _ask(endpoint: Endpoint, body: dict[str, Any]) -> Message:
    return tool_calls.read_message(await endpoint.complete(body))


async def _forced(endpoint: Endpoint, model: str, can: Capabilities) -> tuple[bool, str]:
    """A named tool has to be called, which needs no parser; only "strict" holds the arguments to
    their schema. A model that reasons may do so before."""
    limit = _THINKING_TOKENS if can.reasoning else _CALL_TOKENS
    body = tool_calls.tool_request(model, forced=True, max_tokens=limit)
    message = await _ask(endpoint, body)
    wrong = tool_calls.wrong_call(message)
    if not wrong:
        return True, tool_calls.call_in_words(message)
    if message.calls:
        body = tool_calls.tool_request(model, forced=True, max_tokens=limit, strict=True)
        try:
            held = not tool_calls.wrong_call(await _ask(endpoint, body))
        except Fault:
            held = False
        wrong += '; with "strict": true in the tool they are right' if held else ""
    return False, wrong


async def _automatic(endpoint: Endpoint, model: str, can: Capabilities) -> tuple[bool, str]:
    """The model decides whether to call, and the server's parser has to recognize it."""
    limit = _THINKING_TOKENS if can.reasoning else _CALL_TOKENS
    message = await _ask(endpoint, tool_calls.tool_request(model, forced=False, max_tokens=limit))
    wrong = tool_calls.wrong_call(message)
    if not wrong:
        return True, tool_calls.call_in_words(message)
    if not message.calls and "came as" in wrong and can.tool_parser:
        wrong += f"; the parser {can.tool_parser} does not recognize this model's form"
    return False, wrong


async def _reasoning(endpoint: Endpoint, model: str, can: Capabilities) -> tuple[bool, str]:
    """Thoughts in `reasoning`, the answer in `content`."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": _QUESTION}],
        "max_tokens": _THINKING_TOKENS,
        "temperature": 0.0,
    }
    good, detail = _split(await _ask(endpoint, body), can)
    if good is not None:
        return good, detail
    try:
        good, _ = _split(await _ask(endpoint, body | {"chat_template_kwargs": _THINK}), can)
    except Fault:
        good = False  # not every tokenizer takes such arguments
    if good:
        return True, f"reasons when it is asked to (enable_thinking); else {detail}"
    return False, detail


def _split(message: Message, can: Capabilities) -> tuple[bool | None, str]:
    """Whether reasoning and answer came apart, in words; None when it just did not reason."""
    content = (message.content or "").strip()
    parser = f"the parser {can.reasoning_parser}" if can.reasoning_parser else "the parser"
    if content and message.reasoning.strip():
        thought = f"{len(message.reasoning):,} characters of reasoning"
        return True, f'{thought}, then "{one_line(content, 60)}"'
    if content:
        if any(tag in content for tag in _TAGS):
            return False, f"the reasoning came in the answer, {parser} does not recognize it"
        return None, f'answered without reasoning: "{one_line(content, 60)}"'
    if not message.reasoning.strip():
        return False, "neither reasoning nor an answer came back"
    if message.cut:
        tokens = f"{message.tokens:,} tokens" if message.tokens is not None else "its limit"
        return False, f"no answer within {tokens}: all of it was reasoning, and it had not ended"
    return False, (
        f"all text is reasoning and content is null: this model does not reason as {parser} "
        "expects; clients that read content get nothing. Serve it without --reasoning-parser"
    )
