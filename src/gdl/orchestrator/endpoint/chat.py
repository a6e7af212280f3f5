"""A conversation with a served model: text as it comes, then what the answer took."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from gdl.domain.chat import USUAL_OPTIONS, ChatDone, ChatMessage, ChatOptions, ChatPiece
from gdl.endpoint.protocol import TEXT_LIMIT, StreamResult
from gdl.endpoint.ssh_curl import SshCurl
from gdl.orchestrator.api.views import ChatPartner

if TYPE_CHECKING:
    from gdl.endpoint.client import EndpointClient

TOO_LONG = f"stopped at {TEXT_LIMIT:,} characters: no more of an answer is kept"


def partner(way: EndpointClient | SshCurl, model: str) -> ChatPartner:
    """The model at the end of this way."""
    return ChatPartner(model, lambda messages, options: talk(way, model, messages, options))


async def talk(
    way: EndpointClient | SshCurl,
    model: str,
    messages: Sequence[ChatMessage],
    options: ChatOptions = USUAL_OPTIONS,
) -> AsyncGenerator[ChatPiece | ChatDone]:
    """Pieces of the answer, those that came together as one; ChatDone is the last. Never raises
    for what the network or the server does. Leaving early ends the request, and so does an answer
    of more than TEXT_LIMIT characters."""
    pieces: asyncio.Queue[ChatPiece | None] = asyncio.Queue()
    request = asyncio.create_task(_ask(way, model, messages, options, pieces), name="chat")
    request.add_done_callback(lambda _task: pieces.put_nowait(None))
    try:
        over, length = False, 0
        while not over:
            waiting = [await pieces.get()]
            while not pieces.empty():
                waiting.append(pieces.get_nowait())
            over = None in waiting
            come = (piece for piece in waiting if piece is not None and piece.text)
            for reasoning, together in groupby(come, key=lambda piece: piece.reasoning):
                text = "".join(piece.text for piece in together)
                length += len(text)
                yield ChatPiece(text, reasoning)
            if length >= TEXT_LIMIT and not over:
                yield ChatDone(None, None, None, "length", TOO_LONG)
                return
        yield _done(await request)
    finally:
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)


async def _ask(
    way: EndpointClient | SshCurl,
    model: str,
    messages: Sequence[ChatMessage],
    options: ChatOptions,
    pieces: asyncio.Queue[ChatPiece | None],
) -> StreamResult:
    if isinstance(way, SshCurl):
        result = await way.chat(model, messages, options=options)
        pieces.put_nowait(ChatPiece(result.reasoning, reasoning=True))
        pieces.put_nowait(ChatPiece(result.text))
        return result
    return await way.chat_stream(
        model,
        messages,
        options=options,
        on_text=lambda text: pieces.put_nowait(ChatPiece(text)),
        on_reasoning=lambda text: pieces.put_nowait(ChatPiece(text, reasoning=True)),
    )


def _done(result: StreamResult) -> ChatDone:
    tokens, ttft, e2el = result.output_tokens, result.ttft_ms, result.e2el_ms
    after_first = tokens - 1 if tokens is not None and ttft is not None else tokens
    took_s = (e2el - (ttft or 0.0)) / 1000
    speed = after_first / took_s if after_first and took_s > 0 else None
    return ChatDone(ttft, speed, tokens, result.finish_reason, result.error)
