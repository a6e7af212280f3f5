"""Reading a log of any length in bounded memory, for what the rules ask for.

A log is looked at in blocks of whole lines. Which of the rules' words occur in a block is told by
its vocabulary; only lines that hold a rule's text are looked at more closely.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gdl.diagnosis.rules import SPECIFIC, Rule, RuleSet
from gdl.domain.text import flat

LINE = 2000
"""Characters of a line that are looked at."""
_BLOCK = 256 * 1024
_NEARBY = 4
_LAST_LINES = 4
_ESCAPES = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)")
_UNWANTED = bytes(code for code in range(32) if code not in b"\t\n\r") + b"\x7f"
_ERROR = re.compile(
    r"(?:^|[\s\]])(?:(?P<python>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Failure|Exit)\b.*)"
    r"|(?P<tool>(?:error|ERROR|fatal|FATAL|×): ?.+|× .+))"
)
_ERROR_TEXTS = (
    *((text, text) for text in (b"Error", b"Exception", b"Failure", b"Exit")),
    *((text + b":", text) for text in (b"error", b"ERROR", b"fatal", b"FATAL")),
    ("×".encode(), b""),
)
"""(text, word) of what _ERROR asks for."""
_TRACEBACK = b"Traceback (most recent call last)"
_LETTERS = (
    bytes(code if chr(code).isalpha() or code == ord("_") else ord(" ") for code in range(128))
    + b" " * 128
)


def clean(line: str) -> str:
    """One line without escapes and control characters, cut to what is looked at."""
    return flat(line[:LINE], LINE).rstrip()


@dataclass(slots=True)
class Found:
    """A rule, its match, the last error above it, and up to five lines around it."""

    rule: Rule
    match: re.Match[str]
    above: str
    lines: list[str] = field(default_factory=list)
    wanted: int = _NEARBY


class Scanner:
    """Takes a log piece by piece, and remembers what a diagnosis needs of it.

    found: by tier, the earliest match of that tier. error: the last traceback's own error, else
    the last line that looks like one.
    """

    def __init__(self, rules: RuleSet, phase: str = "") -> None:
        self.found: dict[int, Found] = {}
        self._raised = ""
        self._complained = ""
        self._asked = [
            row for row in rules.texts if not phase or not row[2].phases or phase in row[2].phases
        ]
        self._rest = b""
        self._skipping = False
        self._tail = b""
        self._column: int | None = None
        self._open: list[Found] = []

    @property
    def last(self) -> list[str]:
        """The last lines that are not empty."""
        lines = [_decoded(line) for line in self._tail.split(b"\n")]
        return [line for line in lines if line][-_LAST_LINES:]

    @property
    def error(self) -> str:
        return self._raised or self._complained

    @property
    def done(self) -> bool:
        """Nothing that follows can change the answer."""
        return SPECIFIC in self.found and not self._open

    def feed(self, data: bytes) -> None:
        """The next piece; lines may be cut anywhere."""
        if b"\r" in data:
            # A progress bar is redrawn with carriage returns: each state is a line.
            data = data.replace(b"\r", b"\n")
        for at in range(0, len(data), _BLOCK):
            if not self.done:
                self._piece(self._rest + data[at : at + _BLOCK])

    def end(self) -> None:
        """The log is over: its last line may have no end."""
        rest, self._rest = self._rest, b""
        if rest and not self.done:
            self._block(rest)
        self._open.clear()

    def _piece(self, data: bytes) -> None:
        whole, newline, rest = data.rpartition(b"\n")
        if self._skipping:
            if not newline:
                return
            # The rest of a line that was too long.
            _, newline, whole = whole.partition(b"\n")
            self._skipping = False
        if len(rest) > 4 * LINE:
            # Nobody looks at more of such a line.
            whole, newline, rest = whole + newline + rest, b"\n", b""
            self._skipping = True
        self._rest = rest
        if newline:
            self._block(whole)

    def _block(self, block: bytes) -> None:
        if len(block) != len(block.translate(None, _UNWANTED)):
            block = _ESCAPES.sub(b"", block).translate(None, _UNWANTED)
        self._complete(block)
        raised = self._ends_of_tracebacks(block)
        worth = self._worth_reading(block)
        for start in sorted({*worth, *raised}):
            self._read(block, start, worth.get(start, ()), start in raised)
            if SPECIFIC in self.found:
                return
        self._tail = (self._tail + b"\n" + block)[-_LAST_LINES * 4 * LINE :]

    def _complete(self, block: bytes) -> None:
        """The lines after a match, as far as the block before did not have them."""
        if not self._open:
            return
        head = [_decoded(line) for line in block[: _NEARBY * 4 * LINE].split(b"\n")]
        for found in self._open:
            found.lines += head[: found.wanted]
            found.wanted -= len(head)
        self._open = [found for found in self._open if found.wanted > 0]

    def _worth_reading(self, block: bytes) -> dict[int, list[Rule]]:
        """Where lines begin that hold the text of a rule (with these) or look like an error."""
        known = b" ".join(set(block.translate(_LETTERS).split()))
        worth: dict[int, list[Rule]] = {}
        for text, words, rule in self._asked:
            if rule.tier not in self.found and all(word in known for word in words):
                for start in _lines_with(block, text):
                    worth.setdefault(start, []).append(rule)
        for text, word in _ERROR_TEXTS:
            if word in known:
                for start in _lines_with(block, text):
                    worth.setdefault(start, [])
        return worth

    def _ends_of_tracebacks(self, block: bytes) -> set[int]:
        """Where the lines begin that name the errors of Python's tracebacks: the first that is
        not indented under the word "Traceback", whatever prefix both have."""
        ends: set[int] = set()
        at = 0
        while True:
            if self._column is None:
                at = block.find(_TRACEBACK, at)
                if at < 0:
                    return ends
                self._column = at - (block.rfind(b"\n", 0, at) + 1)
                at = _next_line(block, at)
            while block[at + self._column : at + self._column + 1] in (b" ", b"\t", b"\n", b""):
                if at >= len(block):
                    return ends
                at = _next_line(block, at)
            ends.add(at)
            self._column = None

    def _read(self, block: bytes, start: int, asked: Sequence[Rule], raised: bool) -> None:
        line = _decoded(block[start : start + 4 * LINE].partition(b"\n")[0])
        for rule in sorted(asked, key=lambda rule: rule.place):
            if rule.tier in self.found or rule.pattern is None:
                continue
            if match := rule.pattern.search(line):
                self.found[rule.tier] = self._around(block, start, Found(rule, match, self.error))
        if match := _ERROR.search(line):
            self._complained = (match["python"] or match["tool"]).strip()
            if raised:
                self._raised = self._complained
        elif raised:
            self._raised = line.strip()

    def _around(self, block: bytes, start: int, found: Found) -> Found:
        above = _decoded(block[:start].rpartition(b"\n")[0].rpartition(b"\n")[2])
        before = _decoded(self._tail.rpartition(b"\n")[2])
        found.lines = [above if start else before]
        below = block[start : start + _NEARBY * 4 * LINE].split(b"\n")[:_NEARBY]
        found.lines += [_decoded(line) for line in below]
        found.wanted = _NEARBY - len(below)
        if found.wanted > 0:
            self._open.append(found)
        return found


def _decoded(line: bytes) -> str:
    return clean(line[: 4 * LINE].decode("utf-8", "replace"))


def _next_line(block: bytes, at: int) -> int:
    """Where the line after the one at `at` begins; the end of the block when there is none."""
    end = block.find(b"\n", at)
    return len(block) if end < 0 else end + 1


def _lines_with(block: bytes, text: bytes) -> Iterator[int]:
    """Where the lines begin that hold a text."""
    at = block.find(text)
    while at >= 0:
        yield block.rfind(b"\n", 0, at) + 1
        end = block.find(b"\n", at)
        at = block.find(text, end) if end >= 0 else -1
