"""Which files of a GGUF repository belong together, and which quantization they are."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.model_facts import GGUF, RepoFile

_PARTS = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_TYPE = re.compile(
    r"(?<![A-Za-z0-9])("
    r"(?:UD-)?(?:IQ[1-9]_(?:XXS|XS|S|M|NL)|T?Q[1-9]_K(?:_(?:XXL|XL|L|M|S))?|Q[1-9]_[01]|TQ[12]_0"
    r"|MXFP4(?:_MOE)?|NVFP4|BF16|F16|F32|FP16|FP32)"
    r")(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_NO_MODELS = ("mmproj", "imatrix")
"""Beginnings of files in this format that are no model: vision projectors, statistics."""

FILE_TYPES: dict[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
}
"""`general.file_type` of a header, as llama.cpp's `llama_ftype` numbers them."""


@dataclass(frozen=True, slots=True)
class GgufVariant:
    """One model of a repository. quantization: as the files' names tell it, else (quantization_told
    is False) the name of the file without its ending. paths: its parts, in order."""

    quantization: str
    paths: tuple[str, ...]
    size_bytes: int
    complete: bool = True
    quantization_told: bool = True


def variants(files: Iterable[RepoFile]) -> tuple[GgufVariant, ...]:
    """The models in a repository, smallest first. A split one counts once; complete is False when
    parts of it are missing."""
    parts: dict[str, dict[int, RepoFile]] = {}
    totals: dict[str, int] = {}
    for each in files:
        name = each.path.rpartition("/")[2]
        if not name.lower().endswith(GGUF) or name.lower().startswith(_NO_MODELS):
            continue
        split = _PARTS.search(each.path)
        stem = each.path[: split.start()] if split else each.path[: -len(GGUF)]
        parts.setdefault(stem, {})[int(split.group(1)) if split else 1] = each
        totals[stem] = int(split.group(2)) if split else 1
    found = [
        GgufVariant(
            quantization=quantization(stem) or stem.rpartition("/")[2],
            quantization_told=bool(quantization(stem)),
            paths=tuple(numbered[number].path for number in sorted(numbered)),
            size_bytes=sum(each.size_bytes for each in numbered.values()),
            complete=sorted(numbered) == list(range(1, totals[stem] + 1)),
        )
        for stem, numbered in parts.items()
    ]
    return tuple(sorted(found, key=lambda each: (each.size_bytes, each.quantization)))


def quantization(stem: str) -> str:
    """The last type that the path names: the file's own name, else its folder's; "" for none."""
    found = _TYPE.findall(stem)
    return str(found[-1]).upper() if found else ""


def meant(found: Iterable[GgufVariant], wanted: str) -> GgufVariant | None:
    """The one of that quantization, in any case; without a name the only one there is. None: it is
    not there, or nothing says which of several."""
    choice = tuple(found)
    if not wanted:
        return choice[0] if len(choice) == 1 else None
    name = wanted.casefold()
    exact = [each for each in choice if each.quantization.casefold() == name]
    inside = [each for each in choice if each.paths[0].casefold().endswith((name, name + GGUF))]
    same = [each for each in choice if each.quantization.casefold() == f"ud-{name}"]
    return next(iter(exact or inside or same), None)
