"""Graphics cards by the names that listings give them: memory, and compute capability."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple


class Card(NamedTuple):
    """sizes: (MiB as nvidia-smi tells, GB as it is sold by) of each kind of the card that there is.
    capability: compute capability."""

    sizes: tuple[tuple[int, int], ...]
    capability: tuple[int, int]


# By what a name has in it when written without blanks in lower case; never before a digit, and the
# longest name counts. https://developer.nvidia.com/cuda-gpus and .../cuda-legacy-gpus.
_CARDS: dict[str, tuple[tuple[tuple[int, int], ...], tuple[int, int]]] = {
    # Data centres
    "gb300": (((284208, 288),), (10, 3)),
    "gb200": (((189471, 186),), (10, 0)),
    "gh200": (((97871, 96), (147456, 144)), (9, 0)),
    "b300": (((275040, 288),), (10, 3)),
    "b200": (((183359, 180),), (10, 0)),
    "h200": (((143771, 141),), (9, 0)),
    "h100": (((81559, 80), (95830, 94)), (9, 0)),
    "h800": (((81559, 80),), (9, 0)),
    "h20": (((97871, 96), (144384, 141)), (9, 0)),
    "a100": (((81920, 80), (40960, 40)), (8, 0)),
    "a800": (((81920, 80), (40960, 40)), (8, 0)),
    "a30": (((24576, 24),), (8, 0)),
    "a40": (((46068, 48),), (8, 6)),
    "a16": (((15356, 16),), (8, 6)),
    "a10": (((23028, 24),), (8, 6)),
    "a2": (((15356, 16),), (8, 6)),
    "l40s": (((46068, 48),), (8, 9)),
    "l40": (((46068, 48),), (8, 9)),
    "l20": (((46068, 48),), (8, 9)),
    "l4": (((23034, 24),), (8, 9)),
    "t4": (((15360, 16),), (7, 5)),
    "v100": (((16384, 16), (32768, 32)), (7, 0)),
    "p100": (((16280, 16), (12198, 12)), (6, 0)),
    "gp100": (((16280, 16),), (6, 0)),
    "p40": (((22919, 24),), (6, 1)),
    "teslap4": (((7611, 8),), (6, 1)),
    "m60": (((7680, 8),), (5, 2)),
    "m40": (((11448, 12), (22945, 24)), (5, 2)),
    "m10": (((8127, 8),), (5, 0)),
    "teslam4": (((4096, 4),), (5, 2)),
    "k80": (((11441, 12),), (3, 7)),
    "k40": (((11441, 12),), (3, 5)),
    "k20": (((4743, 5),), (3, 5)),
    "k20x": (((5700, 6),), (3, 5)),
    "p102": (((10240, 10), (5120, 5)), (6, 1)),
    "p104": (((8192, 8), (4096, 4)), (6, 1)),
    "p106": (((6144, 6), (3072, 3)), (6, 1)),
    "cmp30hx": (((6144, 6),), (7, 5)),
    "cmp40hx": (((8192, 8),), (7, 5)),
    "cmp50hx": (((10240, 10),), (7, 5)),
    "cmp70hx": (((8192, 8),), (8, 6)),
    "cmp90hx": (((10240, 10),), (8, 6)),
    "cmp170hx": (((8192, 8), (10240, 10)), (8, 0)),
    # Workstations
    "rtxpro6000": (((97887, 96),), (12, 0)),
    "rtxpro5000": (((48935, 48), (73728, 72)), (12, 0)),
    "rtxpro4500": (((32623, 32),), (12, 0)),
    "rtxpro4000": (((24467, 24),), (12, 0)),
    "rtxpro2000": (((16311, 16),), (12, 0)),
    "rtx6000ada": (((49140, 48),), (8, 9)),
    "rtx4000ada": (((20475, 20),), (8, 9)),
    "rtxa6000": (((49140, 48),), (8, 6)),
    "rtxa5000": (((24564, 24),), (8, 6)),
    "rtxa4500": (((20470, 20),), (8, 6)),
    "rtxa4000": (((16376, 16),), (8, 6)),
    "6000ada": (((49140, 48),), (8, 9)),
    "5880ada": (((49140, 48),), (8, 9)),
    "5000ada": (((32760, 32),), (8, 9)),
    "4500ada": (((24570, 24),), (8, 9)),
    "4000ada": (((20475, 20),), (8, 9)),
    "4000sffada": (((20475, 20),), (8, 9)),
    "2000ada": (((16380, 16),), (8, 9)),
    "a6000": (((49140, 48),), (8, 6)),
    "a5500": (((24564, 24),), (8, 6)),
    "a5000": (((24564, 24),), (8, 6)),
    "a4500": (((20470, 20),), (8, 6)),
    "a4000": (((16376, 16),), (8, 6)),
    "a2000": (((12282, 12), (6138, 6)), (8, 6)),
    "a1000": (((8188, 8),), (8, 6)),
    "qrtx8000": (((46080, 48),), (7, 5)),
    "qrtx6000": (((23040, 24),), (7, 5)),
    "qrtx5000": (((16384, 16),), (7, 5)),
    "qrtx4000": (((8192, 8),), (7, 5)),
    "qrtx3000": (((6144, 6),), (7, 5)),
    "t1000": (((4096, 4), (8192, 8)), (7, 5)),
    "t600": (((4096, 4),), (7, 5)),
    "t400": (((2048, 2), (4096, 4)), (7, 5)),
    "gv100": (((32768, 32),), (7, 0)),
    "p6000": (((24576, 24),), (6, 1)),
    "p5000": (((16384, 16),), (6, 1)),
    "p4000": (((8192, 8),), (6, 1)),
    "p2200": (((5120, 5),), (6, 1)),
    "p2000": (((5120, 5),), (6, 1)),
    "p1000": (((4096, 4),), (6, 1)),
    "p620": (((2048, 2),), (6, 1)),
    "p600": (((2048, 2),), (6, 1)),
    "p400": (((2048, 2),), (6, 1)),
    "m6000": (((12288, 12), (24576, 24)), (5, 2)),
    "m5000": (((8192, 8),), (5, 2)),
    "m4000": (((8192, 8),), (5, 2)),
    "m2000": (((4096, 4),), (5, 2)),
    "k6000": (((12288, 12),), (3, 5)),
    "k2200": (((4096, 4),), (5, 0)),
    "k1200": (((4096, 4),), (5, 0)),
    "k620": (((2048, 2),), (5, 0)),
    # Desktops and laptops
    "rtx5090": (((32607, 32),), (12, 0)),
    "rtx5080": (((16303, 16),), (12, 0)),
    "rtx5070ti": (((16303, 16),), (12, 0)),
    "rtx5070": (((12227, 12),), (12, 0)),
    "rtx5060ti": (((16311, 16), (8151, 8)), (12, 0)),
    "rtx5060": (((8151, 8),), (12, 0)),
    "rtx5050": (((8151, 8),), (12, 0)),
    "rtx4090": (((24564, 24),), (8, 9)),
    "rtx4080": (((16376, 16),), (8, 9)),
    "rtx4070tisuper": (((16376, 16),), (8, 9)),
    "rtx4070tis": (((16376, 16),), (8, 9)),
    "rtx4070": (((12282, 12),), (8, 9)),
    "rtx4060ti": (((16380, 16), (8188, 8)), (8, 9)),
    "rtx4060": (((8188, 8),), (8, 9)),
    "rtx4050": (((6141, 6),), (8, 9)),
    "rtx3090": (((24576, 24),), (8, 6)),
    "rtx3080ti": (((12288, 12),), (8, 6)),
    "rtx3080": (((10240, 10), (12288, 12)), (8, 6)),
    "rtx3070": (((8192, 8),), (8, 6)),
    "rtx3060ti": (((8192, 8),), (8, 6)),
    "rtx3060": (((12288, 12), (8192, 8)), (8, 6)),
    "rtx3050": (((8192, 8), (6144, 6)), (8, 6)),
    "rtx2080ti": (((11264, 11), (22528, 22)), (7, 5)),
    "rtx2080": (((8192, 8),), (7, 5)),
    "rtx2070": (((8192, 8),), (7, 5)),
    "rtx2060": (((6144, 6), (12288, 12)), (7, 5)),
    "titanrtx": (((24576, 24),), (7, 5)),
    "titanv": (((12288, 12),), (7, 0)),
    "titanxp": (((12288, 12),), (6, 1)),
    "titanxpascal": (((12288, 12),), (6, 1)),
    "titanx": (((12288, 12),), (5, 2)),
    "gtxtitanx": (((12288, 12),), (5, 2)),
    "gtxtitan": (((6144, 6),), (3, 5)),
    "gtx1660": (((6144, 6),), (7, 5)),
    "gtx1650": (((4096, 4),), (7, 5)),
    "gtx1630": (((4096, 4),), (7, 5)),
    "gtx1080ti": (((11264, 11),), (6, 1)),
    "gtx1080": (((8192, 8),), (6, 1)),
    "gtx1070": (((8192, 8),), (6, 1)),
    "gtx1060": (((6144, 6), (3072, 3)), (6, 1)),
    "gtx1050ti": (((4096, 4),), (6, 1)),
    "gtx1050": (((2048, 2), (3072, 3), (4096, 4)), (6, 1)),
    "gt1030": (((2048, 2),), (6, 1)),
    "gtx980ti": (((6144, 6),), (5, 2)),
    "gtx980": (((4096, 4),), (5, 2)),
    "gtx970": (((4096, 4),), (5, 2)),
    "gtx960": (((2048, 2), (4096, 4)), (5, 2)),
    "gtx950": (((2048, 2),), (5, 2)),
    "gtx750": (((2048, 2),), (5, 0)),
    "gtx780": (((3072, 3),), (3, 5)),
    "gtx770": (((2048, 2),), (3, 0)),
}
_LONGEST_FIRST = sorted(_CARDS, key=len, reverse=True)
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[\W_]+(?=\d)")
_OTHER_MAKERS = (
    ("AMD", re.compile(r"\b(amd|radeon|instinct|mi\d{2,3}[a-z]?|rx \d{3,4}\w*)\b")),
    ("Intel", re.compile(r"\b(intel|gaudi ?\d?|arc [ab]\d{3})\b")),
)
NEAR = 0.12
"""A card whose listed memory is further off than this share is another one."""
_SOLD = (1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 16, 20, 22, 24, 32, 40, 48, 64, 80, 94, 96, 141, 192)
"""GB that cards are sold with."""
_HIDDEN = 0.065
"""The most of its memory that a card's listing omits: what its driver and ECC keep."""


def card(name: str) -> Card | None:
    """The card that a listing or a driver names; None for one that is not known."""
    key = card_of(name)
    return Card(*_CARDS[key]) if key else None


@lru_cache(maxsize=4096)
def card_of(name: str) -> str:
    """What names that card in lower case without blanks, such as "rtx4090"; "" for one that is not
    known."""
    plain = _squashed(name)
    for part in _LONGEST_FIRST:
        at = plain.find(part)
        while at >= 0:
            if not plain[at + len(part) : at + len(part) + 1].isdigit():
                return part
            at = plain.find(part, at + 1)
    return ""


@lru_cache(maxsize=4096)
def other_maker(name: str) -> str:
    """ "AMD" or "Intel" where a name tells that it is one of theirs; else ""."""
    plain = " ".join(name.casefold().replace("_", " ").split())
    return next((maker for maker, words in _OTHER_MAKERS if words.search(plain)), "")


@lru_cache(maxsize=4096)
def sold_as(name: str, vram_gb: float) -> int:
    """The GB that people know a card by: 24 for an RTX 4090, whether it is listed with 23, 23.99
    or 25.8. vram_gb: as listed; 0 where nothing is told."""
    known = card(name)
    if known is not None:
        mib, gb = min(known.sizes, key=lambda size: abs(size[0] / 1024 - vram_gb))
        if not vram_gb or abs(mib / 1024 - vram_gb) <= NEAR * vram_gb:
            return gb
    for gb in _SOLD:
        if gb * (1 - _HIDDEN) <= vram_gb <= gb:
            return gb
    return round(vram_gb)


def _squashed(name: str) -> str:
    """Without blanks and in lower case; numbers that stood apart still do."""
    apart = _BETWEEN_DIGITS.sub("|", name.casefold())
    plain = "".join(c for c in apart if c.isalnum() or c == "|")
    return plain.replace("quadrortx", "qrtx")
