"""Which mixer and which feed-forward network each layer of a model has, as its configuration says.

Configurations say it in a dozen ways: a list of types, a pattern of letters, a period with an
offset, lists of the layers that are different. The names of the fields are those of the model
classes of transformers; https://huggingface.co/docs/transformers/model_doc lists them.
"""

from __future__ import annotations

from collections.abc import Mapping

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.requirements.fields import Fields, UnreadableConfigError

_MOST_LAYERS = 2048
_MIXERS = {
    "full_attention": "full",
    "attention": "full",
    "global_attention": "full",
    "indexed_attention": "full",
    "hybrid": "full",
    "sliding_attention": "sliding",
    "local_attention": "sliding",
    "sliding_window_attention": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "linear",
    "lightning_attention": "linear",
    "kda": "linear",
    "conv": "short_conv",
    "mamba": "mamba",
    "mamba2": "mamba",
    "recurrent": "linear",
}
_LETTERS = {
    "M": ("mamba", "none"),
    "*": ("full", "none"),
    "-": ("none", "dense"),
    "E": ("none", "moe"),
}
_PARALLEL_MAMBA = {"falcon_h1"}
"""Attention and Mamba side by side in every layer."""
ONLY_MAMBA = {"mamba", "mamba2", "falcon_mamba"}


@dataclass(frozen=True, slots=True)
class Block:
    """mixers: of full | sliding | chunked | linear | mamba | short_conv. feed_forward: dense |
    moe | none. window: where layers have windows of their own, else 0."""

    mixers: tuple[str, ...]
    feed_forward: str
    window: int = 0


def blocks_of(config: Fields) -> list[Block]:
    """One for each layer, in order. Raises UnreadableConfigError."""
    count = config.number(
        "num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"
    )
    pattern = config.text("hybrid_override_pattern")
    if pattern and set(pattern) <= set(_LETTERS):
        made = [_LETTERS[letter] for letter in pattern]
        return [Block((mixer,) if mixer != "none" else (), after) for mixer, after in made]
    named = config.texts("layers_block_type", "layer_types")
    if named and set(named) <= {"mamba", "attention", "moe", "mlp"} and "moe" in named:
        return [_of_word(word) for word in named]
    count = count or len(named)
    if not count:
        raise UnreadableConfigError("it has no number of layers")
    if count > _MOST_LAYERS:
        raise UnreadableConfigError(f"it has {count} layers")
    mixers = _mixers(config, count)
    types = _feed_forwards(config, count)
    if config.items("block_configs"):
        mixers = [() if _omits(config, i, "attention") else mixers[i] for i in range(count)]
        types = ["none" if _omits(config, i, "ffn") else types[i] for i in range(count)]
    own = config.items("sliding_window")
    windows = config.numbers("sliding_window") if len(own) == count else [0] * count
    return [Block(*each) for each in zip(mixers, types, windows, strict=True)]


def _omits(config: Fields, index: int, part: str) -> bool:
    own = of_block(config, index, part)
    return own.flag("no_op") or own.flag("replace_with_linear")


def _of_word(word: str) -> Block:
    if word in ("moe", "mlp"):
        return Block((), "moe" if word == "moe" else "dense")
    return Block(("mamba",) if word == "mamba" else ("full",), "none")


def _mixers(config: Fields, count: int) -> list[tuple[str, ...]]:
    kind = config.text("model_type")
    if kind in ONLY_MAMBA:
        return [("mamba",)] * count
    if kind in _PARALLEL_MAMBA:
        return [("full", "mamba")] * count
    named = config.texts("layer_types", "layers_block_type")
    if kind == "zamba2":
        return [
            ("mamba", "full") if word == "hybrid" else ("mamba",) for word in _long(named, count)
        ]
    if len(named) >= count:
        return [(_MIXERS.get(word, "full"),) for word in named[:count]]
    return [(word,) for word in _by_rule(config, count)]


def _long(words: list[str], count: int) -> list[str]:
    return (words + [""] * count)[:count]


def _by_rule(config: Fields, count: int) -> list[str]:
    """From the ways other than a list of types."""
    layers = range(count)
    linear = config.inner("linear_attn_config")
    if full := linear.numbers("full_attn_layers"):
        return ["full" if i + 1 in full else "linear" for i in layers]
    if period := config.number("full_attention_interval"):
        return ["full" if (i + 1) % period == 0 else "linear" for i in layers]
    if period := config.number("attn_layer_period"):
        offset = config.number("attn_layer_offset")
        return ["full" if i % period == offset else "mamba" for i in layers]
    if full := config.numbers("full_attn_idxs", "attn_layer_indices"):
        other = "short_conv" if "full_attn_idxs" in config else "mamba"
        return ["full" if i in full else other for i in layers]
    if len(types := config.numbers("attn_type_list")) >= count:
        return ["full" if types[i] else "linear" for i in layers]
    if len(types := config.numbers("hybrid_layer_pattern")) >= count:
        return ["sliding" if types[i] else "full" for i in layers]
    if size := config.number("layer_group_size"):
        return ["full" if (i + 1) % size == 0 else "linear" for i in layers]
    return _windows_by_rule(config, count)


def _windows_by_rule(config: Fields, count: int) -> list[str]:
    layers = range(count)
    kind = config.text("model_type")
    if config.number("attention_chunk_size") and kind.startswith("llama4"):
        rope = config.numbers("no_rope_layers") or [int((i + 1) % 4 != 0) for i in layers]
        return ["chunked" if i < len(rope) and rope[i] else "full" for i in layers]
    window = _one_window(config)
    if not window or config.raw.get("use_sliding_window") is False:
        return ["full"] * count
    letters = config.text("sliding_window_pattern")
    if letters and set(letters) <= {"L", "G"}:
        local = [letters[i % len(letters)] == "L" and i != count - 1 for i in layers]
        return ["sliding" if each else "full" for each in local]
    default = _PERIODS.get(kind.removesuffix("_text"), 0)
    period = 0 if letters else config.number("sliding_window_pattern", default=default)
    if period:
        return ["full" if (i + 1) % period == 0 else "sliding" for i in layers]
    if kind in _EVERY_OTHER:
        return ["sliding" if i % 2 == 0 else "full" for i in layers]
    if "max_window_layers" in config:
        first = config.number("max_window_layers")
        return ["sliding" if i >= first else "full" for i in layers]
    return ["sliding"] * count


_PERIODS = {"gemma3": 6, "gemma3n": 5, "gemma4": 6, "cohere2": 4, "olmo3": 4, "exaone4": 4}
"""Where nothing else is said: one full layer in so many."""
_EVERY_OTHER = {"gpt_oss", "gemma2", "vaultgemma"}


def _one_window(config: Fields) -> int:
    return config.number("sliding_window", "sliding_window_size", "attention_window_size")


def _feed_forwards(config: Fields, count: int) -> list[str]:
    layers = range(count)
    if config.text("model_type") in ONLY_MAMBA:
        return ["none"] * count
    if not experts_of(config):
        return ["dense"] * count
    named = config.texts("mlp_layer_types")
    if len(named) >= count:
        return ["dense" if word == "dense" else "moe" for word in named[:count]]
    if sparse := config.numbers("moe_layers"):
        return ["moe" if i in sparse else "dense" for i in layers]
    if isinstance(text := config.raw.get("moe_layers_enum"), str):
        listed = {int(word) for word in text[:2000].split(",") if word.strip().isdigit()}
        return ["moe" if i in listed else "dense" for i in layers]
    if "expert_layer_period" in config:
        period, offset = config.number("expert_layer_period"), config.number("expert_layer_offset")
        return ["moe" if i % max(period, 1) == offset else "dense" for i in layers]
    if "moe_layer_interval" in config:
        every = max(config.number("moe_layer_interval"), 1)
        first = config.number("moe_layer_start_index")
        last = config.raw.get("moe_layer_end_index")
        end = last if isinstance(last, int) and last >= 0 else count
        return ["moe" if first <= i <= end and (i + 1) % every == 0 else "dense" for i in layers]
    return _by_step(config, count)


def _by_step(config: Fields, count: int) -> list[str]:
    frequency = config.numbers("moe_layer_freq")
    if len(frequency) >= count:
        return ["moe" if frequency[i] else "dense" for i in range(count)]
    first = config.number("first_k_dense_replace", "num_dense_layers", "moe_first_k_dense_replace")
    dense = set(config.numbers("mlp_only_layers"))
    step = config.number("decoder_sparse_step", "interleave_moe_layer_step", default=1) or 1
    each = (config.number("moe_layer_freq", default=1) or 1) if not frequency else 1
    return [
        "moe"
        if i >= first and i not in dense and (i + 1) % step == 0 and i % each == 0
        else "dense"
        for i in range(count)
    ]


def experts_of(config: Fields) -> int:
    """Experts that a token is routed among, 0 for a model without."""
    inner = config.inner("ffn_config")
    if config.text("model_type").startswith("gemma4") and not config.flag("enable_moe_block"):
        return 0
    return config.number(
        "num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts",
        default=inner.number("moe_num_experts"),
    )  # fmt: skip


def of_block(config: Fields, index: int, part: str) -> Fields:
    """What a model with blocks of its own for every layer says of one."""
    blocks = config.items("block_configs")
    own = blocks[index] if index < len(blocks) else None
    return Fields(own if isinstance(own, Mapping) else {}).inner(part)
