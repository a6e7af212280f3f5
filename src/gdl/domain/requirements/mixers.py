"""Attention and what stands in for it: what each layer keeps of a sequence, and its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gdl.domain.requirements.blocks import of_block
from gdl.domain.requirements.fields import Fields, UnreadableConfigError
from gdl.domain.requirements.layers import AttentionLayer, CacheKind, Layer, Split, StateLayer
from gdl.domain.requirements.tally import Tally

_CACHES = {"full": CacheKind.FULL, "sliding": CacheKind.SLIDING, "chunked": CacheKind.CHUNKED}
_OUTPUT_GATE = ("qwen3_next", "qwen3_5", "qwen3_5_moe", "qwen4_exp", "muse_glimmer")
"""Their queries come with a gate of the same size, unless they say otherwise."""
_COHERE = ("cohere2", "cohere2_moe")
"""Their window counts the token itself besides."""


@dataclass(frozen=True, slots=True)
class Heads:
    """count: of queries. bias: queries, keys and values have one. gate: queries have a gate."""

    count: int
    kv: int
    size: int
    value_size: int
    bias: bool = False
    gate: bool = False


def heads_of(config: Fields) -> Heads:
    """Of the ordinary layers. Raises UnreadableConfigError where they cannot be."""
    hidden = hidden_of(config)
    count = config.number(
        "num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"
    )
    if config.text("model_type") == "falcon" and not config.flag("new_decoder_architecture"):
        kv = 1 if config.flag("multi_query", default=True) else count
    else:
        inner = config.inner("attn_config").number("kv_n_heads", default=count)
        kv = config.number(
            "num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num",
            "num_attention_groups", default=1 if config.flag("multi_query") else inner,
        )  # fmt: skip
    size = config.number("head_dim", "attention_head_dim", "kv_channels", "hidden_size_per_head")
    if not size and count:
        size = hidden // count
    if count and not (size and kv and kv <= count):
        raise UnreadableConfigError("its attention heads do not add up")
    kind = config.text("model_type")
    return Heads(
        count,
        kv,
        size,
        config.number("v_head_dim", default=size) or size,
        config.flag(
            "attention_bias", "add_qkv_bias", "qkv_bias", "use_bias", default=kind in _BIASED
        ),
        kind.removesuffix("_text") in _OUTPUT_GATE
        and config.flag("attn_output_gate", default=True),
    )


_BIASED = {"qwen2", "qwen2_moe", "qwen2_vl", "qwen2_5_vl", "starcoder2", "gpt2", "opt", "chatglm"}


def hidden_of(config: Fields) -> int:
    hidden = config.number("hidden_size", "n_embd", "d_model", "dim", "model_dim")
    if not hidden:
        raise UnreadableConfigError("it has no hidden size")
    return hidden


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
        shared = config.number("num_kv_shared_layers")
        self._first_shared = layers - shared if 0 < shared < layers else layers

    def add(self, index: int, mixer: str, window: int) -> list[Layer]:
        """Counts the weights of a layer; what it keeps of a sequence."""
        if mixer == "linear":
            return [self._linear(index)]
        if mixer == "mamba":
            return [self._mamba(index)]
        if mixer == "short_conv":
            return [self._short_conv(index)]
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
            # One byte for a number, and a scale of four for 128 of them.
            layers.append(AttentionLayer(CacheKind.INDEXER, 1, size + size // 128 * 4, 0))
        return layers

    def _indexes(self, index: int) -> bool:
        """Whether a layer picks tokens itself, or goes by an earlier layer's choice."""
        types = self._config.texts("indexer_types")
        return index >= len(types) or types[index] != "shared"

    # -- states of constant size -----------------------------------------------------------------

    def _linear(self, index: int) -> StateLayer:
        if (own := self._config.inner("linear_attn_config")).raw:
            return self._kda(index, own)
        if "linear_num_value_heads" in self._config:
            return self._deltanet(index)
        return self._lightning(index)

    def _deltanet(self, index: int) -> StateLayer:
        config, hidden, tally = self._config, self._hidden, self._tally
        module = f"layers.{index}.linear_attn"
        keys, key = config.number("linear_num_key_heads"), config.number("linear_key_head_dim")
        values, value = (
            config.number("linear_num_value_heads"),
            config.number("linear_value_head_dim"),
        )
        kernel = config.number("linear_conv_kernel_dim", default=4)
        mixed = 2 * keys * key + values * value
        tally.linear(f"{module}.in_proj_qkvz", hidden * (mixed + values * value))
        tally.linear(f"{module}.in_proj_ba", hidden * 2 * values)
        tally.linear(f"{module}.out_proj", values * value * hidden)
        tally.plain("conv", mixed * kernel + 2 * values, Split.ALL)
        tally.plain("norm", value)
        bits = 4 if config.text("mamba_ssm_dtype", "mamba_ssm_cache_dtype") == "float32" else 0
        return StateLayer(CacheKind.DELTANET, values, value, keys, key, kernel, state_bytes=bits)

    def _kda(self, index: int, own: Fields) -> StateLayer:
        hidden, tally, module = self._hidden, self._tally, f"layers.{index}.self_attn"
        heads, size = own.number("num_heads"), own.number("head_dim")
        kernel = own.number("short_conv_kernel_size", default=4)
        wide = heads * size
        tally.linear(f"{module}.q_proj", 4 * hidden * wide)
        tally.linear(f"{module}.f_a_proj", 2 * hidden * size, Split.NONE)
        tally.linear(f"{module}.f_b_proj", 2 * size * wide + hidden * heads)
        if own.flag("use_full_rank_gate"):
            tally.linear(f"{module}.g_proj", wide * (hidden - size) - hidden * size)
        tally.plain("conv", 3 * wide * kernel + wide + heads, Split.ALL)
        tally.plain("norm", size)
        return StateLayer(CacheKind.KDA, heads, size, heads, size, kernel, state_bytes=4)

    def _lightning(self, index: int) -> StateLayer:
        heads, module = self._heads, f"layers.{index}.self_attn"
        self._tally.linear(f"{module}.q_proj", 5 * self._hidden * heads.count * heads.size)
        return StateLayer(
            CacheKind.LIGHTNING, heads.count, heads.size, heads.count, heads.size, 0, state_bytes=4
        )

    def _mamba(self, index: int) -> StateLayer:
        config = self._config
        heads = config.number("mamba_num_heads", "mamba_n_heads", "n_mamba_heads", "num_heads")
        if config.text("model_type") in ("mamba", "falcon_mamba", "jamba") or not heads:
            return self._mamba1(index)
        return self._mamba2(index, heads)

    def _mamba1(self, index: int) -> StateLayer:
        config, hidden, tally = self._config, self._hidden, self._tally
        module = f"layers.{index}.mixer"
        expand = config.number("mamba_expand", "expand", default=2)
        wide = config.number("intermediate_size") if config.text("model_type") != "jamba" else 0
        wide = wide or expand * hidden
        state = config.number("mamba_d_state", "state_size", default=16)
        kernel = config.number("mamba_d_conv", "conv_kernel", default=4)
        rank = config.raw.get("mamba_dt_rank", config.raw.get("time_step_rank"))
        rank = rank if isinstance(rank, int) else -(-hidden // 16)
        tally.linear(f"{module}.in_proj", hidden * 2 * wide)
        tally.linear(f"{module}.x_proj", wide * (rank + 2 * state))
        tally.linear(f"{module}.dt_proj", rank * wide)
        tally.linear(f"{module}.out_proj", wide * hidden)
        # The decay stays in 32 bits.
        tally.plain("conv", wide * (kernel + 3 + 2 * state), Split.ALL)
        tally.plain("norm", rank + 2 * state)
        return StateLayer(CacheKind.MAMBA1, 1, wide, 0, state, kernel)

    def _mamba2(self, index: int, heads: int) -> StateLayer:
        config, hidden, tally = self._config, self._hidden, self._tally
        module = f"layers.{index}.mixer"
        size = config.number("mamba_head_dim", "mamba_d_head", "mamba_headdim")
        size = size or config.number("head_dim") or 64
        state = config.number("ssm_state_size", "mamba_d_state", "state_size", default=128)
        groups = config.number("n_groups", "mamba_n_groups", "mamba_ngroups", default=1) or 1
        kernel = config.number("conv_kernel", "mamba_d_conv", default=4)
        wide = heads * size
        mixed = wide + 2 * groups * state
        tally.linear(f"{module}.in_proj", hidden * (wide + mixed + heads))
        tally.linear(f"{module}.out_proj", wide * hidden)
        tally.plain("conv", mixed * (kernel + 1) + 3 * heads + wide, Split.ALL)
        bits = 4 if config.text("mamba_ssm_cache_dtype") == "float32" else 0
        if config.text("model_type").startswith("nemotron_h") and not bits:
            # Kept in 32 bits unless its configuration says otherwise.
            bits = 0 if "mamba_ssm_cache_dtype" in config else 4
        return StateLayer(CacheKind.MAMBA2, heads, size, groups, state, kernel, state_bytes=bits)

    def _short_conv(self, index: int) -> StateLayer:
        hidden = self._config.number("conv_dim", default=self._hidden)
        kernel = self._config.number("conv_L_cache", default=3)
        module = f"layers.{index}.conv"
        self._tally.linear(f"{module}.in_proj", 3 * self._hidden * hidden)
        self._tally.linear(f"{module}.out_proj", self._hidden * hidden)
        self._tally.plain("conv", hidden * kernel, Split.ALL)
        return StateLayer(CacheKind.SHORT_CONV, 1, hidden, 0, 0, kernel)
