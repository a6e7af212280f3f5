"""DeepSeek V4's cache: every layer keeps a short window of tokens, and most of them the rest in
compressed form; blocks hold layers of different size side by side.

Sizes and grouping as in vLLM 0.32 (models/deepseek_v4, `_get_packed_kv_cache_groups`).
"""

from __future__ import annotations

from collections.abc import Sequence

from gdl.domain.requirements.layers import CacheKind, CompressedLayer
from gdl.engines.vllm.memory.groups import Bucket, Cache, packed
from gdl.engines.vllm.memory.specs import Spec

_ROW = 584
"""Bytes of a token: 448 numbers in 8 bits with 8 scales, and 64 in 16 bits."""
_INDEX_ROW = 132
_UNIT = 576
"""Pages are multiples of it."""
_WINDOW_BLOCK, _LONG_BLOCK = 64, 256
"""Tokens."""
_OVERLAPPING = 4
"""Compressing so few tokens, neighbouring groups of them overlap."""


def cache_of(layers: Sequence[tuple[CompressedLayer, int]], in_flight: int) -> Cache:
    """The pool for these layers and how many there are of each."""
    window = layers[0][0].window
    windows: Bucket = {}
    compressed: Bucket = {}
    states: dict[int, Bucket] = {}
    for layer, count in layers:
        _add(windows, _page(_WINDOW_BLOCK * _ROW), count)
        if not layer.ratio:
            continue
        kept = _LONG_BLOCK // layer.ratio
        _add(compressed, _page(kept * _ROW), count)
        state = states.setdefault(layer.ratio, {})
        _add(state, _page(_state_block(layer) * _state_row(layer, layer.head_size)), count)
        if layer.index_size:
            _add(compressed, _page(kept * _INDEX_ROW), count)
            _add(state, _page(_state_block(layer) * _state_row(layer, layer.index_size)), count)
    made = [(Spec(CacheKind.SLIDING, _WINDOW_BLOCK, 0, window), windows)]
    made += [(Spec(CacheKind.FULL, _LONG_BLOCK, 0), compressed)] if compressed else []
    for ratio, state in states.items():
        overlap = 2 if ratio == _OVERLAPPING else 1
        block = 4 if ratio == _OVERLAPPING else 8
        made.append((Spec(CacheKind.SLIDING, block, 0, ratio * overlap), state))
    return packed(made, in_flight, 0)


def _state_block(layer: CompressedLayer) -> int:
    return 4 if layer.ratio == _OVERLAPPING else 8


def _state_row(layer: CompressedLayer, size: int) -> int:
    """Of a token that is being compressed: a value and a score for each number, in 32 bits."""
    return size * 2 * 4 * (2 if layer.ratio == _OVERLAPPING else 1)


def _page(size: int) -> int:
    return -(-size // _UNIT) * _UNIT


def _add(bucket: Bucket, page: int, count: int) -> None:
    bucket[page] = bucket.get(page, 0) + count
