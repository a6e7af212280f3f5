"""Words of a conversation that command line and terminal UI share."""

from __future__ import annotations

from gdl.domain.chat import USUAL_OPTIONS, ChatDone, ChatOptions
from gdl.presentation.words import milliseconds, plural

_NAMES = {"top_p": "top-p", "max_tokens": "max tokens"}
"""Of options, where their own is not what people write."""


def figures(done: ChatDone, options: ChatOptions = USUAL_OPTIONS) -> str:
    """ "TTFT 41 ms · 141.2 tokens/s · 27 tokens". options: that the answer was asked for with."""
    parts = []
    if done.ttft_ms is not None:
        parts.append(f"TTFT {milliseconds(done.ttft_ms)}")
    if done.tokens_per_s is not None:
        parts.append(f"{done.tokens_per_s:.1f} tokens/s")
    if done.output_tokens is not None:
        parts.append(plural(done.output_tokens, "token"))
    if done.finish_reason == "length":
        parts.append(cut(done, options))
    return " · ".join(parts) or "done"


def cut(done: ChatDone, options: ChatOptions) -> str:
    """Why an answer ended before its end."""
    asked, came = options.max_tokens, done.output_tokens
    if asked is not None and (came is None or came >= asked):
        return f"cut off: max tokens is {asked:,}"
    return "cut off by the server: its context is full, or it has a limit of its own"


def option_words(options: ChatOptions) -> str:
    """What is asked for beside the question: "temperature 0.2, system prompt"; "" for nothing."""
    words = [f"{_NAMES.get(name, name)} {value:g}" for name, value in options.sampling.items()]
    return ", ".join([*words, *(["system prompt"] if options.system else [])])
