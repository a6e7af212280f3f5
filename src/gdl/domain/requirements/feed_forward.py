"""The feed-forward networks of a model, dense ones and mixtures of experts."""

from __future__ import annotations

from gdl.domain.requirements.blocks import experts_of, of_block
from gdl.domain.requirements.fields import Fields
from gdl.domain.requirements.heads import hidden_of
from gdl.domain.requirements.layers import Split
from gdl.domain.requirements.tally import Tally

_WITHOUT_GATE = """
    bloom codegen falcon gpt2 gpt_bigcode gpt_neox gptj jais2 mpt nemotron nemotron_h opt
    persimmon phi starcoder2 whisper arcee apertus
"""
_TWO_MATRICES = frozenset(_WITHOUT_GATE.split())
"""No gate: up and down alone."""


class FeedForward:
    """Goes through the layers of one model."""

    def __init__(self, config: Fields, tally: Tally) -> None:
        self._config = config
        self._tally = tally
        self._hidden = hidden_of(config)
        self._kind = config.text("model_type").removesuffix("_text")
        self._matrices = 2 if self._kind in _TWO_MATRICES else 3
        self.dense_sizes: set[int] = set()

    def add(self, index: int, kind: str) -> None:
        """Counts the weights of a layer's network. kind: dense | moe."""
        if kind == "dense":
            self._dense(index)
        elif kind == "moe":
            self._mixture(index)
            if self._kind == "gemma4":
                # Experts beside a dense network, not in place of it.
                self._dense(index)

    def _dense(self, index: int) -> None:
        inner = self._dense_size(index)
        self.dense_sizes.add(inner)
        module = f"layers.{index}.mlp"
        up = self._matrices - 1
        self._tally.linear(f"{module}.gate_proj", up * self._hidden * inner)
        self._tally.linear(f"{module}.down_proj", self._hidden * inner)
        if self._config.flag("mlp_bias", "use_bias", default=self._kind in ("gpt2", "opt", "phi")):
            self._tally.plain("bias", inner + self._hidden)

    def _dense_size(self, index: int) -> int:
        config = self._config
        if self._kind == "llama4":
            return config.number("intermediate_size_mlp", "intermediate_size")
        if self._kind in ("granitemoehybrid", "granitemoeshared", "granitemoe"):
            return config.number("shared_intermediate_size", "intermediate_size")
        if multiple := of_block(config, index, "ffn").ratio("ffn_mult", default=0.0):
            return -(-int(2 * min(multiple, 64.0) * self._hidden / 3) // 256) * 256
        sizes = config.numbers("intermediate_size")
        if sizes:
            at = index if len(sizes) > 1 else 0
            return sizes[min(at, len(sizes) - 1)]
        size = config.number(
            "dense_intermediate_size", "intermediate_size", "n_inner", "ffn_dim",
            "ffn_hidden_size", "d_ff", "decoder_ffn_dim",
            default=4 * self._hidden,
        )  # fmt: skip
        if self._kind in ("lfm2", "lfm2_vl") and config.flag(
            "block_auto_adjust_ff_dim", default=True
        ):
            size = int(2 * size / 3)
            multiplier = config.raw.get("block_ffn_dim_multiplier")
            if isinstance(multiplier, (int, float)):
                size = int(min(multiplier, 64) * size)
            multiple = config.number("block_multiple_of", default=256) or 1
            size = -(-size // multiple) * multiple
        return size

    def _mixture(self, index: int) -> None:
        config, hidden = self._config, self._hidden
        count = experts_of(config)
        inner = self._expert_size()
        latent = config.number("moe_latent_size", "routed_expert_hidden_size") or hidden
        module = f"layers.{index}.mlp"
        beside = f"layers.{index}" if self._kind == "gemma4" else module
        self._tally.experts(f"{beside}.experts", count, self._matrices, latent, inner)
        self._tally.plain("router", hidden * count + count)
        if latent != hidden:
            self._tally.linear(f"{module}.fc1_latent_proj", 2 * hidden * latent, Split.NONE)
        if config.flag("attention_bias") and self._kind == "gpt_oss":
            self._tally.plain("expert_bias", count * (2 * inner + hidden), Split.ALL)
        shared = self._shared_size(inner)
        if shared:
            self._tally.linear(
                f"{module}.shared_experts.gate_proj", self._matrices * hidden * shared
            )
        if "shared_expert_intermediate_size" in config:
            self._tally.plain("router", hidden)

    def _expert_size(self) -> int:
        return self._config.number(
            "moe_intermediate_size", "expert_ffn_hidden_size", "expert_intermediate_size",
            "moe_ffn_hidden_size", "intermediate_size", "ffn_hidden_size",
            default=self._config.inner("ffn_config").number("ffn_hidden_size"),
        )  # fmt: skip

    def _shared_size(self, inner: int) -> int:
        config = self._config
        if self._kind == "llama4":
            return inner
        own = config.number(
            "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size",
            "shared_intermediate_size", "share_expert_dim", "moe_shared_intermediate_size",
        )  # fmt: skip
        count = config.number(
            "n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert"
        )
        if own:
            return own * max(count, 1) if "moe_shared_expert_intermediate_size" in config else own
        return count * inner
