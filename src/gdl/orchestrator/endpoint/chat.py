"""A conversation with a served model: text as it comes, then what the answer took."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from gdl.domain.chat import ChatDone, ChatMessage, ChatPiece
from gdl.endpoint.protocol import StreamResult
from gdl.endpoint.ssh_curl import SshCurl

if TYPE_CHECKING:
    from gdl.endpoint.client import EndpointClient

MAX_TOKENS = 512
"""Of one answer; the conversation before it takes up the context, too."""
TEMPERATURE = 0.7


async def talk(
    way: EndpointClient | SshCurl, model: str, messages: Sequence[ChatMessage]
) -> AsyncGenerator[ChatPiece | ChatDone]:
    """Pieces of the answer, those that came together as one; ChatDone is the last. Never raises
    for what the network or the server does. Leaving early ends the request."""
    pieces: asyncio.Queue[ChatPiece | None] = asyncio.Queue()
    request = asyncio.create_task(_ask(way, model, messages, pieces), name="chat")
    request.add_done_callback(lambda _task: pieces.put_nowait(None))
    try:
        over = False
        while not over:
            waiting = [await pieces.get()]
            while not pieces.empty():
                waiting.append(pieces.get_nowait())
            over = None in waiting
            come = (piece for piece in waiting if piece is not None and piece.text)
            for reasoning, together in groupby(come, key=lambda piece: piece.reasoning):
                yield ChatPiece("".join(piece.text for piece in together), reasoning)
        yield _done(await request)
    finally:
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)


async def _ask(
    way: EndpointClient | SshCurl,
    model: str,
    messages: Sequence[ChatMessage],
    pieces: asyncio.Queue[ChatPiece | None],
) -> StreamResult:
    if isinstance(way, SshCurl):
        result = await way.chat(model, messages, max_tokens=MAX_TOKENS)
        pieces.put_nowait(ChatPiece(result.reasoning, reasoning=True))
        pieces.put_nowait(ChatPiece(result.text))
        return result
    return await way.chat_stream(
        model,
        messages,
        max_tokens=MAX_TOKENS,
        temperature=TEMPERATURE,
        on_text=lambda text: pieces.put_nowait(ChatPiece(text)),
        on_reasoning=lambda text: pieces.put_nowait(ChatPiece(text, reasoning=True)),
    )


def _done(result: StreamResult) -> ChatDone:
    tokens, ttft, e2el = result.output_tokens, result.ttft_ms, result.e2el_ms
    after_first = tokens - 1 if tokens is not None and ttft is not None else tokens
    took_s = (e2el - (ttft or 0.0)) / 1000
    speed = after_first / took_s if after_first and took_s > 0 else None
    return ChatDone(ttft, speed, tokens, result.finish_reason, result.error)
