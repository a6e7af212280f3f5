"""The weights of a model, counted as its layers are gone through."""

from __future__ import annotations

from gdl.domain.requirements.layers import Part, Split
from gdl.domain.requirements.quantization import Quantization

_Key = tuple[str, Split, bool, int, int, int]


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
        only_experts = self._quantization.experts_only and ".experts" not in module
        quantized = not only_experts and self._quantization.of(module)
        self._add(module.rpartition(".")[2], split, quantized, heads, numbers)

    def experts(self, module: str, count: int, matrices: int, hidden: int, inner: int) -> None:
        """Those of one layer, each of so many matrices of hidden x inner."""
        quantized = self._quantization.of(module)
        key = ("experts", Split.ALL, quantized, 0, hidden, inner)
        numbers = count * matrices * hidden * inner
        self._counts[key] = self._counts.get(key, 0) + numbers

    def plain(self, name: str, numbers: int, split: Split = Split.NONE) -> None:
        """What is never quantized: norms, routers, embeddings."""
        self._add(name, split, False, 0, numbers)

    def _add(self, name: str, split: Split, quantized: bool, heads: int, numbers: int) -> None:
        key = (name, split, quantized, heads, 0, 0)
        self._counts[key] = self._counts.get(key, 0) + numbers

    def parts(self) -> tuple[Part, ...]:
        return tuple(
            Part(name, numbers, split, quantized, heads, hidden=hidden, inner=inner)
            for (name, split, quantized, heads, hidden, inner), numbers in self._counts.items()
            if numbers
        )
