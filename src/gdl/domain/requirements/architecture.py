"""What a model's configuration says of its memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from gdl.domain.requirements.layers import Layer, Part


@dataclass(frozen=True, slots=True)
class Architecture:
    """name: as the configuration has it ("LlamaForCausalLM"). known: it is one whose layers we
    know; else it was read as a plain transformer, and `notes` say so.

    layers: those that keep something of a sequence, in order. parts: the weights that are loaded.
    heads, kv_heads: of attention, which tensor parallelism divides. max_context: tokens a request
    may have, 0 when not known. quantization: of the checkpoint, or "". cache_bits: of a number in
    the cache, where the checkpoint says. stored_bytes: of the files that are loaded, 0 when they
    are not known. notes: what was not told and had to be assumed.
    """

    name: str
    known: bool
    layers: tuple[Layer, ...]
    parts: tuple[Part, ...]
    hidden_size: int
    vocabulary: int
    heads: int
    kv_heads: int
    max_context: int
    quantization: str = ""
    cache_bits: int = 0
    stored_bytes: int = 0
    notes: tuple[str, ...] = field(default=())
