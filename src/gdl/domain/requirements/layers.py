"""The layers of a model by what they keep of a sequence, and the parts of its weights."""

from __future__ import annotations

from enum import StrEnum

from gdl.domain.lazy_dataclass import dataclass


class CacheKind(StrEnum):
    """What a layer keeps of a sequence while it is served."""

    FULL = "full"
    """Keys and values of every token."""
    SLIDING = "sliding"
    """Of the last `window` tokens."""
    CHUNKED = "chunked"
    """Of the current chunk of `window` tokens."""
    MLA = "mla"
    """One compressed vector for every token, whatever the number of heads."""
    INDEXER = "indexer"
    """The keys by which sparse attention picks its tokens."""
    COMPRESSED = "compressed"
    """A window of tokens, and what came before in compressed form."""
    CROSS = "cross"
    """Keys and values of what the encoder read."""
    MAMBA1 = "mamba1"
    MAMBA2 = "mamba2"
    DELTANET = "deltanet"
    """Gated DeltaNet: a state of constant size."""
    KDA = "kda"
    """Kimi delta attention: likewise, with a convolution each for query, key and value."""
    LIGHTNING = "lightning"
    """Linear attention without a convolution."""
    SHORT_CONV = "short_conv"


@dataclass(frozen=True, slots=True)
class AttentionLayer:
    """window: tokens, 0 where there is none. kv_heads, head_size and value_size of an MLA layer: 1,
    the compressed vector's, 0."""

    kind: CacheKind
    kv_heads: int
    head_size: int
    value_size: int
    window: int = 0


@dataclass(frozen=True, slots=True)
class StateLayer:
    """A layer that keeps a state of constant size.

    heads, head_size: of the values. key_heads, key_size: of the keys; for Mamba, groups and state
    size. kernel: tokens of its convolution. conv_size: numbers of each that it takes in besides
    values and keys. state_bytes: of a number of the state, 0: as the model's own. kept_inside: one
    more state is kept, from inside a step.
    """

    kind: CacheKind
    heads: int
    head_size: int
    key_heads: int
    key_size: int
    kernel: int
    conv_size: int = 0
    state_bytes: int = 0
    kept_inside: bool = False


@dataclass(frozen=True, slots=True)
class CompressedLayer:
    """A layer that keeps the last `window` tokens, and of those before them one vector for every
    `ratio` of them; 0: nothing. index_size: of the keys by which it picks among those; 0: it picks
    none."""

    head_size: int
    window: int
    ratio: int
    index_size: int
    kind: CacheKind = CacheKind.COMPRESSED


Layer = AttentionLayer | StateLayer | CompressedLayer


class Split(StrEnum):
    """How tensor parallelism divides a part of the weights."""

    ALL = "all"
    """Every GPU holds 1/n."""
    HEADS = "kv_heads"
    """Likewise, but at least one of `heads` each."""
    NONE = "none"
    """Every GPU holds all of it."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some weights of a model, all layers together. numbers: how many. bits: of each, as the
    checkpoint holds them, scales included. heads: see Split.HEADS. tower: vision or audio, omitted
    when only language is served. name: such as "q_proj". hidden, inner: sides of the matrices of
    experts, 0 for all else."""

    name: str
    numbers: int
    split: Split = Split.ALL
    bits: float = 16.0
    heads: int = 0
    tower: bool = False
    hidden: int = 0
    inner: int = 0
