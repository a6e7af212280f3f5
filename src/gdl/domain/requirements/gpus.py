"""What is known of a GPU by the name in a listing: its memory, and its compute capability."""

from __future__ import annotations

import re
from functools import lru_cache

from gdl.domain.requirements.allocation import GpuKind

_VISIBLE = 0.985
"""Of the memory that nvidia-smi tells, what a program sees: the driver keeps some hundred MiB
(RTX 4090: 23.6 of 24.0 GiB, L4: 22.2 of 22.5, RTX 5090: 31.4 of 31.8)."""
_VISIBLE_HBM = 0.995
"""Likewise, of Hopper's and Blackwell's data centre cards (H100: 79.2 of 79.6 GiB)."""
_NEAR = 0.12
"""A card whose listed memory is further off than this share is another one."""

# MiB as nvidia-smi tells, and compute capability, by what a name has in it when written without
# blanks in lower case. https://developer.nvidia.com/cuda-gpus; a longer name comes first.
_CARDS: tuple[tuple[str, tuple[int, ...], tuple[int, int]], ...] = (
    ("rtxpro6000", (97887,), (12, 0)),
    ("rtx6000ada", (49140,), (8, 9)),
    ("6000ada", (49140,), (8, 9)),
    ("rtx5000ada", (32760,), (8, 9)),
    ("rtx4000ada", (20475,), (8, 9)),
    ("rtx4000sffada", (20475,), (8, 9)),
    ("rtx5090", (32607,), (12, 0)),
    ("rtx5080", (16303,), (12, 0)),
    ("rtx5070ti", (16303,), (12, 0)),
    ("rtx5070", (12227,), (12, 0)),
    ("rtx5060ti", (16311, 8151), (12, 0)),
    ("rtx4090", (24564,), (8, 9)),
    ("rtx4080", (16376,), (8, 9)),
    ("rtx4070tisuper", (16376,), (8, 9)),
    ("rtx4070", (12282,), (8, 9)),
    ("rtx4060ti", (16380, 8188), (8, 9)),
    ("rtx3090", (24576,), (8, 6)),
    ("rtx3080", (10240, 12288), (8, 6)),
    ("rtx3060", (12288,), (8, 6)),
    ("rtx2080ti", (11264, 22528), (7, 5)),
    ("rtxa6000", (49140,), (8, 6)),
    ("rtxa5000", (24564,), (8, 6)),
    ("rtxa4500", (20470,), (8, 6)),
    ("rtxa4000", (16376,), (8, 6)),
    ("quadrortx8000", (46080,), (7, 5)),
    ("titanrtx", (24576,), (7, 5)),
    ("gh200", (97871, 147456), (9, 0)),
    ("gb200", (189471,), (10, 0)),
    ("h200", (143771,), (9, 0)),
    ("h100", (81559, 95830), (9, 0)),
    ("h20", (97871, 144384), (9, 0)),
    ("b300", (275040,), (10, 3)),
    ("b200", (183359,), (10, 0)),
    ("a100", (81920, 40960), (8, 0)),
    ("a800", (81920, 40960), (8, 0)),
    ("l40s", (46068,), (8, 9)),
    ("l40", (46068,), (8, 9)),
    ("a40", (46068,), (8, 6)),
    ("a6000", (49140,), (8, 6)),
    ("a5000", (24564,), (8, 6)),
    ("a4000", (16376,), (8, 6)),
    ("a16", (15356,), (8, 6)),
    ("a10", (23028,), (8, 6)),
    ("l4", (23034,), (8, 9)),
    ("titanv", (12288,), (7, 0)),
    ("titanxp", (12288,), (6, 1)),
    ("titanx", (12288,), (5, 2)),
    ("gtx1660", (6144,), (7, 5)),
    ("gtx1650", (4096,), (7, 5)),
    ("gtx1080ti", (11264,), (6, 1)),
    ("gtx1080", (8192,), (6, 1)),
    ("gtx1070", (8192,), (6, 1)),
    ("gtx1060", (6144, 3072), (6, 1)),
    ("gtx1050", (2048, 4096), (6, 1)),
    ("gtx980ti", (6144,), (5, 2)),
    ("gtx980", (4096,), (5, 2)),
    ("gtx970", (4096,), (5, 2)),
    ("gtx960", (2048, 4096), (5, 2)),
    ("gtx950", (2048,), (5, 2)),
    ("gtx750", (2048,), (5, 0)),
    ("p6000", (24576,), (6, 1)),
    ("p5000", (16384,), (6, 1)),
    ("p4000", (8192,), (6, 1)),
    ("p2200", (5120,), (6, 1)),
    ("p2000", (5120,), (6, 1)),
    ("p1000", (4096,), (6, 1)),
    ("p620", (2048,), (6, 1)),
    ("p600", (2048,), (6, 1)),
    ("m6000", (12288, 24576), (5, 2)),
    ("m5000", (8192,), (5, 2)),
    ("m4000", (8192,), (5, 2)),
    ("m2000", (4096,), (5, 2)),
    ("v100", (16384, 32768), (7, 0)),
    ("p100", (16280, 12198), (6, 0)),
    ("p40", (22919,), (6, 1)),
    ("teslap4", (7611,), (6, 1)),
    ("m60", (7680,), (5, 2)),
    ("m40", (11448, 22945), (5, 2)),
    ("teslam4", (4096,), (5, 2)),
    ("k80", (11441,), (3, 7)),
    ("t4", (15360,), (7, 5)),
)


def of_driver(name: str, memory_mib: float, capability: tuple[int, int] | None = None) -> GpuKind:
    """A GPU as its driver told of it."""
    return _seen(name, memory_mib, capability or _capability(name))


@lru_cache(maxsize=4096)
def of_listing(name: str, vram_gb: float) -> GpuKind:
    """A GPU as a market lists it. Listings round, and mean 2^30 bytes as often as 10^9: a card that
    is known has what it has; any other is taken to have as many GiB."""
    plain = _plain(name)
    for part, sizes, capability in _CARDS:
        if part in plain:
            nearest = min(sizes, key=lambda mib: abs(mib / 1024 - vram_gb))
            if not vram_gb or abs(nearest / 1024 - vram_gb) <= _NEAR * vram_gb:
                return _seen(name, nearest, capability)
            return _seen(name, vram_gb * 1024, capability)
    return _seen(name, vram_gb * 1024, None)


def _seen(name: str, memory_mib: float, capability: tuple[int, int] | None) -> GpuKind:
    share = _VISIBLE_HBM if capability is not None and capability[0] in (9, 10) else _VISIBLE
    return GpuKind(name, memory_mib / 1024 * share, capability)


def card_of(name: str) -> str:
    """The card that a name means, in lower case without blanks, such as "rtx4090"; "" for one that
    is not known."""
    plain = _plain(name)
    return next((part for part, _, _ in _CARDS if part in plain), "")


def _capability(name: str) -> tuple[int, int] | None:
    plain = _plain(name)
    return next((capability for part, _, capability in _CARDS if part in plain), None)


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


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
    """A GPU as people name it: "RTX 4090", "H100", "A100 40GB", or by its memory alone, "24GB".
    None where that tells no memory."""
    name = " ".join(text.split())[:80]
    sizes = next((sizes for part, sizes, _ in _CARDS if part in _plain(name)), ())
    told = _MEMORY.search(name)
    # A number without a unit is a card's own, unless it is all there is, or the card is known.
    told = told if told is not None and (told[2] or told[0] == name or sizes) else None
    memory = float(told[1]) if told is not None else 0.0
    if sizes and min(abs(mib / 1024 - memory) for mib in sizes) > _NEAR * memory:
        memory = sizes[0] / 1024
    return of_listing(name, memory) if 0 < memory <= _MOST_GIB else None
