"""How much VRAM and disk a model needs, for an engine of which only a few figures are known.

Weights: parameters x bytes per parameter. KV cache: 2 (keys and values) x layers x KV heads x
head size x bytes x tokens x concurrent sequences. Overhead: activations, CUDA context and graphs,
by each engine's own figures, as is what it needs for every sequence whatever its length.
"""

from __future__ import annotations

from collections.abc import Sequence

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.requirements.allocation import Allocation, GpuKind, Load
from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.fit import Holding, fitted
from gdl.domain.requirements.layers import AttentionLayer
from gdl.domain.requirements.shape import CONCURRENCY, CONTEXT, ModelShape, Need


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """What an engine needs beside the weights, in GB (10^9).

    utilization: share of the GPUs' memory that it claims, 0-1. fixed_gb: whatever the model is.
    activation_share: of the weights. sequence_gb: for each sequence, however long. cache_bytes:
    per number in the KV cache. disk_gb: of the installed engine, with space for its download.
    download_gb: what is fetched to install it.
    """

    utilization: float = 1.0
    fixed_gb: float = 0.0
    activation_share: float = 0.0
    sequence_gb: float = 0.0
    cache_bytes: float = 2.0
    disk_gb: float = 1.0
    download_gb: float = 0.5

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

    def allocation(self, model: Architecture, load: Load, gpu: GpuKind) -> Allocation:
        """Plain arithmetic: every attention layer keeps every token, and GPUs share alike."""
        usable = int(self.utilization * gpu.memory_gib * 2**30)
        return fitted(model, load, gpu, usable, self._holding, self.tp_allowed(model, load))

    def tp_allowed(self, model: Architecture, load: Load) -> tuple[int, ...]:
        """Whatever divides the attention heads, up to 8."""
        return tuple(n for n in range(1, 9) if model.heads % n == 0)

    def asked(self, load: Load, arguments: Sequence[str]) -> Load:
        """As it is: what arguments mean is each engine's own."""
        return load

    def _holding(self, model: Architecture, load: Load) -> Holding:
        weights = (model.stored_bytes or 2 * sum(p.numbers for p in model.parts)) / (
            load.tensor_parallel
        )
        each = sum(
            layer.kv_heads * (layer.head_size + layer.value_size) * self.cache_bytes
            for layer in model.layers
            if isinstance(layer, AttentionLayer)
        )
        overhead = (self.fixed_gb + self.sequence_gb * load.sequences) * 1e9
        return Holding(
            weights_bytes=int(weights),
            overhead_bytes=int(overhead + self.activation_share * weights),
            kv_bytes_per_token=each / load.tensor_parallel,
            state_bytes_per_sequence=0,
            block_size=1,
            kv_bytes_of=lambda tokens: int(each / load.tensor_parallel * tokens),
        )
