"""Attention and what stands in for it: what each layer keeps of a sequence, and its weights."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.requirements.blocks import of_block
from gdl.domain.requirements.fields import Fields
from gdl.domain.requirements.heads import Heads, heads_of, hidden_of
from gdl.domain.requirements.layers import (
    AttentionLayer,
    CacheKind,
    CompressedLayer,
    Layer,
    Split,
)
from gdl.domain.requirements.state_mixers import StateMixers
from gdl.domain.requirements.tally import Tally

_CACHES = {"full": CacheKind.FULL, "sliding": CacheKind.SLIDING, "chunked": CacheKind.CHUNKED}
_COHERE = ("cohere2", "cohere2_moe")
"""Their window counts the token itself besides."""


def window_of(config: Fields) -> int:
    window = 0
    if not config.items("sliding_window"):
        window = config.number("sliding_window", "sliding_window_size", "attention_window_size")
    return window + 1 if config.text("model_type") in _COHERE and window else window


class Mixers:
    """Goes through the layers of one model. Raises UnreadableConfigError."""

    def __init__(self, config: Fields, tally: Tally, layers: int) -> None:
        self._config = config
        self._tally = tally
        self._hidden = hidden_of(config)
        self._heads = heads_of(config)
        self._window = window_of(config)
        self._chunk = config.number("attention_chunk_size", default=8192)
        self._mla = config.number("kv_lora_rank")
        self._is_sparse = self._mla > 0 and "index_topk" in config
        self._states = StateMixers(config, tally, self._hidden, self._heads)
        shared = config.number("num_kv_shared_layers")
        self._first_shared = layers - shared if 0 < shared < layers else layers

    def add(self, index: int, mixer: str, window: int) -> list[Layer]:
        """Counts the weights of a layer; what it keeps of a sequence."""
        if mixer in ("linear", "mamba", "short_conv"):
            return [self._states.add(index, mixer)]
        if self._mla:
            return self._latent(index)
        return self._attention(index, mixer, window)

    # -- attention -------------------------------------------------------------------------------

    def _attention(self, index: int, mixer: str, window: int) -> list[Layer]:
        heads, keeps = self._own_heads(index, mixer), index < self._first_shared
        module, hidden, tally = f"layers.{index}.self_attn", self._hidden, self._tally
        tally.linear(f"{module}.q_proj", hidden * heads.count * heads.size * (1 + heads.gate))
        tally.linear(f"{module}.o_proj", hidden * heads.count * heads.value_size)
        if keeps:
            each = heads.kv * (heads.size + heads.value_size)
            tally.linear(f"{module}.k_proj", hidden * each, Split.HEADS, heads=heads.kv)
            if heads.bias:
                tally.plain("bias", heads.count * heads.size + each, Split.ALL)
        tally.plain("norm", 2 * heads.size)
        if not keeps:
            return []
        length = {"sliding": window or self._window, "chunked": self._chunk}.get(mixer, 0)
        if ratios := self._config.numbers("compress_ratios"):
            ratio = ratios[index] if index < len(ratios) else 0
            picks = self._config.number("index_head_dim") if ratio == 4 else 0
            return [CompressedLayer(heads.size, self._window, ratio, picks)]
        kind = _CACHES[mixer]
        own = AttentionLayer(kind, heads.kv, heads.size, heads.value_size, length)
        return [own, *self._block_index(index)]

    def _block_index(self, index: int) -> list[Layer]:
        """MiniMax M3's sparse attention keeps a key of its own for every token, in 16 bits."""
        sparse = self._config.inner("sparse_attention_config")
        size = sparse.number("sparse_index_dim")
        chosen = sparse.numbers("sparse_attention_freq")
        if not size or (index < len(chosen) and not chosen[index]):
            return []
        queries = self._heads.kv * size
        self._tally.linear(f"layers.{index}.self_attn.index_q", self._hidden * (queries + size))
        return [AttentionLayer(CacheKind.INDEXER, 1, 2 * size, 0)]

    def _own_heads(self, index: int, mixer: str) -> Heads:
        """Some layers have other heads than the rest."""
        config, heads = self._config, self._heads
        own = config.inner("per_layer_config").inner(f"{index:02d}", str(index))
        if own.raw:
            size = own.number("head_dim", default=heads.size)
            kv = own.number("num_key_value_heads", default=heads.kv)
            count = own.number("num_attention_heads", default=heads.count)
            return replace(heads, count=count, kv=kv, size=size, value_size=size)
        if mixer == "full" and (size := config.number("global_head_dim")):
            kv = heads.kv
            if config.flag("attention_k_eq_v"):
                kv = config.number("num_global_key_value_heads", default=kv)
            return replace(heads, kv=kv, size=size, value_size=size)
        if mixer == "sliding" and "swa_head_dim" in config:
            size = config.number("swa_head_dim")
            return replace(
                heads,
                count=config.number("swa_num_attention_heads", default=heads.count),
                kv=config.number("swa_num_key_value_heads", default=heads.kv),
                size=size,
                value_size=config.number("swa_v_head_dim", default=size),
            )
        if mixer == "sliding" and (other := config.inner("attention_other_setting")).raw:
            count = other.number("num_attention_heads", default=heads.count)
            return replace(heads, count=count, kv=other.number("num_attention_groups", default=8))
        if group := of_block(config, index, "attention").number("n_heads_in_group"):
            return replace(heads, kv=max(heads.count // group, 1))
        counts = config.numbers("num_attention_heads_per_layer")
        return replace(heads, count=counts[index]) if index < len(counts) else heads

    def _latent(self, index: int) -> list[Layer]:
        """Multi-head latent attention: one compressed vector for all heads."""
        config, hidden, count = self._config, self._hidden, self._heads.count
        nope, rope = config.number("qk_nope_head_dim"), config.number("qk_rope_head_dim")
        value, rank = config.number("v_head_dim"), self._mla
        module, tally = f"layers.{index}.self_attn", self._tally
        compressed = config.number("q_lora_rank")
        if compressed:
            tally.linear(f"{module}.q_a_proj", hidden * compressed, Split.NONE)
            tally.linear(f"{module}.q_b_proj", compressed * count * (nope + rope))
        else:
            tally.linear(f"{module}.q_proj", hidden * count * (nope + rope))
        tally.linear(f"{module}.kv_a_proj_with_mqa", hidden * (rank + rope), Split.NONE)
        tally.linear(f"{module}.kv_b_proj", rank * count * (nope + value))
        gated = 1 + config.flag("mla_use_output_gate")
        tally.linear(f"{module}.o_proj", gated * count * value * hidden)
        tally.plain("norm", compressed + rank)
        layers: list[Layer] = [AttentionLayer(CacheKind.MLA, 1, rank + rope, 0)]
        if self._is_sparse and self._indexes(index):
            size, index_heads = config.number("index_head_dim"), config.number("index_n_heads")
            tally.linear(f"{module}.indexer.wq_b", compressed * index_heads * size, Split.NONE)
            tally.plain("indexer", hidden * (size + index_heads) + 2 * size)
            # One byte for a number, and a scale of four for 128 of them; GLM-5.3-Flash keeps one
            # key for several tokens.
            row = size + size // 128 * 4
            pooled = max(config.number("index_kpool", default=1), 1)
            layers.append(AttentionLayer(CacheKind.INDEXER, 1, -(-row // pooled), 0))
        return layers

    def _indexes(self, index: int) -> bool:
        """Whether a layer picks tokens itself, or goes by an earlier layer's choice."""
        types = self._config.texts("indexer_types")
        return index >= len(types) or types[index] != "shared"
