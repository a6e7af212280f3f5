"""Which GPUs can compute with which weights."""

from __future__ import annotations

from gdl.domain.requirements.allocation import GpuKind
from gdl.domain.requirements.architecture import Architecture

LEAST_CAPABILITY = {
    "fp8": (7, 5),
    "modelopt-fp8": (8, 0),
    "fbgemm-fp8": (8, 0),
    "mxfp8": (8, 0),
    "nvfp4": (7, 5),
    "mxfp4": (8, 0),
    "mixed": (7, 5),
    "awq": (7, 5),
    "int4": (7, 5),
    "int8": (7, 5),
}
"""Of formats that need more than vLLM itself, by their names in `gdl.domain.requirements`:
`get_min_capability` of vLLM 0.33's quantization classes. fp8 and nvfp4 run as weights alone below
8.9 and 10.0; int4 and int8 are those of compressed-tensors. gptq needs no more than vLLM."""
LEAST_TO_QUANTIZE = {"fp8": (7, 5), "bitsandbytes": (7, 5)}
"""Of what weights are made into while they are loaded. fp8 runs as weights alone on Turing and
Ampere. https://docs.vllm.ai/en/latest/features/quantization/"""


def too_old(model: Architecture, gpu: GpuKind, quantization: str = "") -> str:
    """Why a GPU cannot compute with weights in that format, or "". Many it unpacks first, and is
    slower. quantization: what the weights are made into, or ""."""
    least, name = LEAST_TO_QUANTIZE.get(quantization), quantization
    if least is None:
        least, name = LEAST_CAPABILITY.get(model.quantization.name), model.quantization.name
    if least is None or gpu.capability is None or gpu.capability >= least:
        return ""
    needed, has = (f"{major}.{minor}" for major, minor in (least, gpu.capability))
    name = name if name == "bitsandbytes" else name.upper()
    return f"{name} weights need compute capability {needed}, this GPU has {has}"
