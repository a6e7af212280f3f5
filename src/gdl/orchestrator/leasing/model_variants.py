"""A model in the other formats that the catalogue knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gdl.domain.model import Model
from gdl.domain.requirements.allocation import Allocation, Lever, LeverKind
from gdl.domain.requirements.of_facts import architecture_of
from gdl.engines.base import Engine
from gdl.hub import catalogue, names
from gdl.hub.catalogue import Variant


def variants_of(model: Model) -> list[tuple[Variant, Model]]:
    """The same model in other formats that the catalogue knows, in its order."""
    entry = catalogue.find(model.base or model.location)
    if entry is None or model.source == "path":
        return []
    return [
        (variant, names.of_variant(variant.id, entry[0], variant, variant.id))
        for variant in entry[0].variants
        if variant.id != model.location
    ]


def with_variants(engine: Engine, model: Model) -> Callable[[Allocation], Allocation]:
    """Adds the first variant that would fit to what helps where the model does not."""
    others = [
        (variant, known)
        for variant, other in variants_of(model)
        if not other.lacks_file and (known := architecture_of(other.facts)) is not None
    ]

    def with_one(found: Allocation) -> Allocation:
        load = replace(found.load, quantization="")
        for variant, known in others:
            if _may_fit(variant, found) and engine.memory.allocation(known, load, found.gpu).fits:
                words = f"{variant.format.words} variant fits"
                lever = Lever(LeverKind.VARIANT, variant.id, words)
                return replace(found, levers=(lever, *found.levers))
        return found

    return lambda found: found if found.fits or found.refusal else with_one(found)


def _may_fit(variant: Variant, beside: Allocation) -> bool:
    """Whether it is worth the sum: its files alone may be too much already, or its format nothing
    for the GPU. beside: what the model itself would hold, whose cache is at most twice as large."""
    if variant.size_gb is None:
        return False
    weights = variant.size_gb * 1e9 / beside.load.tensor_parallel
    if weights + beside.overhead_bytes + beside.kv_bytes / 2 > beside.usable_bytes:
        return False
    if beside.gpu.capability is None:
        return True
    major, minor = beside.gpu.capability
    return major + minor / 10 >= variant.format.least
