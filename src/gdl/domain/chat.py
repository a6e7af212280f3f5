"""What goes to a served model and what comes back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gdl.domain.lazy_dataclass import dataclass

MOST_TOKENS = 10_000_000


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """role: system | user | assistant."""

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


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How a model is asked. None and "": nothing is sent, and the server's own default counts; that
    of max_tokens is what is left of the context. The names are those of the OpenAI API."""

    system: str = ""
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None

    @property
    def sampling(self) -> dict[str, float | int]:
        """What is sent beside the messages."""
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }
        return {name: value for name, value in given.items() if value is not None}

    def over(self, kept: ChatOptions) -> ChatOptions:
        """These, and of `kept` what is not given here."""
        return ChatOptions(
            self.system or kept.system,
            kept.temperature if self.temperature is None else self.temperature,
            kept.top_p if self.top_p is None else self.top_p,
            kept.max_tokens if self.max_tokens is None else self.max_tokens,
            kept.seed if self.seed is None else self.seed,
        )

    def changed(self, name: str, value: str) -> ChatOptions:
        """With one of them as it was typed; "": left to the server. Raises ValueError with what is
        wrong, for the user, and KeyError for a name that there is not."""
        if name == "system":
            return replace(self, system=value)
        read = NUMBERS[name]
        try:
            given: dict[str, Any] = {name: read(value) if value else None}
        except ValueError:
            raise ValueError(f"{name.replace('_', ' ')}: a number, or nothing") from None
        made = replace(self, **given)
        made.check()
        return made

    def check(self) -> None:
        """Raises ValueError with what is out of range, for the user."""
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise ValueError("temperature: a number from 0 to 2")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError("top-p: a number above 0, up to 1")
        if self.max_tokens is not None and not 1 <= self.max_tokens <= MOST_TOKENS:
            raise ValueError(f"max tokens: a whole number from 1 to {MOST_TOKENS:,}")
        if self.seed is not None and not 0 <= self.seed < 2**31:
            raise ValueError("seed: a whole number from 0 to 2147483647")


USUAL_OPTIONS = ChatOptions()
NUMBERS: dict[str, type[int] | type[float]] = {
    "temperature": float,
    "top_p": float,
    "max_tokens": int,
    "seed": int,
}
"""Of the options, those that are numbers, and of which kind."""
