"""What one of several machines holds of a model whose layers are divided over them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.layers import Part

_NOT_OF_A_LAYER = frozenset({"embed_tokens", "lm_head", "position", "encoder"})
"""Weights that belong to no layer: the first machine or the last has them whole."""


@lru_cache(maxsize=256)
def largest(model: Architecture, machines: int) -> Architecture:
    """The part that holds most. Engines divide layers evenly, and where that leaves a remainder
    some machines have one more (vllm/distributed/utils.py, get_pp_indices). What belongs to no
    layer counts on each: no machine holds more than is said."""
    if machines <= 1 or not model.layers:
        return model
    count = len(model.layers)
    most = -(-count // machines)

    def share(part: Part) -> Part:
        if part.tower or part.name in _NOT_OF_A_LAYER:
            return part
        return replace(part, numbers=-(-part.numbers * most // count))

    parts = tuple(share(part) for part in model.parts)
    whole = sum(part.numbers * part.bits for part in model.parts)
    held = sum(part.numbers * part.bits for part in parts)
    return replace(
        model,
        layers=model.layers[:most],
        parts=parts,
        drafting=model.drafting * most // count,
        stored_bytes=int(model.stored_bytes * held / whole) if whole else 0,
    )
