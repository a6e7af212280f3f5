"""DeepSeek V4's cache: every layer keeps a short window of tokens, and most of them the rest in
compressed form; blocks hold layers of different size side by side.

Sizes and grouping as in vLLM 0.32 (models/deepseek_v4, `_get_packed_kv_cache_groups`).
"""

from __future__ import annotations

from collections.abc import Sequence

from gdl.domain.requirements.layers import CacheKind, CompressedLayer
from gdl.engines.vllm.memory.groups import Cache
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

_Bucket = dict[int, int]
"""Layers by the size of their pages."""


def cache_of(layers: Sequence[tuple[CompressedLayer, int]], in_flight: int) -> Cache:
    """The pool for these layers and how many there are of each."""
    window = layers[0][0].window
    windows: _Bucket = {}
    compressed: _Bucket = {}
    states: dict[int, _Bucket] = {}
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
    return _packed(made, in_flight)


def _packed(buckets: list[tuple[Spec, _Bucket]], in_flight: int) -> Cache:
    """Buckets that have as many layers of each size are a pattern that repeats; they are cut into
    groups of equally many repeats."""
    balanced = [len(set(bucket.values())) == 1 for _, bucket in buckets]
    repeats = [max(bucket.values()) for _, bucket in buckets]
    least = max(
        (
            count
            for count, same, (_, bucket) in zip(repeats, balanced, buckets, strict=True)
            if same and len(bucket) > 1
        ),
        default=0,
    )
    counts = [count for count, same in zip(repeats, balanced, strict=True) if same]
    each = _common(counts, least) if least and counts else 0
    groups, widest = [], 0
    for (spec, bucket), count, same in zip(buckets, repeats, balanced, strict=True):
        parts = -(-count // each) if each and same else 1
        widest = max(widest, sum(-(-n // parts) * page for page, n in bucket.items()))
        groups.append((spec, parts))
    return Cache(widest, tuple(groups), in_flight, 0)


def _common(counts: list[int], least: int) -> int:
    """The size from `least` up to which these counts are rounded up with the least waste; of equal
    ones the greatest."""
    sizes = range(least, max(max(counts), least) + 1)
    return min(sizes, key=lambda size: (sum(-count % size for count in counts), -size))


def _state_block(layer: CompressedLayer) -> int:
    return 4 if layer.ratio == _OVERLAPPING else 8


def _state_row(layer: CompressedLayer, size: int) -> int:
    """Of a token that is being compressed: a value and a score for each number, in 32 bits."""
    return size * 2 * 4 * (2 if layer.ratio == _OVERLAPPING else 1)


def _page(size: int) -> int:
    return -(-size // _UNIT) * _UNIT


def _add(bucket: _Bucket, page: int, count: int) -> None:
    bucket[page] = bucket.get(page, 0) + count
