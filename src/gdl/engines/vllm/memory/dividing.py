"""Over how many GPUs vLLM can split a model: what would be refused at the start, before money is
spent on it."""

from __future__ import annotations

from functools import lru_cache

from gdl.domain.requirements.allocation import GpuKind
from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.layers import AttentionLayer, CacheKind, CompressedLayer, Layer
from gdl.domain.requirements.quantization import FULL_BITS

SIZES = (1, 2, 4, 8, 16)
"""Groups of GPUs that are tried."""
LEAST_CAPABILITY = {
    "fp8": (7, 5),
    "modelopt-fp8": (8, 0),
    "fbgemm-fp8": (8, 0),
    "mxfp8": (8, 0),
    "nvfp4": (7, 5),
    "mxfp4": (8, 0),
    "mixed": (7, 5),
    "awq": (7, 5),
    "int4": (7, 5),
    "int8": (7, 5),
}
"""Of formats that need more than vLLM itself, by their names in `gdl.domain.requirements`:
`get_min_capability` of vLLM 0.33's quantization classes. fp8 and nvfp4 run as weights alone below
8.9 and 10.0; int4 and int8 are those of compressed-tensors. gptq needs no more than vLLM."""
LEAST_TO_QUANTIZE = {"fp8": (7, 5), "bitsandbytes": (7, 5)}
"""Of what weights are made into while they are loaded. fp8 runs as weights alone on Turing and
Ampere. https://docs.vllm.ai/en/latest/features/quantization/"""


def refusal(model: Architecture, gpus: int) -> str:
    """Why the model cannot be split over so many, or "". vLLM 0.32 says it with a ValueError about
    attention heads or a block's size, or with an AssertionError without a word."""
    if gpus <= 1:
        return ""
    if model.heads % gpus:
        return f"{gpus} GPUs cannot share {model.heads} attention heads"
    for layer, _ in model.counted_layers:
        if why := _layer(layer, gpus):
            return why
    return _matrices(model, gpus)


def too_old(model: Architecture, gpu: GpuKind, quantization: str = "") -> str:
    """Why a GPU cannot compute with weights in that format, or "". Many it unpacks first, and is
    slower. quantization: what the weights are made into, or ""."""
    least, name = LEAST_TO_QUANTIZE.get(quantization), quantization
    if least is None:
        least, name = LEAST_CAPABILITY.get(model.quantization.name), model.quantization.name
    if least is None or gpu.capability is None or gpu.capability >= least:
        return ""
    needed, has = (f"{major}.{minor}" for major, minor in (least, gpu.capability))
    name = name if name == "bitsandbytes" else name.upper()
    return f"{name} weights need compute capability {needed}, this GPU has {has}"


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
