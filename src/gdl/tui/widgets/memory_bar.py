"""One GPU's memory as a bar: weights, KV cache, overhead, and what is left."""

from __future__ import annotations

from itertools import pairwise

from rich.text import Text

from gdl.domain.requirements.allocation import Allocation
from gdl.presentation.lines import plain

WEIGHTS, CACHE, OVERHEAD, FREE, OTHERS = "█", "▓", "▒", "░", "·"
_STYLES = {WEIGHTS: "blue", CACHE: "green", OVERHEAD: "yellow", FREE: "dim", OTHERS: "dim"}


def memory_bar(found: Allocation, width: int) -> Text:
    """The bar, and a line that says what its parts are. What is too much stands behind a mark."""
    whole = found.gpu.memory_gib * 2**30
    used = found.weights_bytes + found.kv_bytes + found.overhead_bytes
    free = max(found.usable_bytes - used, 0)
    parts = [
        (WEIGHTS, found.weights_bytes),
        (CACHE, found.kv_bytes),
        (OVERHEAD, found.overhead_bytes),
        (FREE, free),
        (OTHERS, max(whole - found.usable_bytes, 0) if used <= found.usable_bytes else 0),
    ]
    scale = max(whole, used)
    cells = _cells([size for _, size in parts], scale, width)
    glyphs = "".join(glyph * count for (glyph, _), count in zip(parts, cells, strict=True))
    text = Text()  # the answer below may need two lines
    limit = len(glyphs) if used <= found.usable_bytes else int(found.usable_bytes / scale * width)
    for at, glyph in enumerate(glyphs):
        if at == limit:
            text.append("┃", "bold red")
        else:
            text.append(glyph, _STYLES[glyph])
    text.append("\n")
    return text.append_text(_legend(found, free))


def _cells(sizes: list[float], scale: float, width: int) -> list[int]:
    """Columns of each part, ends rounded, so that they make up the whole together."""
    ends, total = [0], 0.0
    for size in sizes:
        total += size
        ends.append(round(total / scale * width))
    return [after - before for before, after in pairwise(ends)]


def _legend(found: Allocation, free: float) -> Text:
    text = Text()
    for glyph, name, size in (
        (WEIGHTS, "weights", found.weights_bytes),
        (CACHE, "KV cache", found.kv_bytes),
        (OVERHEAD, "overhead", found.overhead_bytes),
    ):
        text.append(glyph, _STYLES[glyph])
        text.append(f" {name} {_gb(size)}  ")
    if found.missing_bytes:
        text.append(f"┃ {_gb(found.missing_bytes)} GB too much", "bold red")
        return text
    text.append(FREE, _STYLES[FREE])
    text.append(f" free {_gb(free)}")
    return text.append(f" of {_gb(found.usable_bytes)} GB", "dim")


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f}" if size < 99.5e9 else f"{size / 1e9:.0f}"


def answer(found: Allocation) -> Text:
    """Whether the load fits and what else does; what would help where it does not."""
    if found.fits:
        text = Text.assemble(("✓ ", "bold green"), (found.words, "bold"))
        return text.append(f"; a request can have up to {found.longest:,} tokens", "dim")
    if found.refusal:
        return Text.assemble(("✗ ", "bold red"), (plain(found.refusal, 200), "bold"))
    text = Text.assemble(("✗ ", "bold red"), (f"{_gb(found.missing_bytes)} GB short", "bold"))
    helps = [plain(lever.words, 60) for lever in found.levers]
    text.append(": " + "; ".join(helps) if helps else ": no change to the load is enough")
    return text
