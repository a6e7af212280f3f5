"""Questions and answers as lines: one at a time, no cursor moved, no colour."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Sequence

from gdl.cli.output import say
from gdl.domain.errors import GdlError
from gdl.presentation.lines import plain

PAGE = 10
"""Lines of a list that are told at a time."""
_MOST_BYTES = 65_536
"""Of one line; the rest of a longer one is dropped."""


class Quit(GdlError):
    """The user wants no more."""


class InputEnded(GdlError):
    """Nobody can answer any more."""


class Lines:
    """The lines of a file, a pipe or a terminal, read by a thread: an event loop cannot wait for
    every kind of file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._read: asyncio.Queue[str | None] = asyncio.Queue()
        self._ended = False
        self._loop = asyncio.get_running_loop()
        # A daemon: nobody can make it stop waiting for a line, and nothing depends on it.
        threading.Thread(target=self._run, name="plain-input", daemon=True).start()

    async def next(self) -> str | None:
        """The next line without its end; None once there is none. May be cancelled: no line is
        lost."""
        if self._ended:
            return None
        line = await self._read.get()
        self._ended = line is None
        return line

    @property
    def waiting(self) -> int:
        """How many lines there are that nobody has taken."""
        return self._read.qsize()

    def drop_typed(self) -> None:
        """Drop what somebody has typed on a terminal by now; the lines of a script are kept."""
        if not os.isatty(self._descriptor):
            return
        while self.waiting:
            if self._read.get_nowait() is None:
                self._read.put_nowait(None)
                return

    def _run(self) -> None:
        rest = b""
        while True:
            try:
                data = os.read(self._descriptor, 4096)
            except OSError:
                data = b""
            if not data:
                break
            *whole, rest = (rest + data).split(b"\n")
            rest = rest[:_MOST_BYTES]
            for line in whole:
                self._hand_over(line.decode(errors="replace"))
        if rest:
            self._hand_over(rest.decode(errors="replace"))
        self._hand_over(None)

    def _hand_over(self, line: str | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._read.put_nowait, line)


class Questions:
    """Asks on stderr, a line for each question, and takes lines as answers. `q` ends everywhere."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._told = 0

    async def line(self, question: str) -> str:
        """What was typed, without blanks around it. Raises Quit, InputEnded."""
        say(question)
        typed = await self._lines.next()
        if typed is None:
            raise InputEnded("the input has ended", "answer every question, or type q")
        typed = plain(typed.strip(), 2000)
        if typed.lower() in ("q", "quit", "exit"):
            raise Quit("quit", "")
        return typed

    async def yes(self, question: str) -> bool:
        """Only y and n are answers, typed after the question: nothing is rented or released by a
        stray key."""
        self._lines.drop_typed()
        while True:
            typed = (await self.line(f"{question} y for yes, n for no")).lower()
            if typed in ("y", "yes"):
                return True
            if typed in ("n", "no"):
                return False
            say("type y or n")

    async def number(self, question: str, most: int, usual: int | None) -> int | None:
        """A whole number from 1 to `most`; `usual` for Enter."""
        while True:
            typed = (await self.line(question)).replace(",", "")
            if not typed:
                return usual
            if typed.isdecimal() and 1 <= int(typed) <= most:
                return int(typed)
            say(f"a whole number from 1 to {most}, or Enter for the default")

    async def pick(
        self, what: str, lines: Sequence[str], others: str = "", *, again: bool = False
    ) -> int | str:
        """The index of the line that was chosen; else what was typed, where `others` says what that
        may be. The list is told in parts; again: it was told before, and is not told once more."""
        if not again:
            self._told = _tell(lines, 0)
        while True:
            told = self._told
            possible = [f"a number from 1 to {told}"] if told else []
            possible += ["more"] if told < len(lines) else []
            possible += [others] if others else []
            possible += ["? for the list"] if again else []
            typed = await self.line(f"{what}: {', '.join(possible)}, or q to quit")
            if typed.isdecimal():
                if 1 <= int(typed) <= told:
                    return int(typed) - 1
                say(f"there is no {typed[:20]} in the list")
            elif typed == "?":
                self._told = _tell(lines, 0)
            elif typed.lower() == "more" and told < len(lines):
                self._told = _tell(lines, told)
            elif typed and others:
                return typed
            elif typed:
                say(f"{typed[:40]} is not one of these")

    async def choose(self, what: str, choices: Sequence[str], *, again: bool = False) -> int:
        """The index of one of a few."""
        chosen = await self.pick(what, choices, again=again)
        assert isinstance(chosen, int)  # no others were offered
        return chosen


def _tell(lines: Sequence[str], told: int) -> int:
    """The next part of the list; how many lines are told then."""
    until = min(told + PAGE, len(lines))
    for number in range(told, until):
        say(f"{number + 1}. {lines[number]}")
    if until < len(lines):
        say(f"{len(lines) - until} more")
    return until
