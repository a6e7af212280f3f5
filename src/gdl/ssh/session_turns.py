"""Who has the sessions of a connection, and who gets the next one where there are too few."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from gdl.ssh.shell_session import CommandSession, OnData, OnStart, Shell

TURN_S = 5.0
"""So long a command that takes long keeps its session, where another such one waits for it."""


class Rank(IntEnum):
    """What gives way to a short command, the lowest first. All but SHORT take long, and are begun
    again by whoever wanted them."""

    LOG = 0
    SAMPLES = 1
    WATCH = 2
    SHORT = 3


@dataclass(slots=True, eq=False)
class Wish:
    """What is to be run, as `Executor.execute` has it. kind: its rank, once it has answered.
    refused: what the machine says while it opens no session for it."""

    command: str
    on_data: OnData
    input: bytes = b""
    on_start: OnStart | None = None
    kind: Rank = Rank.SHORT
    answered: asyncio.Event | None = None
    refused: str = ""

    @property
    def rank(self) -> Rank:
        awaited = self.answered is not None and not self.answered.is_set()
        return Rank.SHORT if awaited else self.kind


@dataclass(slots=True)
class _Running:
    """gives_way: it was told to."""

    shell: Shell
    wish: Wish
    since: float
    gives_way: bool = False


class Turns:
    """Short commands come first, then those that take long, which take turns; each of a kind in the
    order in which they were refused. A session that ends is for who waits: what has just given way
    is begun anew at once, and would take it again before a refused one asks.
    """

    def __init__(self) -> None:
        self._running: dict[CommandSession, _Running] = {}
        self._waiting: list[Wish] = []
        self._one_less = asyncio.Event()

    @contextlib.contextmanager
    def running(self, shell: Shell, wish: Wish) -> Iterator[None]:
        """While its command runs there."""
        self._running[shell.session] = _Running(shell, wish, time.monotonic())
        try:
            yield
        finally:
            del self._running[shell.session]

    @property
    def running_short(self) -> bool:
        return any(each.wish.rank is Rank.SHORT for each in self._running.values())

    def refused(self, wish: Wish, why: str) -> None:
        """It waits, until it is dropped."""
        wish.refused = why
        if wish not in self._waiting:
            self._waiting.append(wish)

    def drop(self, wish: Wish) -> None:
        """It waits no longer. Idempotent."""
        if wish in self._waiting:
            self._waiting.remove(wish)
            self._one_less.set()

    async def come(self, wish: Wish) -> None:
        """Until nobody else gets a session sooner."""
        while first := self._before(wish):
            self.refused(wish, first.refused)
            self._one_less.clear()
            await self._one_less.wait()

    def _before(self, wish: Wish) -> Wish | None:
        first = min(self._waiting, key=lambda other: other.rank is not Rank.SHORT, default=None)
        if first is None or first is wish:
            return None
        later = wish.rank is Rank.SHORT and first.rank is not Rank.SHORT
        return None if later else first

    def give_way(self, wish: Wish) -> bool:
        """Let another command give way to it, if one should; whether it was only now told to."""
        found = self._lowest() if wish.rank is Rank.SHORT else self._longest()
        if found is None:
            return False
        told, found.gives_way = found.gives_way, True
        found.shell.chan.abort()
        return not told

    def gave_way(self, shell: Shell) -> bool:
        """Whether what runs there was told to. Its exit status says nothing then: OpenSSH sends the
        one of a command that ended because nobody reads from it."""
        return self._running[shell.session].gives_way

    @property
    def _long(self) -> list[_Running]:
        return [each for each in self._running.values() if each.wish.rank is not Rank.SHORT]

    def _lowest(self) -> _Running | None:
        return min(self._long, key=lambda each: each.wish.rank, default=None)

    def _longest(self) -> _Running | None:
        """If its turn is over."""
        found = min(self._long, key=lambda each: each.since, default=None)
        return found if found and time.monotonic() - found.since >= TURN_S else None
