"""What SGLang holds of a GPU's memory.

It claims a share for weights and cache together (--mem-fraction-static), the rest is for
activations and CUDA graphs: `handle_gpu_memory_settings` of sglang/srt/arg_groups/memory_hook.py in
0.5.23. What is free after the weights are loaded, less the rest, is the cache, one slot a token.
Estimates, never held against a GPU here: see docs/deploying.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.requirements.allocation import Allocation, GpuKind, Load
from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.estimate import MemoryModel
from gdl.domain.requirements.fit import Holding, fitted
from gdl.domain.requirements.layers import (
    CacheKind,
    CompressedLayer,
    Layer,
    StateLayer,
)
from gdl.domain.requirements.shape import CONCURRENCY, CONTEXT, ModelShape, Need
from gdl.domain.requirements.weights import ONLINE_BITS, loaded_bytes
from gdl.engines.python import dividing
from gdl.engines.python.arguments import MOST_GPUS, MOST_TOKENS, number
from gdl.engines.sglang import server_flags

_MIB = 1 << 20
_CONTEXT = 300 * _MIB
"""What CUDA holds before SGLang measures what is free."""
_COMMUNICATION = 650 * _MIB
"""NCCL's and the custom all-reduce's buffers, with several GPUs."""
_WINDOW_SHARE = 0.8
"""Slots of layers with a window, for each slot of the others (--swa-full-tokens-ratio)."""
_STATES = 3
"""States of constant size that are kept for a running request
(MAMBA_CACHE_SIZE_MAX_RUNNING_REQUESTS_RATIO)."""
_STATE_BYTES, _CONV_BYTES = 4, 2
_VISION_SHARE = 0.95
"""Of the share, where images are read."""
_LEAST_FORMAT = {
    "fp8": (8, 0),
    "modelopt-fp8": (8, 9),
    "nvfp4": (8, 0),
    "mxfp4": (8, 0),
    "awq": (8, 0),
    "int4": (8, 0),
    "int8": (7, 5),
}
"""`get_min_capability` of the quantization classes of 0.5.23, by the names of
`gdl.domain.requirements`."""
_DISK_GB, _DOWNLOAD_GB = 22.0, 8.0
"""With torch, the CUDA libraries and the kernels' packages: estimates."""
_GUESS = MemoryModel(
    utilization=0.88,
    fixed_gb=0.3,
    activation_share=0.10,
    disk_gb=_DISK_GB,
    download_gb=_DOWNLOAD_GB,
)


@dataclass(frozen=True, slots=True)
class _Row:
    """GPUs below so many MiB: tokens of a prefill chunk, and the requests whose decoding is
    captured as a graph, on fewer than four GPUs and on more."""

    below_mib: float
    chunk: int
    graphs: int
    graphs_of_many: int


_ROWS = (
    _Row(20 * 1024, 2048, 8, 8),
    _Row(35 * 1024, 4096, 48, 160),
    _Row(60 * 1024, 4096, 32, 160),
    _Row(160 * 1024, 8192, 256, 512),
    _Row(float("inf"), 16384, 512, 512),
)


class SglangMemory:
    """Stateless."""

    disk_gb = _DISK_GB
    download_gb = _DOWNLOAD_GB

    def needed(
        self, shape: ModelShape, *, context: int = CONTEXT, sequences: int = CONCURRENCY
    ) -> Need:
        """A guess for a model of which no more is known than its size."""
        return _GUESS.needed(shape, context=context, sequences=sequences)

    def allocation(self, model: Architecture, load: Load, gpu: GpuKind) -> Allocation:
        """What each GPU of a group of `load.tensor_parallel` holds."""
        return fitted(
            model,
            load,
            gpu,
            int(fraction(model, load, gpu) * gpu.memory_gib * 2**30),
            _holding,
            dividing.tp_allowed(model),
            refusal=dividing.refusal(model, load.tensor_parallel) or _too_old(model, gpu, load),
        )

    def tp_allowed(self, model: Architecture, load: Load) -> tuple[int, ...]:
        """The numbers of GPUs that the model can be split over."""
        return dividing.tp_allowed(model)

    def asked(self, load: Load, arguments: Sequence[str]) -> Load:
        """The load with what the user's own arguments of the server say of it."""
        given = server_flags.given(arguments)
        quantization = given.get("--quantization", "")
        return replace(
            load,
            context=number(given, "--context-length", load.context, MOST_TOKENS),
            kv_dtype=given.get("--kv-cache-dtype", "")[:20] or load.kv_dtype,
            quantization=quantization if quantization in ONLINE_BITS else load.quantization,
            tensor_parallel=number(given, "--tp-size", load.tensor_parallel, MOST_GPUS),
            batch_tokens=number(given, "--chunked-prefill-size", load.batch_tokens, MOST_TOKENS),
            language_only=load.language_only or "--language-model-only" in given,
        )


def fraction(model: Architecture, load: Load, gpu: GpuKind) -> float:
    """The share of a GPU that weights and cache get (--mem-fraction-static), 0-1."""
    memory = gpu.memory_gib * 1024
    row = next(row for row in _ROWS if memory < row.below_mib)
    chunk = max(load.batch_tokens or row.chunk, 2048)
    graphs = row.graphs_of_many if load.tensor_parallel >= 4 else row.graphs
    prefills = 1536.0 if model.latent else 8.0 * captured(chunk)
    rest = 512 + 1.5 * chunk + load.tensor_parallel / 8 * 1024 + 2 * graphs + prefills
    if memory > 60 * 1024:
        rest = max(rest, 10 * 1024)
    share = max((memory - rest) / memory, 0.0)
    return share * (_VISION_SHARE if model.images and not load.language_only else 1.0)


def captured(most: int) -> int:
    """How many sizes of a prefill are captured (`generate_prefill_cuda_graph_batch_sizes`)."""
    spans = ((4, 32, 4), (48, 256, 16), (288, 512, 32), (576, 1024, 64), (1280, 4096, 256))
    sizes = [s for first, last, step in spans for s in range(first, last + 1, step)]
    return sum(size <= most for size in (*sizes, *range(4608, most + 1, 512)))


def _holding(model: Architecture, load: Load) -> Holding:
    small = load.kv_dtype.startswith("fp8") or (
        load.kv_dtype == "auto" and 0 < model.quantization.cache_bits <= 8
    )
    each = 0.0
    state = 0.0
    for layer, count in model.counted_layers:
        each += count * _per_token(layer, load.tensor_parallel, 1 if small else 2)
        if isinstance(layer, StateLayer):
            state += count * _STATES * _state(layer) / load.tensor_parallel
    return Holding(
        weights_bytes=loaded_bytes(
            model,
            load.tensor_parallel,
            quantization=load.quantization,
            language_only=load.language_only,
        ),
        overhead_bytes=_CONTEXT + (_COMMUNICATION if load.tensor_parallel > 1 else 0),
        kv_bytes_per_token=each,
        state_bytes_per_sequence=state,
        block_size=1,
        kv_bytes_of=lambda tokens: int(each * tokens + state),
    )


def _per_token(layer: Layer, gpus: int, number_bytes: int) -> float:
    """Bytes of a slot on one GPU."""
    if isinstance(layer, StateLayer):
        return 0.0
    if isinstance(layer, CompressedLayer):
        return (layer.head_size + layer.index_size) * number_bytes / max(layer.ratio, 1)
    if layer.kind is CacheKind.INDEXER:
        return float(layer.head_size)
    if layer.kind is CacheKind.MLA:
        return float(layer.head_size * number_bytes)
    heads = max(layer.kv_heads // gpus, 1)
    share = _WINDOW_SHARE if layer.window else 1.0
    return share * heads * (layer.head_size + layer.value_size) * number_bytes


def _state(layer: StateLayer) -> float:
    values, keys = layer.heads * layer.head_size, layer.key_heads * layer.key_size
    conv = max(layer.kernel - 1, 0) * (layer.conv_size + values + 2 * keys) * _CONV_BYTES
    if layer.kind is CacheKind.SHORT_CONV:
        return float(conv)
    return float(values * layer.key_size * (layer.state_bytes or _STATE_BYTES) + conv)


def _too_old(model: Architecture, gpu: GpuKind, load: Load) -> str:
    name = load.quantization or model.quantization.name
    least = _LEAST_FORMAT.get(name)
    if least is None or gpu.capability is None or gpu.capability >= least:
        return ""
    needed, has = (f"{major}.{minor}" for major, minor in (least, gpu.capability))
    return f"{name.upper()} weights need compute capability {needed}, this GPU has {has}"
