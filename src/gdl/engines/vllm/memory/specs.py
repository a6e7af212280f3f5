"""What each layer takes of a block of the cache, on one GPU of a group."""

from __future__ import annotations

from math import lcm

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.requirements.allocation import GpuKind, Load
from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.layers import AttentionLayer, CacheKind, CompressedLayer, StateLayer
from gdl.engines.vllm.memory import defaults

GROWING = frozenset({CacheKind.FULL, CacheKind.MLA, CacheKind.INDEXER})
LATENT = frozenset({CacheKind.MLA, CacheKind.INDEXER})
_FP8_SPARSE_ROW = 656
"""Bytes of a token in sparse MLA's 8-bit format: 512 numbers with 4 scales, and 64 in 16 bits."""
_LATENT_ALIGNMENT = 128
"""Tokens: a hybrid's blocks of MLA are multiples of it, as some kernels need them."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A kind of layer. block: tokens; page: bytes of a block of one such layer. window: tokens.
    copies: of a state. like: what layers of one group must have in common."""

    kind: CacheKind
    block: int
    page: int
    window: int = 0
    copies: int = 0
    like: tuple[int, ...] = ()


def specs_of(model: Architecture, load: Load, gpu: GpuKind) -> dict[Spec, int]:
    """The kinds of layers, and how many there are of each, in order."""
    each = defaults.cache_bytes(model, load)
    block = defaults.block_tokens(model, load, gpu)
    states = [layer for layer, _ in model.counted_layers if isinstance(layer, StateLayer)]
    attention = len(states) < len(model.counted_layers)
    tp, pages = load.tensor_parallel, 0
    if states and attention:
        # An attention block grows until its page holds a state; the state is padded to that page.
        size = 1 if model.latent else 2
        token = size * max(model.kv_heads // tp, 1) * max(model.head_size, 1) * each
        largest = max(state_bytes(state, tp) for state in states)
        unit = max(block, _LATENT_ALIGNMENT) if model.latent else block
        block = lcm(unit, 16) * -(-largest // (lcm(unit, 16) * token))
        pages = block * token
    found: dict[Spec, int] = {}
    for layer, count in model.counted_layers:
        if isinstance(layer, CompressedLayer):
            continue
        if isinstance(layer, StateLayer):
            spec = _state(layer, load, tp, pages, alone=not attention)
        else:
            spec = _attention(layer, tp, each, block)
        found[spec] = found.get(spec, 0) + count
    return found


def _attention(layer: AttentionLayer, tp: int, each: int, block: int) -> Spec:
    if layer.kind is CacheKind.INDEXER:
        return Spec(layer.kind, block, layer.head_size * block)
    if layer.kind is CacheKind.MLA:
        return Spec(layer.kind, block, layer.head_size * each * block)
    heads = max(layer.kv_heads // tp, 1)
    page = heads * (layer.head_size + layer.value_size) * each * block
    like = (heads, layer.head_size, layer.value_size)
    return Spec(layer.kind, block, page, layer.window, like=like)


def _state(layer: StateLayer, load: Load, tp: int, padded: int, *, alone: bool) -> Spec:
    own = state_bytes(layer, tp)
    copies = 1
    if load.prefix_caching or (load.prefix_caching is None and not alone):
        # The state at the last block's end, to be found again, and the running one; Mamba-2 and
        # Kimi K3's layers (vllm/models/kimi_k3/nvidia/kda.py) keep one more from inside a step.
        copies = 3 if layer.kind is CacheKind.MAMBA2 or layer.kept_inside else 2
    return Spec(layer.kind, 0, max(own, padded), copies=copies, like=(own,))


def state_bytes(layer: StateLayer, tp: int) -> int:
    """Of one sequence and layer on one of `tp` GPUs. Shapes as in vLLM 0.32's
    model_executor/layers/mamba/mamba_utils.py."""
    wide, own = layer.heads * layer.head_size, layer.state_bytes or 2
    past = max(layer.kernel - 1, 0)
    match layer.kind:
        case CacheKind.MAMBA1:
            return wide // tp * (past * 2 + layer.key_size * own)
        case CacheKind.MAMBA2:
            groups = layer.key_heads if layer.key_heads % tp == 0 else max(tp, layer.key_heads)
            mixed = wide + 2 * groups * layer.key_size
            return (
                mixed // tp * past * 2 + layer.heads // tp * layer.head_size * layer.key_size * own
            )
        case CacheKind.DELTANET | CacheKind.KDA:
            mixed = wide + 2 * layer.key_heads * layer.key_size
            numbers = layer.heads // tp * layer.head_size * layer.key_size
            return mixed // tp * past * 2 + numbers * own
        case CacheKind.SHORT_CONV:
            return wide // tp * past * 2
        case _:
            return layer.heads // tp * layer.head_size * layer.key_size * own
