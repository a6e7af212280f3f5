"""How layers share one pool of blocks.

Layers of one kind make groups of equal size, the last one padded; all groups draw blocks of the
same number of bytes from one pool. A sequence takes, of every group, as many blocks as its kind of
layer needs for the length.
"""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.requirements.layers import CacheKind
from gdl.engines.vllm.memory.specs import GROWING, LATENT, Spec

_MANY = 1.5
"""Up to so many times the layers of the smallest kind, the largest kind decides on the size of the
groups, and the smaller ones are padded."""


@dataclass(frozen=True, slots=True)
class Cache:
    """block_bytes: of a block of the pool. groups: (kind of layer, how many groups of it).
    in_flight, encoder: tokens, see `blocks`."""

    block_bytes: int
    groups: tuple[tuple[Spec, int], ...]
    in_flight: int
    encoder: int

    def bytes_of(self, tokens: int) -> int:
        """Of one sequence of so many tokens."""
        return self.block_bytes * sum(
            count * self._blocks(spec, tokens) for spec, count in self.groups
        )

    def _blocks(self, spec: Spec, tokens: int) -> int:
        if spec.copies:
            return spec.copies
        if spec.kind is CacheKind.SLIDING:
            # A window may begin inside a block.
            return _up(min(spec.window - 1 + self.in_flight, tokens), spec.block) + 1
        if spec.kind is CacheKind.CHUNKED:
            return _up(min(spec.window + self.in_flight, tokens), spec.block)
        if spec.kind is CacheKind.CROSS:
            return _up(self.encoder, spec.block)
        return _up(tokens, spec.block)


def cache_of(specs: dict[Spec, int], in_flight: int, encoder: int) -> Cache:
    """The pool for these kinds of layers. encoder: tokens that cross attention has to hold."""
    if _alike(list(specs)):
        per_block = sum(spec.page * count for spec, count in specs.items())
        longest = max(specs, key=lambda spec: spec.copies or -spec.block)
        return Cache(per_block, ((longest, 1),) if specs else (), in_flight, encoder)
    unified = _one_page(specs)
    if unified is None and any(spec.copies for spec in specs):
        return packed(_buckets(specs), in_flight, encoder)
    if unified is None:
        # Sliding windows beside MLA: pages of different size, so that they are kept in full.
        full = next(spec.block for spec in specs if spec.kind in LATENT)
        per_block = sum(spec.page // spec.block * full * count for spec, count in specs.items())
        return Cache(per_block, ((Spec(CacheKind.FULL, full, 0), 1),), in_flight, encoder)
    least, most = min(unified.values()), max(unified.values())
    size = most if most < _MANY * least else least
    groups = tuple((spec, _up(count, size)) for spec, count in unified.items())
    widest = max(_up(count, _up(count, size)) for count in unified.values())
    page = next(iter(unified)).page
    return Cache(page * widest, groups, in_flight, encoder)


def _alike(specs: list[Spec]) -> bool:
    """Whether all need the same number of blocks, so that they make one group."""
    if not specs:
        return True
    first = specs[0]
    if len({spec.block for spec in specs}) > 1:
        return False
    if first.kind in GROWING:
        return all(spec.kind in GROWING for spec in specs)
    return all(
        (spec.kind, spec.window, spec.copies) == (first.kind, first.window, first.copies)
        and (not spec.copies or spec.page == first.page)
        for spec in specs
    )


def _one_page(specs: dict[Spec, int]) -> dict[Spec, int] | None:
    """All with the largest page: by longer blocks where that works out, else padded; None where it
    cannot be done."""
    page = max(spec.page for spec in specs)
    made: dict[Spec, int] = {}
    for spec, count in specs.items():
        if spec.page == page or spec.copies or not spec.page or page % spec.page:
            if spec.page != page and spec.kind in LATENT:
                return None
            unified = replace(spec, page=page)
        else:
            unified = replace(spec, page=page, block=spec.block * (page // spec.page))
        made[unified] = made.get(unified, 0) + count
    return made


def _up(number: int, unit: int) -> int:
    return -(-number // unit)


Bucket = dict[int, int]
"""Layers by the size of their pages."""


def _buckets(specs: dict[Spec, int]) -> list[tuple[Spec, Bucket]]:
    """Those that need as many blocks as each other, together."""
    made: list[tuple[Spec, Bucket]] = []
    for spec, count in specs.items():
        for other, bucket in made:
            if _alike([other, spec]):
                bucket[spec.page] = bucket.get(spec.page, 0) + count
                break
        else:
            made.append((spec, {spec.page: count}))
    return made


def packed(buckets: list[tuple[Spec, Bucket]], in_flight: int, encoder: int) -> Cache:
    """Blocks that hold layers of different size side by side.

    Buckets that have as many layers of each size are a pattern that repeats; they are cut into
    groups of equally many repeats. States are cut to what a block holds anyway.
    """
    balanced = [len(set(bucket.values())) == 1 for _, bucket in buckets]
    repeats = [max(bucket.values()) for _, bucket in buckets]
    rows = list(zip(buckets, balanced, repeats, strict=True))
    least = max((n for (_, bucket), same, n in rows if same and len(bucket) > 1), default=0)
    each = _common([n for _, same, n in rows if same], least) if least else 0

    def is_state(spec: Spec) -> bool:
        return bool(spec.copies) or (not each and spec.kind is CacheKind.SLIDING)

    parts = [_up(n, each) if each and same else 1 for _, same, n in rows]
    anchor = max(
        _widest(bucket, sum(bucket.values()) if is_state(spec) else count)
        for (spec, bucket), count in zip(buckets, parts, strict=True)
    )
    groups, widest = [], 0
    for (spec, bucket), count in zip(buckets, parts, strict=True):
        if is_state(spec):
            fitting = max(anchor // min(bucket), 1)
            count = max(count, _up(sum(bucket.values()), fitting))
        widest = max(widest, _widest(bucket, count))
        groups.append((spec, count))
    return Cache(widest, tuple(groups), in_flight, encoder)


def _widest(bucket: Bucket, groups: int) -> int:
    """Bytes of the largest of so many groups."""
    return sum(_up(count, groups) * page for page, count in bucket.items())


def _common(counts: list[int], least: int) -> int:
    """The size from `least` up to which these counts are rounded up with the least waste; of equal
    ones the greatest."""
    sizes = range(least, max(max(counts), least) + 1)
    return min(sizes, key=lambda size: (sum(-count % size for count in counts), -size))
