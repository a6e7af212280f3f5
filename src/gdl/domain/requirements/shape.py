"""The size of a model of which no more is known, and what that makes it need."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.lazy_dataclass import dataclass

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
