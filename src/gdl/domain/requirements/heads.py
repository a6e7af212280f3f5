"""The attention heads of a model, and how wide it is."""

from __future__ import annotations

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.requirements.fields import Fields, UnreadableConfigError

_OUTPUT_GATE = ("qwen3_next", "qwen3_5", "qwen3_5_moe", "qwen4_exp", "muse_glimmer")
"""Their queries come with a gate of the same size, unless they say otherwise."""


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
