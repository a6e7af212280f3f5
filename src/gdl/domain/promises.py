"""What a listing promised, against what its machine turned out to be."""

from __future__ import annotations

import re

from gdl.domain.host import HostFacts
from gdl.domain.offers import Offer

VRAM_TOLERANCE = 0.9
"""Listings count GB, drivers GiB less what they keep: a 24 GB L4 shows 22.5 GiB."""

_MAKERS = re.compile(r"nvidia|geforce|tesla|quadro|grid|rtx|gtx|graphics")
_NO_MODEL = re.compile(r"\d+(?:gb|g|gib)|sxm\d*|pcie\d*|hbm\d\w*|nvl\d*|nvlink\d*|x\d+|\d+x|gen\d")


def broken_promise(offer: Offer, facts: HostFacts) -> str:
    """What is less than listed, in one line, or "". Pure.

    More than listed is fine; what either side does not tell is not held against the machine. A
    machine that shows no GPU at all is for others to judge: its driver may only need time.
    """
    if offer.gpu_count <= 0 or not facts.gpus:
        return ""
    if len(facts.gpus) < offer.gpu_count:
        few, many = len(facts.gpus), offer.gpu_count
        return f"listed {many} GPUs, the machine shows {few}"
    for gpu in facts.gpus:
        if not same_gpu(offer.gpu_name, gpu.name):
            return f"listed {offer.gpu_name[:40]}, the machine has {gpu.name[:40]}"
    least = min(gpu.memory_mib for gpu in facts.gpus) / 1024
    if least < offer.vram_gb * VRAM_TOLERANCE:
        return f"listed {offer.vram_gb:.0f} GB VRAM, the GPU has {least:.0f} GiB"
    allowed = cuda_of(facts.cuda)
    if offer.cuda_version is not None and 0 < allowed < offer.cuda_version:
        return f"listed CUDA {offer.cuda_version:.1f}, driver allows {allowed:.1f}"
    return ""


def cuda_of(text: str) -> float:
    """ "12.8" -> 12.8; 0.0 when there is no such number."""
    found = re.match(r"\d{1,2}\.\d", text)
    return float(found.group()) if found else 0.0


def same_gpu(listed: str, shown: str) -> bool:
    """Whether a name in a listing and nvidia-smi's name may mean the same model.

    Only the model's number counts ("4090", "a100", "l40s"): makers' names, form factors and sizes
    are written in every way. A listing without such a number matches anything.
    """
    wanted = [_MAKERS.sub("", word) for word in _words(listed)]
    wanted = [word for word in wanted if any(c.isdigit() for c in word)]
    have = "".join(_words(shown))
    return not wanted or any(re.search(rf"{model}(?!\d)", have) for model in wanted)


def _words(name: str) -> list[str]:
    """Without memory sizes, form factors and counts."""
    words = re.split(r"[^a-z0-9]+", name.casefold())
    return [word for word in words if not _NO_MODEL.fullmatch(word)]
