"""How layers share one pool of blocks.

Layers of one kind make groups of equal size, the last one padded; all groups draw blocks of the
same number of bytes from one pool. A sequence takes, of every group, as many blocks as its kind of
layer needs for the length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    if unified is None:
        # Sliding windows beside MLA: pages of different size, so that they are kept in full.
        full = next(spec.block for spec in specs if spec.kind is CacheKind.MLA)
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
        if spec.page == page or spec.copies or page % spec.page:
            if spec.page != page and spec.kind in LATENT:
                return None
            unified = replace(spec, page=page)
        else:
            unified = replace(spec, page=page, block=spec.block * (page // spec.page))
        made[unified] = made.get(unified, 0) + count
    return made


def _up(number: int, unit: int) -> int:
    return -(-number // unit)
