"""The weights of a model, counted as its layers are gone through."""

from __future__ import annotations

from gdl.domain.requirements.layers import Part, Split
from gdl.domain.requirements.quantization import FULL_BITS, Quantization

_Key = tuple[str, Split, float, int, int, int]


class Tally:
    """Numbers (not bytes) by part, all layers together."""

    def __init__(self, quantization: Quantization) -> None:
        self._quantization = quantization
        self._counts: dict[_Key, int] = {}

    def linear(
        self, module: str, numbers: int, split: Split = Split.ALL, *, heads: int = 0
    ) -> None:
        """The matrix of a module such as "layers.3.self_attn.q_proj": quantized if the checkpoint
        says so."""
        bits = self._quantization.bits_of(module)
        self._add(module.rpartition(".")[2], split, bits, heads, numbers)

    def experts(self, module: str, count: int, matrices: int, hidden: int, inner: int) -> None:
        """Those of one layer, each of so many matrices of hidden x inner."""
        bits = self._quantization.bits_of(module)
        key = ("experts", Split.ALL, bits, 0, hidden, inner)
        numbers = count * matrices * hidden * inner
        self._counts[key] = self._counts.get(key, 0) + numbers

    def plain(self, name: str, numbers: int, split: Split = Split.NONE) -> None:
        """What is never quantized: norms, routers, embeddings."""
        self._add(name, split, FULL_BITS, 0, numbers)

    def output(self, numbers: int) -> None:
        """The output layer: quantized only where a checkpoint lists it."""
        bits = self._quantization.modules.get("lm_head", FULL_BITS)
        self._add("lm_head", Split.ALL, bits, 0, numbers)

    def _add(self, name: str, split: Split, bits: float, heads: int, numbers: int) -> None:
        key = (name, split, bits, heads, 0, 0)
        self._counts[key] = self._counts.get(key, 0) + numbers

    def parts(self) -> tuple[Part, ...]:
        return tuple(
            Part(name, numbers, split, bits, heads, hidden=hidden, inner=inner)
            for (name, split, bits, heads, hidden, inner), numbers in self._counts.items()
            if numbers
        )
