"""How much VRAM and disk a model needs.

Weights: parameters x bytes per parameter. KV cache: 2 (keys and values) x layers x KV heads x
head size x bytes x tokens x concurrent sequences. Overhead: activations, CUDA context and graphs,
by each engine's own figures, as is what it needs for every sequence whatever its length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

CONTEXT = 4096
"""Tokens a request is counted with, while nobody says how many."""
CONCURRENCY = 4
"""Requests at a time, likewise."""


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


def quantized(shape: ModelShape, each: float | None) -> ModelShape:
    """The shape with so many bytes per parameter. As it is for None, and for a model whose weights
    have fewer than 16 bits already."""
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


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """What an engine needs beside the weights, in GB (10^9).

    utilization: share of the GPUs' memory that it claims, 0-1. fixed_gb: whatever the model is.
    activation_share: of the weights. sequence_gb: for each sequence, however long. cache_bytes:
    per number in the KV cache. disk_gb: of the installed engine, with space for its download.
    """

    utilization: float = 1.0
    fixed_gb: float = 0.0
    activation_share: float = 0.0
    sequence_gb: float = 0.0
    cache_bytes: float = 2.0
    disk_gb: float = 1.0

    def needed(
        self, shape: ModelShape, *, context: int = CONTEXT, sequences: int = CONCURRENCY
    ) -> Need:
        """What a model of that shape needs to serve `sequences` requests of `context` tokens."""
        weights = shape.weights_gb
        tokens = min(context, shape.max_context or context) * sequences
        if shape.layers and shape.kv_heads and shape.head_size:
            per_token = 2 * shape.layers * shape.kv_heads * shape.head_size * self.cache_bytes
            kv = per_token * tokens / 1e9
        else:
            kv = 0.15 * weights
        overhead = self.fixed_gb + self.activation_share * weights + self.sequence_gb * sequences
        return Need(
            weights_gb=weights,
            kv_cache_gb=kv,
            overhead_gb=overhead,
            vram_gb=(weights + kv + overhead) / self.utilization,
            disk_gb=round(self.disk_gb + 1.3 * shape.files_gb + 0.5),
        )
