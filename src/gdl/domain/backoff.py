"""How long to wait before trying, or looking, again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

POLLING = 1.5
"""Growth for waiting until something has happened: a look costs little."""
RETRYING = 2.0
"""Growth for asking again what was refused: the other side is to recover."""


class Backoff(Iterator[float]):
    """Pauses in seconds, without end: `first`, then each longer by the factor `growth`, up to
    `most`. jitter: the lowest and the highest factor that a pause is multiplied by at random, so
    that many who wait do not all come back at once. uniform: where chance comes from.
    """

    def __init__(
        self,
        first: float,
        most: float,
        *,
        growth: float = POLLING,
        jitter: tuple[float, float] = (1.0, 1.0),
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first = self._pause = first
        self._most = most
        self._growth = growth
        self._jitter = jitter
        self._uniform = uniform

    def __next__(self) -> float:
        low, high = self._jitter
        factor = low if low == high else self._uniform(low, high)
        pause, self._pause = self._pause, min(self._pause * self._growth, self._most)
        return pause * factor

    def at_least(self, wished: float) -> float:
        """The next pause, or as long as the other side wished, whichever is longer."""
        return max(next(self), wished)

    def reset(self) -> None:
        """Something has happened: the next pause is the first again."""
        self._pause = self._first
