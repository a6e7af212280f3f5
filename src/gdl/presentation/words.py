"""Counts, measured times and sentences."""

from __future__ import annotations

from gdl.domain.benchmark import OWN
from gdl.presentation.lines import plain

DOUBTED = "~"
"""Beside figures of a benchmark that something speaks against."""


def plural(count: int, noun: str) -> str:
    """ "1 offer", "1,204 offers"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def short_count(count: int) -> str:
    """ "640", "6.4k", "29.6M"."""
    for each, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")):
        if count >= each:
            shown = count / each
            return f"{shown:.0f}{letter}" if shown >= 100 else f"{shown:.1f}{letter}"
    return str(count)


RELEASED_FIRST = "what is rented now is released first, with what is installed there"
"""Said before another machine is rented while one is kept for a remedy."""


def sentence(words: str) -> str:
    """With a capital at the beginning, unless a name is there that has its own; the rest stays."""
    named = any(letter.isupper() for letter in words.split(" ", 1)[0])
    return words if named else words[:1].upper() + words[1:]


def milliseconds(value: float | None) -> str:
    """ "4.2 ms", "12 ms", "1.20 s", or a dash when it was not measured."""
    if value is None:
        return "-"
    if value < 10:
        return f"{value:.1f} ms"
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.2f} s"


def workload_words(workload: str) -> str:
    """What a benchmark asked: "built-in" for what every deployment is measured with."""
    return "built-in" if workload == OWN else plain(workload, 40)
