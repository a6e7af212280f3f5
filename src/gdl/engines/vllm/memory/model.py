"""The answer for a model, a load and a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from gdl.domain.requirements.allocation import Allocation, GpuKind, Load
from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.estimate import MemoryModel
from gdl.domain.requirements.fit import Holding, fitted
from gdl.domain.requirements.layers import CompressedLayer
from gdl.domain.requirements.shape import CONCURRENCY, CONTEXT, ModelShape, Need
from gdl.domain.requirements.weights import loaded_bytes
from gdl.engines.python import dividing, stages
from gdl.engines.vllm.memory import compressed, defaults, formats
from gdl.engines.vllm.memory.arguments import asked
from gdl.engines.vllm.memory.groups import Cache, cache_of
from gdl.engines.vllm.memory.overhead import overhead_bytes
from gdl.engines.vllm.memory.specs import specs_of

_DISK_GB = 20.0
"""With torch and the CUDA libraries, unpacked."""
_DOWNLOAD_GB = 8.0
"""The same, packed: what package indexes send for vLLM on a GPU."""
_GUESS = MemoryModel(
    utilization=0.9,
    # Activations, CUDA context and graphs.
    fixed_gb=1.2,
    activation_share=0.10,
    disk_gb=_DISK_GB,
    download_gb=_DOWNLOAD_GB,
)
"""For a model of which only the size is known."""


_UNTOLD = 131_072
"""Tokens that the cache's growth is told for, where a model has no limit."""


class VllmMemory:
    """Stateless."""

    disk_gb = _DISK_GB
    download_gb = _DOWNLOAD_GB

    def needed(
        self, shape: ModelShape, *, context: int = CONTEXT, sequences: int = CONCURRENCY
    ) -> Need:
        """A guess for a model of which no more is known than its size."""
        return _GUESS.needed(shape, context=context, sequences=sequences)

    def allocation(self, model: Architecture, load: Load, gpu: GpuKind) -> Allocation:
        """What each GPU of a group of `load.tensor_parallel` holds, of `pipeline_parallel` such
        groups the one that holds most."""

        like = defaults.representative(gpu)
        refusal = dividing.refusal(model, load.tensor_parallel) or formats.too_old(
            model, gpu, load.quantization
        )
        model = stages.largest(model, load.pipeline_parallel)

        def holding(model: Architecture, load: Load) -> Holding:
            # The load's length and number of requests change nothing of it.
            return _holding(model, replace(load, context=0, sequences=0), like)

        return fitted(
            model,
            load,
            gpu,
            int(defaults.UTILIZATION * gpu.memory_gib * 2**30),
            holding,
            dividing.tp_allowed(model),
            refusal=refusal,
        )

    def tp_allowed(self, model: Architecture, load: Load) -> tuple[int, ...]:
        """The numbers of GPUs that the model can be split over."""
        return dividing.tp_allowed(model)

    def asked(self, load: Load, arguments: Sequence[str]) -> Load:
        """The load with what the user's own arguments of the server say of it."""
        return asked(load, arguments)


def cache(model: Architecture, load: Load, gpu: GpuKind) -> Cache:
    """The pool of blocks on one GPU."""
    own = [(x, count) for x, count in model.counted_layers if isinstance(x, CompressedLayer)]
    if own:
        return compressed.cache_of(own, defaults.tokens_in_flight(model, load, gpu))
    encoder = defaults.batch_tokens(model, load, gpu) if model.encoder_context else 0
    return cache_of(
        specs_of(model, load, gpu), defaults.tokens_in_flight(model, load, gpu), encoder
    )


@lru_cache(maxsize=2048)
def _holding(model: Architecture, load: Load, gpu: GpuKind) -> Holding:
    pool = cache(model, load, gpu)
    longest = model.max_context or _UNTOLD
    half = max(longest // 2, 1)
    whole = pool.bytes_of(longest)
    slope = (whole - pool.bytes_of(half)) / max(longest - half, 1)
    growing = [spec.block for spec, _ in pool.groups if spec.block]
    return Holding(
        weights_bytes=loaded_bytes(
            model,
            load.tensor_parallel,
            quantization=load.quantization,
            language_only=load.language_only,
        ),
        overhead_bytes=overhead_bytes(model, load, gpu),
        kv_bytes_per_token=slope,
        state_bytes_per_sequence=max(whole - slope * longest, 0.0),
        block_size=min(growing, default=1),
        kv_bytes_of=pool.bytes_of,
    )
