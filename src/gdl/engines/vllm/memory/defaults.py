"""What vLLM decides by the GPU when it is not told."""

from __future__ import annotations

from gdl.domain.requirements.allocation import GpuKind, Load
from gdl.domain.requirements.architecture import Architecture

UTILIZATION = 0.92
"""Of a GPU's memory: what vLLM 0.32 and 0.33 claim."""
_BLOCK = 16
_HOPPER, _BLACKWELL = 9, 10
_GEMMA4_IMAGE = 2496
"""Tokens of the largest input of Gemma 4."""


def representative(gpu: GpuKind) -> GpuKind:
    """One GPU for all that vLLM treats alike."""
    memory = 160.0 if gpu.memory_gib >= 160 else 70.0 if _is_big(gpu) else 0.0
    major = gpu.capability[0] if gpu.capability is not None else _HOPPER
    return GpuKind("", memory, (major, 0))


def batch_tokens(model: Architecture, load: Load, gpu: GpuKind) -> int:
    """Tokens computed in one step (--max-num-batched-tokens): for servers, by the GPU's memory;
    A100s get the small figure whatever they have. Where an image is read at once, it must fit."""
    if load.batch_tokens:
        return load.batch_tokens
    if gpu.memory_gib >= 160:
        return 16384
    if _is_big(gpu):
        return 8192
    at_once = model.images and not load.language_only and model.name.startswith("Gemma4")
    return _GEMMA4_IMAGE if at_once else 2048


def most_sequences(gpu: GpuKind) -> int:
    """Requests at a time (--max-num-seqs)."""
    return 1024 if gpu.memory_gib >= 160 or _is_big(gpu) else 256


def _is_big(gpu: GpuKind) -> bool:
    return gpu.memory_gib >= 70 and "a100" not in gpu.name.casefold()


def tokens_in_flight(model: Architecture, load: Load, gpu: GpuKind) -> int:
    """Scheduled and not yet done with: of two batches where they overlap, which is the default."""
    overlap = 2 if load.async_scheduling in (None, True) else 1
    return overlap * batch_tokens(model, load, gpu)


def cache_bytes(model: Architecture, load: Load) -> int:
    """Of a number in the cache: as asked for, else as the checkpoint says."""
    if load.kv_dtype == "auto":
        return 1 if 0 < model.quantization.cache_bits <= 8 else 2
    return 1 if load.kv_dtype.startswith(("fp8", "int8")) else 2


def block_tokens(model: Architecture, load: Load, gpu: GpuKind) -> int:
    """Of a block of the cache, by what the attention kernels of the GPU take."""
    major = gpu.capability[0] if gpu.capability is not None else _HOPPER
    small = cache_bytes(model, load) == 1
    if model.sparse:
        return 64 if model.latent else 128
    if model.latent:
        return 32 if major == _BLACKWELL else _BLOCK
    return 64 if major == _HOPPER and small and model.head_size == 512 else _BLOCK
