"""A conversation with a served model."""

from __future__ import annotations

from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """role: user | assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ChatPiece:
    """Some more text of an answer, as it came. reasoning: of what the model thinks before it."""

    text: str
    reasoning: bool = False


@dataclass(frozen=True, slots=True)
class ChatDone:
    """The end of an answer. ttft_ms: None when it came in one piece; tokens_per_s: output tokens
    after the first, over their time, or over the whole time when it came in one piece; None when
    the server counted none. error: one line, "" on success."""

    ttft_ms: float | None
    tokens_per_s: float | None
    output_tokens: int | None
    finish_reason: str | None
    error: str = ""
