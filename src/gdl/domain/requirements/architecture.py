"""What a model's configuration says of its memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from gdl.domain.requirements.blocks import ONLY_MAMBA, Block, blocks_of
from gdl.domain.requirements.feed_forward import FeedForward
from gdl.domain.requirements.fields import Fields, UnreadableConfigError, text_part
from gdl.domain.requirements.heads import heads_of, hidden_of
from gdl.domain.requirements.known import KNOWN
from gdl.domain.requirements.layers import AttentionLayer, CacheKind, Layer, Part, Split
from gdl.domain.requirements.mixers import Mixers
from gdl.domain.requirements.quantization import NONE, Quantization, quantization_of
from gdl.domain.requirements.tally import Tally
from gdl.domain.requirements.towers import tower_parts

_MOST_KEYS = 4096
"""Of a configuration: the longest in use have some hundred."""
_SCALED_ALREADY = {"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"}
"""Ways of stretching positions that `max_position_embeddings` includes."""
_STATES_ALONE = 2048
_QUANTIZED = 0.8
"""Files smaller than this share of 16 bits a number hold fewer."""
_LENGTHS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
    "max_target_positions", "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Architecture:
    """One object for each model that is read: equal to itself alone, so that answers can be kept.

    name: as the configuration has it ("LlamaForCausalLM"). known: it is one whose layers we
    know; else it was read as a plain transformer, and `notes` say so.

    layers: those that keep something of a sequence, in order. parts: the weights that are loaded.
    drafting: numbers of the layers that predict several tokens, which files hold and nobody loads
    unless asked to. heads, kv_heads: of attention, which tensor parallelism divides. head_size:
    likewise, of an MLA model the compressed vector's. inner_sizes: of the dense feed-forward
    networks. max_context: tokens a request may have, 0
    when not known. encoder_context: tokens of what an encoder reads, 0 without one. images: it
    reads images or sounds, too. stored_bytes: of the files that are loaded, 0 when they are not
    known. notes: what was not told and had to be assumed.
    """

    name: str
    known: bool
    layers: tuple[Layer, ...]
    parts: tuple[Part, ...]
    hidden_size: int
    vocabulary: int
    heads: int
    kv_heads: int
    head_size: int
    inner_sizes: tuple[int, ...]
    max_context: int
    drafting: int = 0
    encoder_context: int = 0
    images: bool = False
    quantization: Quantization = NONE
    stored_bytes: int = 0
    notes: tuple[str, ...] = ()

    @cached_property
    def counted_layers(self) -> tuple[tuple[Layer, int], ...]:
        """The different layers, and how many there are of each, in order."""
        return tuple(Counter(self.layers).items())

    @property
    def latent(self) -> bool:
        """Its attention keeps one compressed vector for all heads (MLA)."""
        return any(layer.kind is CacheKind.MLA for layer, _ in self.counted_layers)

    @property
    def sparse(self) -> bool:
        """Its attention picks the tokens that it reads."""
        return any(layer.kind is CacheKind.INDEXER for layer, _ in self.counted_layers)

    @property
    def quantized(self) -> bool:
        """As the checkpoint says, or as the sizes of its files do."""
        full = 2 * self.numbers
        return bool(self.quantization.name) or 0 < self.stored_bytes < _QUANTIZED * full

    @property
    def numbers(self) -> int:
        """Parameters that are loaded."""
        return sum(part.numbers for part in self.parts)


def read(
    config: Mapping[str, Any],
    *,
    quantization: Mapping[str, Any] | None = None,
    stored_bytes: int = 0,
) -> Architecture:
    """The architecture of a config.json. quantization: of a file of its own, where there is one.
    Raises UnreadableConfigError for what cannot be, whatever the configuration holds."""
    if not isinstance(config, Mapping) or len(config) > _MOST_KEYS:
        raise UnreadableConfigError("it is not the configuration of a model")
    try:
        return _read(config, quantization, stored_bytes)
    except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise UnreadableConfigError(f"{type(error).__name__} in it") from error


def _read(
    config: Mapping[str, Any], quantization: Mapping[str, Any] | None, stored_bytes: int
) -> Architecture:
    text = text_part(config)
    told = {"quantization_config": dict(quantization)} if quantization else config
    form = quantization_of(told)
    if form is NONE and not quantization:
        form = quantization_of(text.raw)
    kind = text.text("model_type")
    name = (Fields(config).texts("architectures") or [""])[0] or kind or "unknown"
    blocks = blocks_of(text)
    tally = Tally(form)
    feed_forward = FeedForward(text, tally)
    layers = tuple(_walk(text, blocks, tally, feed_forward))
    heads = heads_of(text)
    _embeddings(text, tally)
    encoder = _encoder(text, tally)
    if encoder:
        # A decoder's layer keeps what it needs of the encoder's text, too.
        own = [layer for layer in layers if isinstance(layer, AttentionLayer)]
        layers += tuple(replace(layer, kind=CacheKind.CROSS) for layer in own)
    hidden = hidden_of(text)
    towers = tower_parts(config, hidden)
    latent = text.number("kv_lora_rank")
    known = kind.removesuffix("_text") in KNOWN
    return Architecture(
        name=name,
        known=known,
        layers=layers,
        parts=(*tally.parts(), *towers),
        hidden_size=hidden,
        vocabulary=text.number("vocab_size", "padded_vocab_size"),
        heads=heads.count,
        kv_heads=1 if latent else heads.kv,
        head_size=latent + text.number("qk_rope_head_dim") if latent else heads.size,
        inner_sizes=tuple(sorted(feed_forward.dense_sizes)),
        max_context=_max_context(text),
        drafting=_drafting(text, blocks),
        encoder_context=encoder,
        images=bool(towers),
        quantization=form,
        stored_bytes=stored_bytes,
        notes=()
        if known
        else (f"{name} is not known here: computed as a plain transformer, which may be wrong",),
    )


def _walk(
    config: Fields, blocks: list[Block], tally: Tally, feed_forward: FeedForward
) -> Iterator[Layer]:
    mixers = Mixers(config, tally, len(blocks))
    hidden = hidden_of(config)
    for index, block in enumerate(blocks):
        for mixer in block.mixers:
            yield from mixers.add(index, mixer, block.window)
        feed_forward.add(index, block.feed_forward)
        tally.plain("norm", 2 * hidden)


def _drafting(config: Fields, blocks: list[Block]) -> int:
    """Numbers of the layers for multi-token prediction: each like the last one, and a matrix that
    joins two hidden states."""
    count = min(config.number("num_nextn_predict_layers", "mtp_num_hidden_layers"), 16)
    if not count or not blocks:
        return 0
    last = len(blocks) - 1
    tally = Tally(NONE)
    Mixers(config, tally, len(blocks)).add(last, "full", 0)
    FeedForward(config, tally).add(last, blocks[-1].feed_forward)
    each = sum(part.numbers for part in tally.parts()) + 2 * hidden_of(config) ** 2
    return count * each


def _embeddings(config: Fields, tally: Tally) -> None:
    vocabulary = -(-config.number("vocab_size", "padded_vocab_size") // 64) * 64
    wide = config.number("word_embed_proj_dim", "embedding_size") or hidden_of(config)
    tally.plain("embed_tokens", vocabulary * wide, Split.ALL)
    kind = config.text("model_type").removesuffix("_text")
    if not config.flag("tie_word_embeddings", default=kind in _TIED):
        tally.output(vocabulary * wide)
    if kind in ("gpt2", "opt", "gpt_bigcode"):
        positions = config.number("n_positions", "max_position_embeddings")
        tally.plain("position", (positions + 2) * wide)
    each = config.number("hidden_size_per_layer_input")
    if each:
        # Embeddings of their own for every layer, and how they are joined to its input.
        layers = config.number("num_hidden_layers")
        own = config.number("vocab_size_per_layer_input", default=vocabulary)
        tally.plain("embed_tokens_per_layer", own * layers * each, Split.ALL)
        tally.plain("per_layer_model_projection", wide * layers * each, Split.ALL)
        tally.plain("per_layer_projection", 2 * wide * layers * each)


_TIED = {
    "gemma", "gemma2", "gemma3", "gemma3n", "gemma4", "cohere", "cohere2", "gpt2", "whisper",
    "falcon", "bloom", "mpt", "opt", "gpt_bigcode", "starcoder2", "lfm2", "lfm2_moe",
}  # fmt: skip
"""Whose output layer is their embeddings unless they say otherwise."""


def _encoder(config: Fields, tally: Tally) -> int:
    """Counts the encoder of an encoder-decoder model and the attention to it; tokens it reads."""
    if not config.flag("is_encoder_decoder"):
        return 0
    hidden, layers = hidden_of(config), config.number("encoder_layers")
    inner = config.number("encoder_ffn_dim", default=4 * hidden)
    decoder = config.number("decoder_layers", "num_hidden_layers")
    tally.plain("encoder", layers * (4 * hidden * hidden + 2 * hidden * inner), Split.ALL)
    tally.plain("cross", decoder * 4 * hidden * hidden, Split.ALL)
    reads = config.number("max_source_positions", default=1024)
    bins = config.number("num_mel_bins")
    positions = reads + config.number("max_target_positions")
    tally.plain("position", positions * hidden + 3 * hidden * (bins + hidden))
    return reads


def _max_context(config: Fields) -> int:
    lengths = [config.number(name) for name in _LENGTHS if name in config]
    if not lengths:
        # A state has no length of its own; engines assume this much.
        return _STATES_ALONE if config.text("model_type") in ONLY_MAMBA else 0
    longest = min(lengths)
    kind = config.text("model_type")
    ropes = list(_ropes(config))
    if "gemma3" not in kind:
        for rope in ropes:
            if (rope.text("rope_type", "type") or "default") not in _SCALED_ALREADY:
                longest = int(longest * min(rope.ratio("factor"), 1024.0))
                break
    if any(rope.text("rope_type", "type") == "longrope" for rope in ropes):
        return config.number("original_max_position_embeddings", default=longest)
    return longest


def _ropes(config: Fields) -> Iterator[Fields]:
    """How positions are stretched: one for all layers, or one for each kind of them."""
    for name in ("rope_scaling", "rope_parameters"):
        rope = config.inner(name)
        nested = [Fields(v) for v in rope.raw.values() if isinstance(v, Mapping)]
        yield from nested or ([rope] if rope.raw else [])
