"""Which of many patterns may match which of many texts: by the plain text that each needs."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from gdl.diagnosis.literals import required
from gdl.diagnosis.vocabulary import Vocabulary

K = TypeVar("K", bound=Hashable)


class Finder(Generic[K]):
    """Made of (key, pattern). Raises ValueError for a pattern that needs no plain text."""

    def __init__(self, patterns: Iterable[tuple[K, str]]) -> None:
        self._keys: dict[bytes, list[K]] = defaultdict(list)
        for key, pattern in patterns:
            for text in required(pattern):
                self._keys[text.encode()].append(key)
        self.texts = tuple(text.decode() for text in self._keys)
        self._vocabulary = Vocabulary(self._keys)

    def candidates(self, texts: Sequence[str]) -> dict[int, list[K]]:
        """Keys of the patterns that may match, in no order, by the text's place."""
        begins, size, encoded = [], 0, []
        for text in texts:
            encoded.append(text.encode("utf-8", "replace"))
            begins.append(size)
            size += len(encoded[-1]) + 1
        block = b"\n".join(encoded)
        found: dict[int, dict[K, None]] = defaultdict(dict)
        for wanted in self._vocabulary.texts_in(block):
            at = block.find(wanted)
            while at >= 0:
                place = bisect_right(begins, at) - 1
                found[place].update(dict.fromkeys(self._keys[wanted]))
                following = begins[place] + len(encoded[place])
                at = block.find(wanted, following)
        return {place: list(keys) for place, keys in found.items()}
