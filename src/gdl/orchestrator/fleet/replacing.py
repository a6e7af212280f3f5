"""Whether a fleet that is short goes on to start replicas, and when."""

from __future__ import annotations

import asyncio

from gdl.domain.attempt_state import NO_MACHINE
from gdl.domain.backoff import Backoff
from gdl.domain.errors import GdlError

MOST_FAILED = 3
"""Replicas in a row that cost money and never served."""
_FIRST_S, _LONGEST_S = 5.0, 300.0
_NEVER = frozenset({"usage", "spend_limit", "cancelled"})
"""Kinds of errors that time does not change."""
_FREE = NO_MACHINE | {"no_suitable_offer", "backend", "backend_unreachable", "hub_away"}
"""Kinds of errors by which nothing was rented: whoever waits may have more luck, at no cost."""


class Replacing:
    """last: why the latest replica that did not come to serve failed; None while nothing stands
    against starting one."""

    def __init__(self) -> None:
        self.last: GdlError | None = None
        self._costly = 0
        self._pauses = Backoff(_FIRST_S, _LONGEST_S)
        self._not_before = 0.0

    def begin_again(self) -> None:
        """Something has changed: one that served has died, or the user wishes something else."""
        self.last, self._costly, self._not_before = None, 0, 0.0
        self._pauses = Backoff(_FIRST_S, _LONGEST_S)

    def failed(self, error: GdlError) -> None:
        self.last = error
        self._costly += error.kind not in _FREE
        self._not_before = asyncio.get_running_loop().time() + next(self._pauses)

    def final(self, *, any_live: bool) -> bool:
        """Whether nothing more is tried. any_live: whether the fleet has a replica at all: one that
        could not have a single one is not left waiting."""
        if self.last is None:
            return False
        return self.last.kind in _NEVER or self._costly >= MOST_FAILED or not any_live

    def may_start(self, *, any_live: bool) -> bool:
        if self.final(any_live=any_live):
            return False
        return asyncio.get_running_loop().time() >= self._not_before
