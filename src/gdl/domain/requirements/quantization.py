"""How a checkpoint's weights are quantized, and which of them are not."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.requirements.fields import Fields

FULL_BITS = 16.0
_MOST_PATTERNS = 48
_MOST_MODULES = 100_000
_PLAIN = re.compile(r"[\w.*:\-/]{1,200}", re.ASCII)
"""A pattern without any of what makes regular expressions slow."""
_FUSED = {
    "in_proj_qkvz": "in_proj_qkv",
    "in_proj_ba": "in_proj_b",
    "experts": "experts.0.gate_proj",
}
"""What we count as one, by the first of what checkpoints name."""
_SPELLINGS = (
    (".block_sparse_moe.", ".mlp."),
    (".feed_forward.", ".mlp."),
    (".shared_expert.", ".shared_experts."),
)


@dataclass(frozen=True, slots=True)
class Quantization:
    """name: "" for none. bits: of a number, with its share of scales and zero points. cache_bits:
    of a number in the KV cache, 0 where nothing is said. experts_only: the experts of a mixture and
    nothing else. expert_bits: where experts have a form of their own. block: rows and columns that
    share a scale, of FP8; group: numbers of a row that do. packed: in 32-bit words, which kernels
    read in tiles. literal, patterns: what is not quantized. modules: bits by module, where they
    differ; what is not among them is not quantized."""

    name: str = ""
    bits: float = FULL_BITS
    cache_bits: int = 0
    experts_only: bool = False
    expert_bits: float = 0.0
    block: int = 0
    group: int = 0
    packed: bool = False
    literal: frozenset[str] = frozenset()
    patterns: tuple[str, ...] = ()
    modules: Mapping[str, float] = field(default_factory=dict)

    def bits_of(self, module: str) -> float:
        """Of a number in a module ("layers.3.self_attn.q_proj", "layers.3.mlp.experts")."""
        if not self.name:
            return FULL_BITS
        is_experts = module.endswith(".experts")
        if self.experts_only and not is_experts:
            return FULL_BITS
        usual = self.expert_bits if is_experts and self.expert_bits else self.bits
        if not (self.modules or self.literal or self.patterns):
            return usual
        before, _, last = module.rpartition(".")
        other = f"{before}.{_FUSED.get(last, last)}"
        if self.modules:
            return self.modules.get(module, self.modules.get(other, FULL_BITS))
        if self._excludes(module) or self._excludes(other):
            return FULL_BITS
        return usual

    def _excludes(self, module: str) -> bool:
        parts = module.split(".")
        if any(".".join(parts[: n + 1]) in self.literal for n in range(len(parts))):
            return True
        return any(fnmatch.fnmatchcase(module, pattern) for pattern in self.patterns)


NONE = Quantization()


def quantization_of(config: Mapping[str, Any]) -> Quantization:
    """What `quantization_config` says, in whichever of the forms in use."""
    found = Fields(config).inner("quantization_config", "compression_config")
    if not found.raw:
        return NONE
    nested = found.inner("quantization")
    merged = Fields({**nested.raw, **{k: v for k, v in found.raw.items() if v is not None}})
    method = merged.text("quant_method").lower().replace("_", "-")
    algorithm = merged.text("quant_algo").upper()
    literal, patterns = _excluded(merged)
    name, bits, extra = _form(method, algorithm, merged)
    four_bit_experts = Fields(config).text("expert_dtype") == "fp4"
    return Quantization(
        name=name,
        bits=bits,
        cache_bits=_cache_bits(merged),
        experts_only=name == "mxfp4",
        expert_bits=_BITS["MXFP4"] if four_bit_experts else 0.0,
        literal=literal,
        patterns=patterns,
        modules=_by_module(merged),
        **extra,
    )


_BITS = {"NVFP4": 4.5, "MXFP4": 4.25, "MXFP8": 8.25, "FP8": 8.0, "INT8": 8.0, "INT4": 4.25}


def _form(method: str, algorithm: str, found: Fields) -> tuple[str, float, dict[str, Any]]:
    """(name, bits of a number, block, group and packed where they are)."""
    if "NVFP4" in algorithm or method in ("modelopt-fp4", "nvfp4"):
        return "nvfp4", _BITS["NVFP4"], {"group": 16}
    if "MXFP8" in algorithm or method == "mxfp8":
        return "mxfp8", _BITS["MXFP8"], {}
    if "FP8" in algorithm or method in ("fp8", "fbgemm-fp8", "deepgemm-fp8"):
        # Engines have kernels of their own for what these two toolkits write.
        name = "modelopt-fp8" if algorithm else method.removeprefix("deepgemm-")
        sizes = found.numbers("weight_block_size")
        if sizes and sizes[0]:
            return name, 8 + 32 / sizes[0] ** 2, {"block": sizes[0]}
        return name, _BITS["FP8"], {}
    if "MIXED" in algorithm:
        return "mixed", 8.0, {}
    if method == "compressed-tensors":
        return _compressed(found)
    if method in ("mxfp4", "gpt-oss-mxfp4"):
        return "mxfp4", _BITS["MXFP4"], {"group": 32}
    if method == "bitsandbytes":
        if found.flag("load_in_8bit"):
            return "bitsandbytes", 8.0, {}
        double = found.flag("bnb_4bit_use_double_quant")
        return "bitsandbytes", 4.127 if double else 4.5, {}
    bits = found.number("bits", "w_bit", "num_bits", "weight_bits", default=0)
    if method in ("awq", "gptq", "auto-round", "gptq-marlin", "awq-marlin"):
        bits, group = bits or 4, found.group_size("group_size", "q_group_size")
        scales = (16 + bits) / group if group else 0.0
        return method.removesuffix("-marlin"), bits + scales, {"group": group, "packed": True}
    return method or algorithm.lower() or "unknown", float(bits or 8), {}


def _compressed(found: Fields) -> tuple[str, float, dict[str, Any]]:
    """compressed-tensors: the first group of layers stands for all."""
    groups = found.inner("config_groups").raw
    first = next((g for g in groups.values() if isinstance(g, Mapping)), {})
    weights = Fields(first).inner("weights")
    bits = weights.number("num_bits", default=8)
    form = found.text("format") or Fields(first).text("format")
    if bits == 4 and weights.text("type") == "float":
        name = "mxfp4" if "mx" in form else "nvfp4"
        return name, _BITS[name.upper()], {"group": 16}
    if weights.text("type") == "float":
        block = weights.numbers("block_structure")
        return "fp8", 8.0, {"block": block[0]} if block and block[0] else {}
    group = weights.group_size("group_size")
    zero = 0 if weights.flag("symmetric", default=True) else bits
    scales = (16 + zero) / group if group else 0.0
    return f"int{bits}", bits + scales, {"group": group, "packed": bits < 8}


def _by_module(found: Fields) -> dict[str, float]:
    """Bits of each module, of checkpoints that mix forms."""
    layers = found.inner("quantized_layers").raw
    made: dict[str, float] = {}
    for name, form in list(layers.items())[:_MOST_MODULES]:
        if not isinstance(name, str) or not isinstance(form, Mapping):
            continue
        algorithm = Fields(form).text("quant_algo").upper()
        bits = next((bits for part, bits in _BITS.items() if part in algorithm), 8.0)
        module = _from_layers(name)
        made[module] = bits
        before, is_expert, _ = module.partition(".experts.")
        if is_expert:
            made[f"{before}.experts"] = bits
    return made


def _cache_bits(found: Fields) -> int:
    scheme = found.inner("kv_cache_scheme")
    if scheme.raw:
        return scheme.number("num_bits", default=8)
    told = found.text("kv_cache_quant_algo").upper()
    return 8 if told in ("FP8", "INT8") else 4 if "FP4" in told else 0


def _excluded(found: Fields) -> tuple[frozenset[str], tuple[str, ...]]:
    names = [
        name
        for key in (
            "ignore", "modules_to_not_convert", "exclude_modules", "ignored_layers",
            "llm_int8_skip_modules",
        )
        for name in found.texts(key)
        if name
    ]  # fmt: skip
    literal: set[str] = set()
    patterns: list[str] = []
    for name in names:
        written = name.removeprefix("re:").replace("\\.", ".").replace(".*", "*").strip("^$")
        for plain in _alternatives(written):
            if not _PLAIN.fullmatch(plain):
                continue
            plain = _from_layers(plain)
            # A name stands for all that is below it.
            if "*" not in (above := plain.rstrip("*")):
                literal.add(above)
            elif plain.count("*") <= 4 and len(patterns) < _MOST_PATTERNS:
                patterns.append(plain if plain.endswith("*") else plain + "*")
    return frozenset(literal), tuple(patterns)


def _alternatives(pattern: str) -> list[str]:
    """ "mlp.(gate|up)_proj" -> "mlp.gate_proj", "mlp.up_proj"."""
    before, opens, rest = pattern.partition("(")
    inside, closes, after = rest.partition(")")
    if not opens or not closes:
        return [pattern]
    return [before + each + after for each in inside.split("|")[:16]]


def _from_layers(name: str) -> str:
    """Without what differs from model to model: "model.language_model.layers.3.mlp" -> "layers.3
    .mlp", "model.visual" -> "visual"."""
    for other, usual in _SPELLINGS:
        name = name.replace(other, usual)
    before, found, after = name.rpartition("layers.")
    if found and "*" not in before and not before.endswith("vision_model.encoder."):
        return "layers." + after
    for prefix in ("model.language_model.", "language_model.model.", "model."):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name
