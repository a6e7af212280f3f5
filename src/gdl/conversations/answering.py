"""One question of a conversation and its answer, as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from gdl.domain.chat import ChatDone, ChatMessage, ChatOptions, ChatPiece
from gdl.domain.conversation import ChatTurn, Conversation
from gdl.domain.errors import GdlError

Ask = Callable[[Sequence[ChatMessage], ChatOptions], AsyncGenerator[ChatPiece | ChatDone]]


async def answered(
    ask: Ask, one: Conversation, turn: ChatTurn, came: Callable[[ChatPiece], None]
) -> None:
    """Put the answer into the turn, which is the last of its conversation and runs. came: told each
    piece, once the turn has it. Cancelling this stops the answer; what had come stays."""
    try:
        async with aclosing(ask(one.messages(), one.options)) as parts:
            async for part in parts:
                if isinstance(part, ChatPiece) and "\r" in part.text:
                    # A terminal would begin the line anew, over what stands there.
                    part = ChatPiece(part.text.replace("\r", ""), part.reasoning)
                turn.take(part)
                if isinstance(part, ChatPiece):
                    came(part)
    except GdlError as error:
        turn.fail(error.message)
    finally:
        turn.running = False
