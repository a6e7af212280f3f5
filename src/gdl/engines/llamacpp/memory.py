"""What llama.cpp takes of GPUs and memory: weights by file, cache by its type, context by slot.

Cells and buffers as in llama.cpp b11549, and as its log tells them (`llama_kv_cache: size = ...`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gdl.domain.requirements.allocation import Allocation, GpuKind, Lever, LeverKind, Load
from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.estimate import MemoryModel
from gdl.domain.requirements.fit import Holding, fitted
from gdl.domain.requirements.layers import AttentionLayer, CompressedLayer, Layer, StateLayer
from gdl.domain.requirements.shape import CONCURRENCY, CONTEXT, ModelShape, Need
from gdl.engines.llamacpp import arguments as server_arguments

DISK_GB = 3.0
"""With the CUDA libraries that its builds bring, and their download."""
DOWNLOAD_GB = 0.6
CELLS = 256
"""The cache of a slot is a multiple of so many tokens."""
BATCH = 512
"""Tokens of a step (`--ubatch-size`)."""
_LOGITS = 4
"""Rows of logits that are kept at a time: one for each of the usual slots."""
_CUDA_BYTES = 450_000_000
"""The CUDA context and cuBLAS, on each GPU."""
UTILIZATION = 0.96
TYPE_BYTES = {
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32,
    "q4_1": 20 / 32, "q4_0": 18 / 32, "iq4_nl": 18 / 32,
}  # fmt: skip
"""Bytes of a number in the cache: blocks of 32 have a scale of their own, some a minimum, too."""
_GUESS = MemoryModel(
    utilization=UTILIZATION, fixed_gb=0.9, activation_share=0.02, disk_gb=DISK_GB,
    download_gb=DOWNLOAD_GB,
)  # fmt: skip
_CACHE_FITS = Lever(LeverKind.KV_FP8, "q8_0", "q8_0 cache fits")


def types_of(kv_dtype: str) -> tuple[float, float]:
    """Bytes of a number of keys and of values. kv_dtype: of both, or "KEYS/VALUES"; what llama.cpp
    does not know counts as f16. "fp8" is what other engines call a cache of 8 bits."""
    keys, _, values = kv_dtype.replace("fp8", "q8_0").partition("/")
    usual = TYPE_BYTES["f16"]
    return TYPE_BYTES.get(keys, usual), TYPE_BYTES.get(values or keys, usual)


def cells(context: int) -> int:
    """Tokens that a slot has space for."""
    return -(-context // CELLS) * CELLS


def layer_bytes(layer: Layer, context: int, kv_dtype: str) -> float:
    """Of one sequence's cache in one layer. A window is kept with the tokens of one step."""
    keys, values = types_of(kv_dtype)
    if isinstance(layer, AttentionLayer):
        kept = cells(context)
        if layer.window:
            kept = min(kept, cells(layer.window + BATCH))
        return kept * layer.kv_heads * (layer.head_size * keys + layer.value_size * values)
    if isinstance(layer, StateLayer):
        inner = layer.heads * layer.head_size
        taken_in = inner + 2 * layer.key_heads * layer.key_size
        return 4.0 * (inner * layer.key_size + max(layer.kernel - 1, 0) * taken_in)
    assert isinstance(layer, CompressedLayer)
    tokens = min(cells(context), layer.window) + (context // layer.ratio if layer.ratio else 0)
    return tokens * (layer.head_size + layer.index_size) * keys


def sequence_bytes(model: Architecture, context: int, kv_dtype: str) -> int:
    """Of the whole cache of one slot."""
    return int(sum(layer_bytes(each, context, kv_dtype) * n for each, n in model.counted_layers))


def weights_bytes(model: Architecture) -> int:
    """The file, which is loaded as it is; 16 bits a number where it is not known."""
    return model.stored_bytes or 2 * model.numbers


def compute_bytes(model: Architecture) -> int:
    """The buffer of one step: some activations of every token, a mask, rows of logits."""
    inner = max(model.inner_sizes, default=4 * model.hidden_size)
    activations = BATCH * 4 * (2 * inner + 4 * model.hidden_size)
    mask = BATCH * 2 * cells(min(model.max_context or CONTEXT, 32_768))
    return activations + mask + _LOGITS * 4 * model.vocabulary


class LlamaCppMemory:
    """Stateless."""

    disk_gb = DISK_GB
    download_gb = DOWNLOAD_GB

    def needed(
        self, shape: ModelShape, *, context: int = CONTEXT, sequences: int = CONCURRENCY
    ) -> Need:
        """A guess for a model of which no more is known than its size."""
        return _GUESS.needed(shape, context=context, sequences=sequences)

    def allocation(self, model: Architecture, load: Load, gpu: GpuKind) -> Allocation:
        """What each GPU of a group holds, whole layers of the model each (`--split-mode layer`)."""
        usable = int(UTILIZATION * gpu.memory_gib * 2**30)
        found = fitted(model, load, gpu, usable, _holding, self.tp_allowed(model, load))
        levers = [
            _CACHE_FITS if lever.kind is LeverKind.KV_FP8 else lever
            for lever in found.levers
            if lever.kind is not LeverKind.QUANTIZATION
        ]
        return replace(found, levers=tuple(levers))

    def tp_allowed(self, model: Architecture, load: Load) -> tuple[int, ...]:
        """As many as there are layers, up to 8."""
        return tuple(range(1, min(len(model.layers), 8) + 1)) or (1,)

    def asked(self, load: Load, arguments: Sequence[str]) -> Load:
        """`--ctx-size` is that of all slots together, unless they share one cache."""
        found = server_arguments.given(arguments)
        slots = server_arguments.number(found, "--parallel") or load.sequences
        whole = server_arguments.number(found, "--ctx-size")
        each = whole if "--kv-unified" in found else whole // slots
        keys = found.get("--cache-type-k", "f16")[:20]
        values = found.get("--cache-type-v", "f16")[:20]
        kv_dtype = keys if keys == values else f"{keys}/{values}"
        return replace(
            load,
            context=each or load.context,
            sequences=slots,
            kv_dtype="auto" if kv_dtype == "f16" else kv_dtype,
        )


def layers_that_fit(model: Architecture, load: Load, gpus: Sequence[GpuKind]) -> tuple[int, int]:
    """(how many of its layers, output layer included, the GPUs hold with their caches, of how
    many). What is left is computed by the processor."""
    count = len(model.layers) + 1
    each = weights_bytes(model) / count
    cache = sequence_bytes(model, load.context, load.kv_dtype) * load.sequences / (count - 1 or 1)
    held = 0
    for gpu in gpus:
        free = UTILIZATION * gpu.memory_gib * 2**30 - _CUDA_BYTES - compute_bytes(model)
        held += max(int(free / (each + cache)), 0)
    return min(held, count), count


def _holding(model: Architecture, load: Load) -> Holding:
    gpus = load.tensor_parallel
    longest = model.max_context or CONTEXT

    def kv_bytes_of(tokens: int) -> int:
        return sequence_bytes(model, tokens, load.kv_dtype) // gpus

    half = max(longest // 2, 1)
    slope = (kv_bytes_of(longest) - kv_bytes_of(half)) / max(longest - half, 1)
    return Holding(
        weights_bytes=weights_bytes(model) // gpus,
        overhead_bytes=_CUDA_BYTES + compute_bytes(model),
        kv_bytes_per_token=slope,
        state_bytes_per_sequence=max(kv_bytes_of(longest) - slope * longest, 0.0),
        block_size=CELLS,
        kv_bytes_of=kv_bytes_of,
    )
