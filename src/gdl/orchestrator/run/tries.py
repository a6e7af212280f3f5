"""How long a deployment goes on by itself: machines tried, and offers that were gone."""

from __future__ import annotations

import time

from gdl.domain.attempt_state import NO_MACHINE
from gdl.domain.errors import GdlError, OfferGone

MOST_GONE = 12
MOST_GONE_S = 300.0
"""Offers in a row that somebody else had taken, and seconds since the first of them: a list of
which nothing can be rented is out of date, however long it is."""


class Tries:
    """Counts since the deployment began, or since its user last chose.

    most: machines to try. An offer that was gone, or that a sibling of ours has, is no machine;
    such offers have a limit of their own.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._machines = 0
        self._gone = 0
        self._gone_since = 0.0

    def begin_again(self) -> None:
        self._machines = self._gone = 0

    @property
    def left(self) -> int:
        """Machines that are still tried by themselves."""
        return max(self._most - self._machines, 0)

    def failed(self, error: GdlError) -> None:
        if error.kind not in NO_MACHINE:
            self._machines += 1
            self._gone = 0
            return
        if self._gone == 0:
            self._gone_since = time.monotonic()
        self._gone += 1

    def explain(self, error: GdlError) -> GdlError:
        """The error of the last machine, whose hint may speak of a next offer that is not taken."""
        if self.left == 0 and self._most > 1 and "next offer" in error.hint:
            error.hint = f"{self._most} machines were tried; `--max-attempts` sets how many"
        return error

    def all_gone(self, offer_id: str) -> OfferGone | None:
        """What to say when nothing listed can be rented; None while it is worth going on."""
        took = time.monotonic() - self._gone_since
        if self._gone == 0 or (self._gone < MOST_GONE and took < MOST_GONE_S):
            return None
        return OfferGone(
            offer_id,
            f"{self._gone} offers in a row were no longer available: the list is out of date",
            "try again in some minutes, or with another `--provider`",
        )
