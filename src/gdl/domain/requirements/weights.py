"""Bytes of weights that each GPU of a group loads: from the sizes of the files where they are
known, corrected for what is not loaded or not loaded as it is stored, else counted."""

from __future__ import annotations

from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.layers import Part, Split
from gdl.domain.requirements.quantization import FULL_BITS, Quantization

ONLINE_BITS = {"fp8": 8.0, "bitsandbytes": 4.5}
"""Of a number of a matrix that is quantized while it is loaded; embeddings, output layer, norms and
routers stay in 16."""
_KEPT = frozenset(
    {"embed_tokens", "embed_tokens_per_layer", "lm_head", "router", "norm", "bias", "conv",
     "position", "expert_bias", "per_layer_model_projection"}
)  # fmt: skip
_ROWS, _COLUMNS = 256, 128
"""What hidden and inner size of experts in MXFP4 are rounded up to: the tiles of the kernels for
NVIDIA GPUs (vLLM 0.32, Marlin and TRT-LLM)."""


def loaded_bytes(
    model: Architecture, gpus: int = 1, *, quantization: str = "", language_only: bool = False
) -> int:
    """On each of so many GPUs. quantization: made while loading, one of ONLINE_BITS."""
    form = model.quantization
    online = 0.0 if model.quantized else ONLINE_BITS.get(quantization, 0.0)
    parts = [part for part in model.parts if not (part.tower and language_only)]
    counted = sum(_bytes(part, form, gpus, online) for part in parts)
    if not model.stored_bytes:
        return int(counted)
    # What the files hold beyond our count, or less, is spread like the rest.
    as_stored = sum(part.numbers * part.bits / 8 for part in model.parts)
    return int(counted * (model.stored_bytes - _not_loaded(model, as_stored)) / as_stored)


def _not_loaded(model: Architecture, as_stored: float) -> float:
    """Of the files: layers for multi-token prediction, and an output layer that is the embeddings
    once more. Some repositories have them, some do not, whatever their configuration says: what
    explains the files best is taken to be there."""
    form = model.quantization
    bits = form.bits if form.name and not form.experts_only else FULL_BITS
    drafting = model.drafting * bits / 8
    again = sum(part.numbers * 2 for part in model.parts if part.name == "embed_tokens")
    tied = not any(part.name == "lm_head" for part in model.parts)
    extra = model.stored_bytes - as_stored
    guesses = {0.0, drafting, again * tied, drafting + again * tied}
    return min(guesses, key=lambda guess: abs(extra - guess))


def _bytes(part: Part, form: Quantization, gpus: int, online: float) -> float:
    bits = part.bits
    if online and not part.tower and part.name not in _KEPT:
        bits = online
    numbers = float(part.numbers)
    if form.name == "mxfp4" and bits < FULL_BITS and part.hidden:
        inner = -(-part.inner // gpus)
        padded = _up(part.hidden, _ROWS) * _up(inner, _COLUMNS)
        numbers *= padded / (part.hidden * inner)
    if part.split is Split.ALL:
        numbers /= gpus
    elif part.split is Split.HEADS:
        numbers *= max(part.heads // gpus, 1) / part.heads
    return numbers * bits / 8


def _up(number: int, tile: int) -> int:
    return -(-number // tile) * tile
