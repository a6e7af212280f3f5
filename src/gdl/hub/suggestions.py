"""What may have been meant by a name that nothing goes by."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_WORD = re.compile(r"[A-Za-z]+|\d+(?:\.\d+)*[A-Za-z]?")
_CLOSE = 0.5
_BEST = 3


def search_words(typed: str) -> tuple[str, ...]:
    """Words for the hub's search, which finds parts of names and forgives no typo: the beginning
    of the name, in two lengths."""
    name = typed.rpartition("/")[2].partition(":")[0]
    words = re.split(r"[-_\s]+", name)
    longer, shorter = "-".join(words[:2]), words[0]
    found = _WORD.match(shorter)
    if shorter == longer and found:
        shorter = found.group()
    return tuple(dict.fromkeys(each for each in (longer, shorter) if len(each) > 1))


def closest(typed: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names that look most like it, best first; by the whole, or without the owner."""
    wanted = typed.casefold()
    short = wanted.rpartition("/")[2]
    scored: dict[str, float] = {}
    for name in names:
        plain = name.casefold()
        whole = difflib.SequenceMatcher(None, wanted, plain).ratio()
        alone = difflib.SequenceMatcher(None, short, plain.rpartition("/")[2]).ratio()
        # Of equals, the one by the owner that was named.
        scored[name] = max(whole, 0.9 * alone)
    best = sorted(scored, key=lambda name: (-scored[name], name))
    return tuple(name for name in best[:_BEST] if scored[name] >= _CLOSE)


def did_you_mean(names: Iterable[str]) -> str:
    """ "did you mean a, b or c? ", or nothing."""
    *first, last = [*names] or [""]
    if not last:
        return ""
    return f"did you mean {', '.join(first)}{' or ' if first else ''}{last}? "
