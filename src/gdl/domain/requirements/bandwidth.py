"""How fast a card reads its own memory: what bounds the tokens a second of a model."""

from __future__ import annotations

from gdl.domain.requirements.cards import card_of

# GB/s (10^9 bytes), of NVIDIA's data sheets: https://www.nvidia.com/en-us/data-center/ and
# .../geforce/graphics-cards/compare/. Of cards of one name the usual one: SXM before PCIe.
_GB_S: dict[str, float] = {
    "gb300": 8000, "gb200": 8000, "b300": 8000, "b200": 8000, "gh200": 4000, "h200": 4800,
    "h100": 3350, "h800": 3350, "h20": 4000, "a100": 2039, "a800": 2039, "a30": 933, "a40": 696,
    "a10": 600, "l40s": 864, "l40": 864, "l4": 300, "t4": 320, "v100": 900,
    "rtxpro6000": 1792, "rtxpro5000": 1344, "rtx6000ada": 960, "6000ada": 960,
    "rtxa6000": 768, "a6000": 768, "rtxa5000": 768, "a5000": 768, "rtxa4500": 640, "a4500": 640,
    "rtxa4000": 448, "a4000": 448, "qrtx8000": 672, "qrtx6000": 672,
    "rtx5090": 1792, "rtx5080": 960, "rtx5070ti": 896, "rtx5070": 672, "rtx5060ti": 448,
    "rtx5060": 448, "rtx4090": 1008, "rtx4080": 717, "rtx4070tisuper": 672, "rtx4070tis": 672,
    "rtx4070": 504, "rtx4060ti": 288, "rtx4060": 272, "rtx3090": 936, "rtx3080ti": 912,
    "rtx3080": 760, "rtx3070": 448, "rtx3060ti": 448, "rtx3060": 360, "rtx2080ti": 616,
    "rtx2080": 448, "titanrtx": 672,
}  # fmt: skip
_A100_40GB, _H100_PCIE, _H100_NVL = 1555.0, 2000.0, 3900.0
_HALF_AN_A100_GB = 60


def bandwidth(gpu: str, vram_gb: float = 0.0) -> float | None:
    """GB/s (10^9 bytes) of one card, by its name in a listing; None for one that is not known.
    vram_gb: as listed, 0 where it is not told."""
    name, plain = card_of(gpu), gpu.casefold()
    if name == "a100" and 0 < vram_gb < _HALF_AN_A100_GB:
        return _A100_40GB
    if name == "h100" and "pcie" in plain:
        return _H100_PCIE
    if name == "h100" and "nvl" in plain:
        return _H100_NVL
    return _GB_S.get(name)
