"""The GPUs of a machine that share a model: how many, and how long a context they hold."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.errors import UsageError
from gdl.domain.host import HostFacts
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.domain.requirements.allocation import Allocation, GpuKind, Load
from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.gpus import of_driver
from gdl.domain.requirements.of_facts import architecture_of
from gdl.domain.requirements.shape import ModelShape
from gdl.engines.base import Memory

SHORTEST_CONTEXT = 2048
_STEP = 1024
"""Tokens: a length is asked for in multiples of it."""
_SHARE = 0.9
"""Of the GPUs, that is for weights and cache, where only a model's size is known."""
_ACTIVATIONS_GB = 0.7
"""Beside weights and KV cache, likewise. Too low an estimate costs a second start, with a shorter
context; too high a one costs context."""


def parallel(memory: Memory, gpus: int, model: Model) -> int:
    """The most GPUs that the model can be split over; by its attention heads alone, in powers of
    two, where no more is known of it."""
    known = architecture(model)
    if known is not None:
        return max((n for n in memory.tp_allowed(known, Load()) if n <= gpus), default=1)
    size = 1
    while size * 2 <= gpus and model.heads % (size * 2) == 0:
        size *= 2
    return size


def allocation(
    memory: Memory, host: HostFacts, model: Model, query: OfferQuery
) -> Allocation | None:
    """What each GPU of this machine would hold of one request of the greatest length; None where
    the model's configuration is not known."""
    known = architecture(model)
    if known is None or not host.gpus:
        return None
    load = Load(
        context=known.max_context or SHORTEST_CONTEXT,
        sequences=1,
        quantization=query.quantization,
        language_only=query.text_only,
        tensor_parallel=parallel(memory, len(host.gpus), model),
        pipeline_parallel=query.nodes,
    )
    return memory.allocation(known, load, _smallest(host))


def fitting_context(memory: Memory, host: HostFacts, model: Model, query: OfferQuery) -> int | None:
    """The context that fits; None leaves it to the engine, which takes the model's own."""
    found = allocation(memory, host, model, query)
    if found is not None:
        return None if found.fits else _rounded(found.longest)
    shape = model.shape
    if shape is None or not shape.max_context:
        return None
    smallest = min(gpu.memory_mib for gpu in host.gpus) * 1.048576e-3
    gpus = parallel(memory, len(host.gpus), model) * query.nodes
    fitting = _tokens_that_fit(shape, smallest * gpus)
    return None if fitting >= shape.max_context else _rounded(fitting)


def _rounded(tokens: int) -> int:
    return max(tokens // _STEP * _STEP, SHORTEST_CONTEXT)


def _tokens_that_fit(shape: ModelShape, memory_gb: float) -> int:
    """Tokens of KV cache beside the weights in their share of the GPUs."""
    each = 2 * shape.layers * shape.kv_heads * shape.head_size * 2 / 1e9
    left = _SHARE * memory_gb - 1.03 * shape.weights_gb - _ACTIVATIONS_GB
    return max(int(left / each), 0) if each else shape.max_context


def _smallest(host: HostFacts) -> GpuKind:
    gpu = min(host.gpus, key=lambda gpu: gpu.memory_mib)
    kind = of_driver(gpu.name, gpu.memory_mib)
    major, _, minor = gpu.compute_capability.partition(".")
    if major.isdecimal() and minor.isdecimal():
        return replace(kind, capability=(int(major), int(minor)))
    return kind


def architecture(model: Model) -> Architecture | None:
    """None, too, for a configuration that cannot be read: that was said when it was sized, and a
    machine that is rented is not to be lost for it."""
    try:
        return architecture_of(model.facts)
    except UsageError:
        return None
