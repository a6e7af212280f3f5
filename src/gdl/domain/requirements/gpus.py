"""What is known of a GPU by the name in a listing: its memory, and its compute capability."""

from __future__ import annotations

import re
from functools import lru_cache

from gdl.domain.requirements.allocation import GpuKind
from gdl.domain.requirements.cards import NEAR, card

_VISIBLE = 0.985
"""Of the memory that nvidia-smi tells, what a program sees: the driver keeps some hundred MiB
(RTX 4090: 23.6 of 24.0 GiB, L4: 22.2 of 22.5, RTX 5090: 31.4 of 31.8)."""
_VISIBLE_HBM = 0.995
"""Likewise, of Hopper's and Blackwell's data centre cards (H100: 79.2 of 79.6 GiB)."""
_ROUNDED = 0.97
"""Listings floor memory (24 564 MB is shown as 23 GB): a need is met from this share of it up."""


def of_driver(name: str, memory_mib: float, capability: tuple[int, int] | None = None) -> GpuKind:
    """A GPU as its driver told of it."""
    return _seen(name, memory_mib, capability or _capability(name))


@lru_cache(maxsize=4096)
def of_listing(name: str, vram_gb: float) -> GpuKind:
    """A GPU as a market lists it. Listings round, and mean 2^30 bytes as often as 10^9: a card that
    is known has what it has; any other is taken to have as many GiB."""
    known = card(name)
    if known is None:
        return _seen(name, vram_gb * 1024, None)
    nearest = min((mib for mib, _ in known.sizes), key=lambda mib: abs(mib / 1024 - vram_gb))
    if not vram_gb or abs(nearest / 1024 - vram_gb) <= NEAR * vram_gb:
        return _seen(name, nearest, known.capability)
    return _seen(name, vram_gb * 1024, known.capability)


def memory_gb(name: str, vram_gb: float) -> float:
    """GB (10^9) that a program sees of a listed card. One that is not known is taken at its word,
    in the smaller unit, less what listings round."""
    if card(name) is None:
        return vram_gb / _ROUNDED
    return of_listing(name, vram_gb).memory_gib * 2**30 / 1e9


def _seen(name: str, memory_mib: float, capability: tuple[int, int] | None) -> GpuKind:
    share = _VISIBLE_HBM if capability is not None and capability[0] in (9, 10) else _VISIBLE
    return GpuKind(name, memory_mib / 1024 * share, capability)


def _capability(name: str) -> tuple[int, int] | None:
    known = card(name)
    return None if known is None else known.capability


COMMON = (
    "RTX 4090 24GB",
    "RTX 5090 32GB",
    "L40S 48GB",
    "H100 80GB",
    "H200 141GB",
    "B200 180GB",
)
"""What people rent, from small to big, as `named` knows them."""
_MEMORY = re.compile(r"(?<![\w.])(?<!^-)(\d{1,4}(?:\.\d+)?)\s*(gb|gib|g)?$", re.IGNORECASE)
_MOST_GIB = 2048


def named(text: str) -> GpuKind | None:
    """A GPU as people name it: "RTX 4090", "4090", "H100", "A100 40GB", or by its memory alone,
    "24GB". None where that tells no memory."""
    name = " ".join(text.split())[:80]
    if card(name) is None and card(f"RTX {name}") is not None:
        name = f"RTX {name}"
    known = card(name)
    sizes = () if known is None else tuple(mib for mib, _ in known.sizes)
    told = _MEMORY.search(name)
    # A number without a unit is a card's own, unless it is all there is, or the card is known.
    told = told if told is not None and (told[2] or told[0] == name or sizes) else None
    memory = float(told[1]) if told is not None else 0.0
    if sizes and min(abs(mib / 1024 - memory) for mib in sizes) > NEAR * memory:
        memory = sizes[0] / 1024
    return of_listing(name, memory) if 0 < memory <= _MOST_GIB else None
