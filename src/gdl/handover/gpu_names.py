"""GPUs as other tools call them."""

from __future__ import annotations

from gdl.domain.requirements.cards import card_of

_DSTACK = {
    "rtxpro6000": "RTXPRO6000", "rtx6000ada": "RTX6000Ada", "6000ada": "RTX6000Ada",
    "rtx4000ada": "RTX4000Ada", "rtx5090": "RTX5090", "rtx5080": "RTX5080",
    "rtx5070ti": "RTX5070Ti", "rtx5070": "RTX5070", "rtx5060ti": "RTX5060Ti", "rtx4090": "RTX4090",
    "rtx4080": "RTX4080", "rtx4070": "RTX4070", "rtx4060ti": "RTX4060Ti", "rtx3090": "RTX3090",
    "rtx3080": "RTX3080", "rtx3060": "RTX3060", "rtx2080ti": "RTX2080Ti", "rtxa6000": "A6000",
    "rtxa5000": "A5000", "rtxa4500": "A4500", "rtxa4000": "A4000", "gh200": "GH200",
    "gb200": "GB200", "h200": "H200", "h100": "H100", "b300": "B300", "b200": "B200",
    "a100": "A100", "l40s": "L40S", "l40": "L40", "a40": "A40", "a6000": "A6000", "a5000": "A5000",
    "a4000": "A4000", "a16": "A16", "a10": "A10", "l4": "L4", "v100": "V100", "p100": "P100",
    "t4": "T4",
}  # fmt: skip
"""As gpuhunt, which dstack asks, calls them (KNOWN_NVIDIA_GPUS of gpuhunt/_internal/constraints.py,
with dstack 0.22.5)."""
_SKYPILOT = {
    **{card: name for card, name in _DSTACK.items() if not name.startswith(("RTX6000", "RTX4000"))},
    "rtx6000ada": "RTX6000-Ada", "6000ada": "RTX6000-Ada", "rtx4000ada": "RTX4000-Ada",
    "rtxa6000": "RTXA6000", "rtxa5000": "RTXA5000", "rtxa4500": "RTXA4500",
    "rtxa4000": "RTXA4000", "p40": "P40", "k80": "K80", "m60": "M60",
}  # fmt: skip
"""As the catalogues of RunPod and Vast.ai in SkyPilot 0.14.1 call them
(sky/catalog/data_fetchers/fetch_runpod.py, sky/utils/gpu_names.py)."""


def of_dstack(gpu: str) -> str:
    """ "RTX4090", or "" for one that it does not know: its memory has to do."""
    return _DSTACK.get(card_of(gpu), "")


def of_skypilot(gpu: str, gib: float) -> tuple[str, ...]:
    """("A100-80GB",), all that are the same card; none likewise."""
    card = card_of(gpu)
    least, suffix = _BIGGER.get(card, (0, ""))
    name = _SKYPILOT.get(card, "")
    if least and gib > least:
        return (f"{name}{suffix}",)
    return (name, f"{name}-SXM") if card in ("h100", "h200") else (name,) if name else ()


_BIGGER = {"a100": (60, "-80GB"), "v100": (20, "-32GB")}
"""Cards of two sizes: above so many GiB it is the bigger one."""
