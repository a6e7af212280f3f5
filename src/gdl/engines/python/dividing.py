"""Over how many GPUs a model can be split: what engines refuse at the start, before money is spent
on it."""

from __future__ import annotations

from functools import lru_cache

from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.layers import AttentionLayer, CacheKind, CompressedLayer, Layer
from gdl.domain.requirements.quantization import FULL_BITS

SIZES = (1, 2, 4, 8, 16)
"""Groups of GPUs that are tried."""


def refusal(model: Architecture, gpus: int) -> str:
    """Why the model cannot be split over so many, or "". Engines say it with an error about
    attention heads or a block's size, or with an AssertionError without a word."""
    if gpus <= 1:
        return ""
    if model.heads % gpus:
        return f"{gpus} GPUs cannot share {model.heads} attention heads"
    for layer, _ in model.counted_layers:
        if why := _layer(layer, gpus):
            return why
    return _matrices(model, gpus)


def _layer(layer: Layer, gpus: int) -> str:
    if isinstance(layer, CompressedLayer):
        return ""
    if isinstance(layer, AttentionLayer):
        if layer.kind in (CacheKind.MLA, CacheKind.INDEXER):
            return ""
        if layer.kv_heads % gpus and gpus % layer.kv_heads:
            return f"{gpus} GPUs cannot share {layer.kv_heads} KV heads"
        return ""
    if layer.kind in (CacheKind.MAMBA1, CacheKind.SHORT_CONV):
        if layer.head_size % gpus:
            return f"{gpus} GPUs cannot share a state of {layer.head_size}"
        return ""
    groups = layer.key_heads
    if layer.kind is CacheKind.MAMBA2 and groups % gpus and groups != 1:
        return f"{gpus} GPUs cannot share {groups} groups of a state"
    if layer.kind is CacheKind.DELTANET and groups % gpus:
        return f"{gpus} GPUs cannot share {groups} heads of linear attention"
    if layer.heads % gpus:
        return f"{gpus} GPUs cannot share a state of {layer.heads} heads"
    return ""


def _matrices(model: Architecture, gpus: int) -> str:
    """Quantized in blocks or groups, a matrix can be cut between them alone. Experts are padded."""
    form = model.quantization
    unit = form.block or (form.group if form.packed else 0)
    if not unit or form.experts_only:
        return ""
    quantized = {part.name for part in model.parts if part.bits < FULL_BITS}
    kind = f"blocks of {unit}" if form.block else f"groups of {unit}"
    sizes = model.inner_sizes if "down_proj" in quantized else ()
    for size in sizes:
        if size % gpus or size // gpus % unit:
            return f"{gpus} GPUs cannot cut {size} rows into whole {kind}"
    if "o_proj" in quantized and not model.latent:
        rows = model.heads * model.head_size // gpus
        if rows % unit:
            return f"{gpus} GPUs cannot cut attention into whole {kind}"
    return ""


@lru_cache(maxsize=256)
def tp_allowed(model: Architecture) -> tuple[int, ...]:
    return tuple(gpus for gpus in SIZES if not refusal(model, gpus))
