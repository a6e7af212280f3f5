"""Which lines of a log of any length are looked at closely: bounded in memory, and quick.

Most lines of a long log are like many before it. A line's shape is the line without its digits;
a shape that is known to hold nothing of interest is passed over, and so is one that was looked at
often enough. What is around an interesting line, and the end of the log, is looked at, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gdl.diagnosis.decoding import plain
from gdl.diagnosis.prefixes import LINE
from gdl.diagnosis.vocabulary import Vocabulary, lines_with, shape

_BLOCK = 256 * 1024
_STRONG_AROUND, _WEAK_AROUND = (8, 20), (3, 6)
"""Lines kept before and after one."""
_OFTEN = 6
"""How often one shape is looked at with its surroundings."""
_SHAPES = 100_000
_MARK, _TRACE, _TEXT = range(3)
_AT_LENGTH = 4_000
"""Interesting lines, after which mere traces of trouble count no more, and of each block only the
first and the last lines with a text of rules do."""
_ENDS, _HITS = 20, 60
_HEAD_LINES, _TAIL_LINES = 5_000, 5_000
_HEAD_BYTES, _TAIL_BYTES = 4 << 20, 4 << 20
_FIRST_LINES, _LAST_LINES = 100, 400
_MORE = 2 * LINE
_BEGIN, _CHATTY = 48, 500
_ALARMS = (b"rror", b"ERR", b"Traceback", b"xception", b"atal", b"illed", b"efused", b"enied")
_STRONG_TRACES = ("Traceback (most", "Error: ", "ERROR", "CRITICAL", "atal", "terminate called")
_TRACES = (
    "Traceback", 'File "', "rror", "ERR", "xception", "xit", "ailed", "ailure", "FAIL", "annot",
    "fatal", "Fatal", "FATAL", "enied", "refused", "imed out", "imeout", "illed", "bort",
    "dumped", "egmentation", "ignal", "No space", "not found", "No such", "nable to",
    "NCCL WARN", "Xid", "×", "╰", "cause", "hint", "Warning", "not supported", "nsupported",
    "nvalid", "issing", "unexpected", "too old", "OutOf", "ut of memory", "nterrupt", "panic",
    "raise ", "Bus error", "llegal", "lost", "reset by", "exited",
    "terminate called", "what()", "panicked",
)  # fmt: skip


class Interest:
    """What makes a line interesting; made once for rules, and shared by all logs they are asked
    about.

    texts: what rules look for. marks: what tells of progress; such lines are kept alone.
    """

    def __init__(self, texts: Iterable[str], marks: Iterable[str]) -> None:
        # Later ones count: what is a rule's text is no mere trace.
        self.weights = {
            text.encode(): kind
            for kind, several in enumerate((marks, _TRACES, (*texts, *_STRONG_TRACES)))
            for text in several
        }
        self.all = Vocabulary(self.weights)
        self.short = Vocabulary(text for text, kind in self.weights.items() if kind != _TRACE)


class Attention:
    """Takes UTF-8 in pieces. lines: (number, line) of those to look at closely, in order."""

    def __init__(self, interest: Interest) -> None:
        self._interest = interest
        self._rest = b""
        self._return = b""
        self._skipping = False
        self._number = 0
        self._dull: set[bytes] = set()
        self._times: dict[bytes, int] = {}
        self._begins: dict[bytes, int] = {}
        self._alarms: set[bytes] = set()
        self._opened = 0
        self._head: dict[int, bytes] = {}
        self._tail: dict[int, bytes] = {}
        self._size = self._tail_size = 0
        self._before: list[bytes] = []
        self._until = 0

    def feed(self, data: bytes) -> None:
        if b"\r" in data or self._return:
            # A progress bar is redrawn with carriage returns: each of its states is a line.
            data = self._return + data
            self._return = b"\r" if data.endswith(b"\r") else b""
            data = data.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        for at in range(0, len(data), _BLOCK):
            self._piece(self._rest + data[at : at + _BLOCK])

    def end(self) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            self._block(rest)

    def lines(self) -> Iterator[tuple[int, str]]:
        """In order; the last ones of the log are always among them."""
        kept = {**self._head, **self._tail}
        first = self._number - len(self._before) + 1
        for place, line in enumerate(self._before):
            kept[first + place] = line
        for number in sorted(kept):
            yield number, kept[number][:_MORE].decode("utf-8", "replace")

    def _piece(self, data: bytes) -> None:
        whole, newline, rest = data.rpartition(b"\n")
        if self._skipping:
            if not newline:
                return
            # The rest of a line that was too long.
            _, newline, whole = whole.partition(b"\n")
            self._skipping = False
            self._rest = rest
            if not newline:
                return
        if len(rest) > _MORE:
            # Nobody looks at more of such a line.
            whole, newline, rest = whole + newline + rest[:_MORE], b"\n", b""
            self._skipping = True
        self._rest = rest
        if newline:
            self._block(whole)

    def _block(self, block: bytes) -> None:
        block = plain(block)
        lines = block.split(b"\n")
        shapes = shape(block).split(b"\n")
        for at in range(min(_FIRST_LINES - self._number, len(lines))):
            self._keep(self._number + at + 1, lines[at])
        dull = self._dull
        fresh = [at for at, shape in enumerate(shapes) if shape not in dull]
        if fresh:
            self._look(lines, shapes, fresh)
        else:
            self._around(lines, ())
        self._number += len(lines)
        last = [line[:_MORE] for line in lines[-_LAST_LINES:]]
        self._before = (self._before + last)[-_LAST_LINES:]

    def _look(self, lines: list[bytes], shapes: list[bytes], fresh: list[int]) -> None:
        times = self._times
        new = {shapes[at]: lines[at] for at in fresh if shapes[at] not in times}
        marks, weak, strong = self._held(self._without_chatter(new))
        strong |= self._alarms
        for known in (self._dull, times):
            if len(known) > _SHAPES:
                known.clear()
        held = strong | weak | marks
        self._dull |= new.keys() - held
        opened, mild = [], []
        for at in fresh:
            line = shapes[at]
            if line not in times and line not in held:
                continue
            times[line] = times.get(line, 0) + 1
            if times[line] > _OFTEN:
                self._dull.add(line)
            elif line in strong:
                opened.append(at)
            elif line in marks:
                self._keep(self._number + at + 1, lines[at])
            else:
                mild.append(at)
        self._opened += len(opened) + len(mild)
        if self._much:
            opened, mild = _ends(opened), []
        wide = ((at, *_STRONG_AROUND) for at in opened)
        self._around(lines, sorted((*wide, *((at, *_WEAK_AROUND) for at in mild))))

    @property
    def _much(self) -> bool:
        return self._opened > _AT_LENGTH

    def _without_chatter(self, new: dict[bytes, bytes]) -> list[bytes]:
        """The lines to look at for every text. Where very many lines begin alike and go on each in
        its own words, as requests do, only a few texts are looked for: these are in `_alarms`."""
        usual: list[bytes] = []
        chatter: list[bytes] = []
        for line, whole in new.items():
            begin = line[:_BEGIN]
            count = self._begins[begin] = self._begins.get(begin, 0) + 1
            (chatter if count > _CHATTY else usual).append(whole)
        if len(self._begins) > _SHAPES:
            self._begins.clear()
        block = b"\n".join(chatter)
        self._alarms = {shape(line) for text in _ALARMS for line in lines_with(block, text, _HITS)}
        return usual

    def _held(self, lines: list[bytes]) -> tuple[set[bytes], set[bytes], set[bytes]]:
        """Shapes of the lines with a mark, with a mere trace, and with a text of rules."""
        block = b"\n".join(lines)
        held = set[bytes](), set[bytes](), set[bytes]()
        interest = self._interest
        vocabulary, most = (interest.short, _HITS) if self._much else (interest.all, len(lines))
        for text in vocabulary.texts_in(block):
            held[interest.weights[text]].update(map(shape, lines_with(block, text, most)))
        return held

    def _around(self, lines: list[bytes], opened: Iterable[tuple[int, int, int]]) -> None:
        """Keep what is around lines of interest, and what is left to keep after earlier ones."""
        kept = 0
        if self._until > self._number:
            kept = min(self._until - self._number, len(lines))
            for at in range(kept):
                self._keep(self._number + at + 1, lines[at])
        for at, before, after in opened:
            first = at - before
            if first < 0:
                for place, line in enumerate(self._before[first:] if self._before else ()):
                    number = self._number - len(self._before[first:]) + 1 + place
                    self._keep(number, line)
            last = min(at + after + 1, len(lines))
            for place in range(max(first, kept, 0), last):
                self._keep(self._number + place + 1, lines[place])
            kept = max(kept, last)
            self._until = max(self._until, self._number + at + after + 1)

    def _keep(self, number: int, line: bytes) -> None:
        if number in self._head or number in self._tail:
            return
        line = line[:_MORE]
        if len(self._head) < _HEAD_LINES and self._size < _HEAD_BYTES:
            self._head[number] = line
            self._size += len(line)
            return
        self._tail[number] = line
        self._tail_size += len(line)
        while len(self._tail) > _TAIL_LINES or self._tail_size > _TAIL_BYTES:
            self._tail_size -= len(self._tail.pop(next(iter(self._tail))))


def _ends(places: list[int]) -> list[int]:
    """The first and the last ones."""
    return places if len(places) <= 2 * _ENDS else [*places[:_ENDS], *places[-_ENDS:]]
