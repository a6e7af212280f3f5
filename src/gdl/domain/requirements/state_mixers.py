"""Layers that keep a state of constant size in place of keys and values, and their weights."""

from __future__ import annotations

from gdl.domain.requirements.fields import Fields
from gdl.domain.requirements.heads import Heads
from gdl.domain.requirements.layers import CacheKind, Split, StateLayer
from gdl.domain.requirements.tally import Tally


class StateMixers:
    """Goes through such layers of one model. Raises UnreadableConfigError."""

    def __init__(self, config: Fields, tally: Tally, hidden: int, heads: Heads) -> None:
        self._config = config
        self._tally = tally
        self._hidden = hidden
        self._heads = heads

    def add(self, index: int, mixer: str) -> StateLayer:
        """Counts the weights of a layer. mixer: linear | mamba | short_conv."""
        if mixer == "linear":
            return self._linear(index)
        return self._mamba(index) if mixer == "mamba" else self._short_conv(index)

    def _linear(self, index: int) -> StateLayer:
        if (own := self._config.inner("linear_attn_config")).raw:
            return self._kda(index, own)
        if "linear_num_heads" in self._config:
            named = {
                "num_heads": self._config.raw.get("linear_num_heads"),
                "head_dim": self._config.raw.get("linear_head_dim"),
                "short_conv_kernel_size": self._config.raw.get("linear_conv_kernel_dim"),
                "use_full_rank_gate": True,
            }
            return self._kda(index, Fields(named))
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
        inside = own.flag("use_full_rank_gate")
        shape = heads, size, heads, size, kernel
        return StateLayer(CacheKind.KDA, *shape, state_bytes=4, kept_inside=inside)

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
