"""Marks in the log of a starting server, by patterns. Prefixes differ between releases, processes
and programs, so every pattern may stand anywhere in a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.server_memory import ServerMemory
from gdl.engines.base import LogMark

_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True, slots=True)
class Mark:
    """fraction: of the whole start, or (from, to) where the line itself tells a percentage in its
    group `percent`. text: may name groups of the pattern; where it begins with "downloading", the
    groups `d` and `n` are what has come of how much. part: what that percentage is of. begins: a
    server says it once: a second time, it was started again."""

    pattern: re.Pattern[str]
    stage: str
    text: str
    fraction: float | tuple[float, float] | None
    part: str = ""
    begins: bool = False


def mark(
    words: str,
    stage: str,
    text: str,
    fraction: float | tuple[float, float] | None,
    part: str = "",
    *,
    begins: bool = False,
) -> Mark:
    """One, by its regular expression."""
    return Mark(re.compile(words), stage, text, fraction, part, begins)


def read(
    line: str, marks: Iterable[Mark], memory: Callable[[str], ServerMemory | None]
) -> LogMark | None:
    """The mark a line makes, if any: the first whose pattern it has. memory: what a line says
    of the server's."""
    for each in marks:
        found = each.pattern.search(line)
        if found is None:
            continue
        groups = {name: value or "" for name, value in found.groupdict().items()}
        fraction = each.fraction
        share = min(int(groups["percent"]), 100) / 100 if "percent" in groups else None
        if isinstance(fraction, tuple):
            low, high = fraction
            fraction = low + (high - low) * (share or 0.0)
        downloading = each.text.startswith("downloading") and share != 1.0
        return LogMark(
            each.stage,
            each.text.format(**groups)[:120],
            fraction,
            each.begins,
            downloading,
            _bytes(groups["n"]) - _bytes(groups["d"]) if downloading and "d" in groups else None,
            each.part,
            share,
            memory(line),
        )
    return None


def _bytes(text: str) -> float:
    """ "1.2G" -> 1.2e9; 0.0 for what is no number."""
    try:
        return float(text.rstrip("kMGT")) * _UNITS.get(text[-1:], 1.0)
    except ValueError:
        return 0.0
