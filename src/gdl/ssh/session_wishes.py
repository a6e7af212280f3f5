"""What is to be run on a machine, and who comes first where it opens too few sessions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gdl.ssh.shell_session import OnData, OnStart


class Rank(IntEnum):
    """What gives way to what on a machine that is short of sessions. All but SHORT take long, and
    are begun again by whoever wanted them."""

    LOG = 0
    SAMPLES = 1
    WATCH = 2
    SHORT = 3


@dataclass(slots=True, eq=False)
class Wish:
    """What is to be run, as `Executor.execute` has it. refused: what the machine says while it
    opens no session for it."""

    command: str
    on_data: OnData
    input: bytes = b""
    on_start: OnStart | None = None
    rank: Rank = Rank.SHORT
    refused: str = ""


class Refused:
    """The wishes that wait for a session. A session that ends is for the highest of them: what has
    just given way would take it again at once, as it is begun anew sooner than a refused one asks.
    """

    def __init__(self) -> None:
        self._wishes: list[Wish] = []

    def add(self, wish: Wish, why: str) -> None:
        wish.refused = why
        if wish not in self._wishes:
            self._wishes.append(wish)

    def drop(self, wish: Wish) -> None:
        """It waits no longer. Idempotent."""
        if wish in self._wishes:
            self._wishes.remove(wish)

    def above(self, wish: Wish) -> str:
        """Why a wish of a higher rank waits; "" when none does."""
        return next((other.refused for other in self._wishes if other.rank > wish.rank), "")
