"""How much VRAM and disk a model needs.

Weights: parameters x bytes per parameter. KV cache: 2 (keys and values) x layers x KV heads x
head size x bytes x tokens x concurrent sequences. Overhead: activations, CUDA context and graphs,
taken as 1.2 GB plus 10 % of the weights. vLLM by itself claims 90 % of a GPU, hence `/ 0.9`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_UTILIZATION = 0.9
_FIXED_OVERHEAD_GB = 1.2
_ACTIVATION_SHARE = 0.10
_BASE_DISK_GB = 20.0
"""vLLM with torch and the CUDA libraries, unpacked, and space for the download."""


CONTEXT = 4096
"""Tokens a request is counted with, while nobody says how many."""
CONCURRENCY = 4
"""Requests at a time, likewise."""

QUANTIZATIONS = {"fp8": 1.05, "bitsandbytes": 0.55}
"""What vLLM can make of 16-bit weights while it loads them: bytes per parameter, scales and the
layers that stay as they are included."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """`parameters_b` in 10^9. Unknown layers, heads or sizes: 0, and the KV cache is guessed.
    stored_bytes: per parameter in the files, where that is not what is loaded; else 0."""

    parameters_b: float
    layers: int = 0
    kv_heads: int = 0
    head_size: int = 0
    max_context: int = 0
    bytes_per_parameter: float = 2.0
    stored_bytes: float = 0.0

    @property
    def weights_gb(self) -> float:
        """In the memory of the GPUs."""
        return self.parameters_b * self.bytes_per_parameter

    @property
    def files_gb(self) -> float:
        """On the way there, and on the disk."""
        return self.parameters_b * (self.stored_bytes or self.bytes_per_parameter)


def quantized(shape: ModelShape, name: str) -> ModelShape:
    """The shape after one of QUANTIZATIONS. As it is for any other name, and for a model whose
    weights have fewer than 16 bits already."""
    each = QUANTIZATIONS.get(name)
    if each is None or shape.bytes_per_parameter < 2:
        return shape
    return replace(shape, bytes_per_parameter=each, stored_bytes=shape.bytes_per_parameter)


@dataclass(frozen=True, slots=True)
class Need:
    """Gigabytes (10^9). `vram_gb` is what the GPUs must have together; `disk_gb` is whole GB."""

    weights_gb: float
    kv_cache_gb: float
    overhead_gb: float
    vram_gb: float
    disk_gb: int


def needed(shape: ModelShape, *, context: int = CONTEXT, sequences: int = CONCURRENCY) -> Need:
    """What a model of that shape needs to serve `sequences` requests of `context` tokens."""
    weights = shape.weights_gb
    tokens = min(context, shape.max_context or context) * sequences
    if shape.layers and shape.kv_heads and shape.head_size:
        kv = 2 * shape.layers * shape.kv_heads * shape.head_size * 2 * tokens / 1e9
    else:
        kv = 0.15 * weights
    overhead = _FIXED_OVERHEAD_GB + _ACTIVATION_SHARE * weights
    return Need(
        weights_gb=weights,
        kv_cache_gb=kv,
        overhead_gb=overhead,
        vram_gb=(weights + kv + overhead) / _UTILIZATION,
        disk_gb=round(_BASE_DISK_GB + 1.3 * shape.files_gb + 0.5),
    )
