"""A question with its answer, and what the answer took."""

from __future__ import annotations

from datetime import datetime

from rich.text import Text

from gdl.domain.chat import ChatDone
from gdl.presentation.lines import plain, plain_block
from gdl.presentation.words import milliseconds, plural
from gdl.tui.store import ChatTurn


def turn_text(turn: ChatTurn, model: str, now: datetime) -> Text:
    """Who said what, with the figures below; the answer grows while it comes, after what the model
    thinks before it."""
    text = Text()
    text.append("You\n", "bold")
    text.append(plain_block(turn.question) + "\n\n")
    text.append(plain(model, 60) + "\n", "bold green")
    if turn.reasoning:
        text.append(plain_block(turn.reasoning.strip("\n")) + "\n", "dim italic")
    if turn.answer:
        text.append(plain_block(turn.answer.strip("\n")) + "\n")
    if turn.running:
        waited = max((now - turn.asked_at).total_seconds(), 0.0)
        text.append("…" if turn.answer or turn.reasoning else f"… {waited:.0f} s", "dim")
    elif turn.done is None:
        text.append("– stopped", "dim")
    elif turn.done.error:
        text.append(f"✗ {plain(turn.done.error, 300)}", "bold red")
    else:
        text.append(figures(turn.done), "dim")
    return text


def figures(done: ChatDone) -> str:
    """ "TTFT 41 ms · 141.2 tokens/s · 27 tokens"."""
    parts = []
    if done.ttft_ms is not None:
        parts.append(f"TTFT {milliseconds(done.ttft_ms)}")
    if done.tokens_per_s is not None:
        parts.append(f"{done.tokens_per_s:.1f} tokens/s")
    if done.output_tokens is not None:
        parts.append(plural(done.output_tokens, "token"))
    if done.finish_reason == "length":
        parts.append("cut at its limit")
    return " · ".join(parts) or "done"
