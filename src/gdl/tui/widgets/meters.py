"""Figures drawn with characters: sparklines and progress bars."""

from __future__ import annotations

from collections.abc import Iterable

_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Iterable[float], width: int, top: float | None = None) -> str:
    """The last `width` values as blocks, right-aligned; `top` is a full block (the highest value
    when None). Zero is the lowest block, never a gap."""
    shown = list(values)[-width:]
    highest = top if top is not None else max(shown, default=0.0)
    steps = len(_BLOCKS) - 1
    blocks = (
        _BLOCKS[min(max(round(value / highest * steps), 0), steps)] if highest > 0 else _BLOCKS[0]
        for value in shown
    )
    return "".join(blocks).rjust(width)


def bar(share: float, width: int) -> tuple[str, str]:
    """(the full part, the empty part) of a progress bar."""
    full = round(min(max(share, 0.0), 1.0) * width)
    return "━" * full, "─" * (width - full)
