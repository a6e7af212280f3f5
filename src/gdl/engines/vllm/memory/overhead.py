"""What vLLM takes beside weights and cache. Estimates: these depend on kernels and releases.

Held against what servers said of themselves at the start. Llama-3.1-8B on an H100 (0.32 or 0.33):
1.44 GiB for activations, 0.3 outside of PyTorch, 0.23 for graphs, 460 496 tokens of cache (here
456 572). Qwen2.5-7B on one (0.11): 1.97, 0.07 and 0.67 GiB. A model of 0.7 B on 24 GiB: 0.25 for
activations. Four GPUs of a group: 0.95 outside of PyTorch each. Qwen3.8-27B-FP8 on two RTX 5090:
377 456 tokens (here 385 920).
"""

from __future__ import annotations

from gdl.domain.requirements.allocation import GpuKind, Load
from gdl.domain.requirements.architecture import Architecture
from gdl.engines.vllm.memory import defaults

_MIB = 1 << 20
_CONTEXT = 300 * _MIB
"""What CUDA, cuBLAS and the kernels hold outside of PyTorch's memory."""
_COMMUNICATION = 650 * _MIB
"""NCCL's and the custom all-reduce's buffers, with several GPUs."""
_GRAPHS, _GRAPHS_PER_LAYER = 100 * _MIB, 5 * _MIB
"""Of CUDA graphs, which vLLM measures before it sizes the cache (since 0.21)."""
_SAMPLING = 1.5
_TOWER = 900 * _MIB
"""One step of a vision or audio tower with the largest inputs, and what it caches of them."""


def overhead_bytes(model: Architecture, load: Load, gpu: GpuKind) -> int:
    """On each GPU: activations of one step, logits, CUDA graphs, positions, and CUDA itself."""
    tp = load.tensor_parallel
    fixed = _CONTEXT + (_COMMUNICATION if tp > 1 else 0)
    graphs = _GRAPHS + _GRAPHS_PER_LAYER * len(model.layers)
    tower = _TOWER if model.images and not load.language_only else 0
    return fixed + graphs + tower + _activations(model, load, gpu) + _copies(model, tp)


def _activations(model: Architecture, load: Load, gpu: GpuKind) -> int:
    """The widest moment of a step, in 16 bits: hidden states and what a layer makes of them; and
    the logits of every sequence in 32, with what sampling makes of them. Positions are kept, too.
    """
    tokens, tp = defaults.batch_tokens(model, load, gpu), load.tensor_parallel
    inner = max((*model.inner_sizes, 0)) // tp
    # Experts work on a copy of the hidden states for each of those that a token is routed to.
    routed = 8 * model.hidden_size if any(part.hidden for part in model.parts) else 0
    wide = max(3 * inner, 2 * model.heads * model.head_size // tp, routed)
    step = tokens * 2 * (4 * model.hidden_size + wide)
    logits = min(defaults.most_sequences(gpu), tokens) * model.vocabulary * 4
    return step + int(_SAMPLING * logits) + model.max_context * min(model.head_size, 256) * 2


def _copies(model: Architecture, tp: int) -> int:
    """MLA keeps the matrices of keys and values once more, in 16 bits, as it multiplies by them
    while it decodes."""
    if not model.latent:
        return 0
    each = next((p for p in model.parts if p.name == "kv_b_proj"), None)
    return 2 * each.numbers // tp if each is not None else 0
