"""Whether a load fits on a GPU, how much of it does, and which one change would make it fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.requirements.allocation import Allocation, GpuKind, Lever, LeverKind, Load
from gdl.domain.requirements.allocation import tokens_in_words as in_words
from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.shape import Need

_SHORTEST = 1024
"""Tokens: a shorter context helps nobody."""
_MOST_SEQUENCES = 4096
_STEP = 1024
"""Tokens: contexts are offered in multiples of it."""
_FP8_CACHE = (8, 0)
"""Compute capability from which an engine keeps its cache in 8 bits."""
_FP8_WEIGHTS = (7, 5)


@dataclass(frozen=True, slots=True)
class Holding:
    """What a GPU holds under a load, in bytes. kv_bytes_of: the cache of one sequence of so many
    tokens. See `Allocation` for the rest."""

    weights_bytes: int
    overhead_bytes: int
    kv_bytes_per_token: float
    state_bytes_per_sequence: float
    block_size: int
    kv_bytes_of: Callable[[int], int]


HoldingOf = Callable[[Architecture, Load], Holding]


def fitted(
    model: Architecture,
    load: Load,
    gpu: GpuKind,
    usable_bytes: int,
    holding_of: HoldingOf,
    tp_allowed: tuple[int, ...],
    *,
    refusal: str = "",
) -> Allocation:
    """The answer for a GPU of which an engine claims `usable_bytes`."""
    if model.max_context and load.context > model.max_context:
        load = replace(load, context=model.max_context)
    held = holding_of(model, load)
    free = usable_bytes - held.weights_bytes - held.overhead_bytes
    each = held.kv_bytes_of(load.context)
    missing = max(each * load.sequences - free, 0)
    told = Allocation(
        gpu=gpu,
        load=load,
        usable_bytes=usable_bytes,
        weights_bytes=held.weights_bytes,
        overhead_bytes=held.overhead_bytes,
        kv_bytes_per_token=held.kv_bytes_per_token,
        state_bytes_per_sequence=held.state_bytes_per_sequence,
        kv_bytes=each * load.sequences,
        block_size=held.block_size,
        sequences=_sequences(held, load, free),
        longest=_longest(held, free, model.max_context or load.context),
        missing_bytes=missing,
        levers=tuple(_levers(model, load, gpu, usable_bytes, holding_of, tp_allowed))
        if missing and not refusal
        else (),
        source="; ".join(model.notes) or "from its configuration",
        guessed=not model.known,
    )
    return told.refused(refusal) if refusal else told


def _sequences(held: Holding, load: Load, free: int) -> int:
    each = held.kv_bytes_of(load.context)
    if free <= 0:
        return 0
    return min(free // each, _MOST_SEQUENCES) if each else _MOST_SEQUENCES


def _longest(held: Holding, free: int, most: int) -> int:
    """Tokens of one sequence whose cache has free, at most `most`; 0 where none has."""
    if free <= 0 or held.kv_bytes_of(1) > free:
        return 0
    if held.kv_bytes_of(most) <= free:
        return most
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if held.kv_bytes_of(middle) <= free else (low, middle)
    return low


def _levers(
    model: Architecture,
    load: Load,
    gpu: GpuKind,
    usable: int,
    holding_of: HoldingOf,
    tp_allowed: tuple[int, ...],
) -> Iterator[Lever]:
    """Those that are enough by themselves, the least painful first."""

    def fits(changed: Load) -> bool:
        held = holding_of(model, changed)
        free = usable - held.weights_bytes - held.overhead_bytes
        return held.kv_bytes_of(changed.context) * changed.sequences <= free

    def able(least: tuple[int, int]) -> bool:
        return gpu.capability is None or gpu.capability >= least

    held = holding_of(model, load)
    free = usable - held.weights_bytes - held.overhead_bytes
    in_full = load.kv_dtype == "auto" and model.quantization.cache_bits != 8
    if in_full and able(_FP8_CACHE) and fits(replace(load, kv_dtype="fp8")):
        yield Lever(LeverKind.KV_FP8, "fp8", "FP8 cache fits")
    longest = _longest(held, free // load.sequences, load.context) // _STEP * _STEP
    if _SHORTEST <= longest < load.context:
        words = f"{load.sequences} x {in_words(longest)} fits"
        yield Lever(LeverKind.CONTEXT, str(longest), words)
    sequences = min(_sequences(held, load, free), load.sequences - 1)
    if sequences:
        words = f"{sequences} x {in_words(load.context)} fits"
        yield Lever(LeverKind.SEQUENCES, str(sequences), words)
    full_weights = not (load.quantization or model.quantized) and able(_FP8_WEIGHTS)
    if full_weights and fits(replace(load, quantization="fp8")):
        yield Lever(LeverKind.QUANTIZATION, "fp8", "FP8 weights fit")
    for gpus in tp_allowed:
        if gpus > load.tensor_parallel and fits(replace(load, tensor_parallel=gpus)):
            yield Lever(LeverKind.GPUS, str(gpus), f"{gpus} such GPUs fit")
            break


_SIZES_GIB = (180.0, 141.0, 80.0, 48.0, 24.0)
"""Of the GPUs that a need for all of them together is told for: the smallest that holds it."""


def together(
    allocation: Callable[[Architecture, Load, GpuKind], Allocation],
    model: Architecture,
    load: Load,
    *,
    disk_gb: float,
    download_bytes: int,
) -> Need:
    """What a single GPU would have to have. Engines take more for themselves on bigger ones."""
    alone = replace(load, tensor_parallel=1)
    last = allocation(model, alone, GpuKind("", _SIZES_GIB[0]))
    for gib in _SIZES_GIB[1:]:
        smaller = allocation(model, alone, GpuKind("", gib)) if last.fits else last
        if not smaller.fits:
            break
        last = smaller
    share = last.usable_bytes / (last.gpu.memory_gib * 2**30)
    used = last.weights_bytes + last.overhead_bytes + last.kv_bytes
    return Need(
        weights_gb=last.weights_bytes / 1e9,
        kv_cache_gb=last.kv_bytes / 1e9,
        overhead_gb=last.overhead_bytes / 1e9,
        vram_gb=used / share / 1e9,
        disk_gb=round(disk_gb + 1.3 * (download_bytes or last.weights_bytes) / 1e9 + 0.5),
    )
