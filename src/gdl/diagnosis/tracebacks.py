"""Tracebacks and the errors they end in, for one stream of a log.

It understands chains of exceptions (`raise ... from`, or while handling one), exception groups,
tracebacks without their beginning or end, under any prefix, and messages of several lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from gdl.diagnosis.crashes import NATIVE_FRAME, Crash
from gdl.diagnosis.records import Frame, Level, Line, Record

TRACEBACK = "Traceback (most recent call last)"
_CAUSED = "was the direct cause of the following exception"
_DURING = "During handling of the above exception"
_FRAME = re.compile(r'\s*File "(?P<path>[^"\n]{1,400})", line \d+(?:, in (?P<function>.*))?')
_DUMPED_FRAME = re.compile(r'\s*File "(?P<path>[^"\n]{1,400})", line \d+ in (?P<function>\S+)')
"""Of faulthandler, innermost first."""
_CUT_FRAME = re.compile(r'\s*[\w./<>-]{1,400}", line \d+, in (?P<function>\S+)\s*$')
_CLASS = r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*"
_ENDINGS = (
    "Error|Exception|Exit|Interrupt|Failure|Timeout|Warning|Fault|Group|Stop|Cancelled|Expired|"
    "NotFound|Unavailable|Refused|Disconnected|OutOfMemory"
)
_RAISED = re.compile(
    r"\s*(?P<name>(?:[A-Za-z_]\w*\.)+[A-Za-z_]\w*|[A-Z]\w*)(?:\s*:\s?(?P<text>.*))?\s*$"
)
"""What ends a traceback, in the place where it must stand."""
_ERROR = re.compile(
    rf"\s*(?P<name>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:{_ENDINGS})|(?:[a-z_]\w*\.)+[a-z]*(?:error|timeout))"
    r"(?:\s*:\s?(?P<text>.*))?\s*$"
)
"""An error that nothing but its name gives away."""
_INSIDE = re.compile(
    r"(?:^|[\s:'\"(\[>])(?P<name>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception))"
    r"(?::\s?|\((?=['\"]))(?P<text>.+)$"
)
_REPR = re.compile(r"(?P<name>[\w.]+)\((?P<quote>['\"])(?P<text>.*)(?P=quote)\)\s*$")
"""An error as repr() shows it, to the line's end."""
_BARS = re.compile(r"\s*(?:\+-[+ ]?-* ?\d* ?-*|\| ?|\+ (?=Exception Group))")
_HARMLESS = re.compile(
    r"\b[Tt]his is normal\b|\bcan be (?:safely )?ignored\b|\bsafe(?:ly)? (?:to )?ignore\b"
)
_CARETS = re.compile(r"\s*[\^~]+\s*$")
_PYDANTIC = re.compile(r"\d+ validation errors? for (?P<model>\w+)\s*(?P<text>.*)", re.DOTALL)
_PYDANTIC_NOISE = re.compile(
    r"\[type=\w+(?:, input_value=.*?, input_type=\w+|[^\]]*)\]?|For further information visit \S+"
)
_HANDED_ON = re.compile(
    r"Worker failed with error ['\"](?P<text>.+)['\"], please check the stack trace|"
    r"(?:Call to \w+ method|Executing method '\w+') failed: (?P<text_2>.+)"
)
"""What another process raised, without its class."""
_NO_ATTRIBUTE = re.compile(r"'\w+' object has no attribute '\w+'|module '[\w.]+' has no attribute ")
_KEY = re.compile(r"'[^' ]+'")
_TESTED = re.compile(r"E {3,}(?=\w)")
"""What pytest puts before an error."""
_PROCESS = re.compile(r"Process \S+:$")
_INSTALLS = re.compile(
    r"\s*(?:(?:Collecting|Downloading|Downloaded|Building wheels?(?: for)?|Using cached) \S|"
    r"(?:Requirement already satisfied|Installing collected packages|Looking in \w+): |"
    r"Successfully (?:installed|built) |Preparing metadata \(|"
    r"(?:Resolved|Prepared|Installed|Uninstalled|Audited) \d+ packages? in |Fetching \d+ files: )"
)
"""What pip, uv or the hub say of their progress: they go on beside what failed, or after it."""
_SAYS = re.compile(r"\b(?:error|Error|ERROR|Exception|failed)\b.*: \w")
"""What stands before a traceback in its first line, and names the error already."""
_WIDTH = 79
_ODD_LINES = 3
"""Lines that fit nowhere, after which a traceback is over."""
_MESSAGE_LINES = 40
_MESSAGE = 6000
_FRAMES = 120

Fresh = Callable[[], int]


class StreamParser:
    """Takes the lines of one stream in order, and yields records as they are complete."""

    def __init__(self, fresh: Fresh) -> None:
        self._fresh = fresh
        self._incident = 0
        self._open = False
        self._column = 0
        self._indent = 0
        self._grouped = False
        self._frames: list[Frame] = []
        self._begun: Line | None = None
        self._said = ""
        self._record: Record | None = None
        self._message: list[str] = []
        self._blank = False
        self._last: Record | None = None
        self._link = ""
        self._odd = 0
        self._crash = Crash()

    @property
    def begun(self) -> bool:
        """Whether a traceback has begun, or an error's message, that may go on."""
        return self._open or self._record is not None

    @property
    def headed(self) -> bool:
        """Whether a traceback's first line was the last that came."""
        return self._open and not self._frames

    def take(self, line: Line) -> Iterator[Record]:
        text = line.text
        if self._grouped and (bars := _BARS.match(text)):
            text = text[bars.end() :]
        at = text.find(TRACEBACK)
        if at >= 0:
            yield from self._traceback(line, text, at)
        elif _CAUSED in text or _DURING in text:
            yield from self._close()
            self._link = "cause" if _CAUSED in text else "context"
        elif dumped := _DUMPED_FRAME.match(text):
            self._dumped(dumped)
        elif NATIVE_FRAME.match(text):
            yield from self._close()
        elif frame := _FRAME.match(text) or _CUT_FRAME.match(text):
            yield from self._frame(line, text, frame)
        elif self._open:
            yield from self._inside(line, text)
        elif self._record is not None:
            yield from self._message_line(line, text)
        else:
            yield from self._plain(line, text)

    def end(self) -> Iterator[Record]:
        yield from self._close()
        if self._open and self._frames and self._begun is not None:
            # Cut off before it names its error.
            last = self._frames[-1]
            text = self._said or last.source or last.words
            yield self._made(self._begun, text, raised=True)
        self._reset()

    def _reset(self) -> None:
        self._open, self._frames, self._begun, self._odd, self._said = False, [], None, 0, ""

    def _traceback(self, line: Line, text: str, at: int) -> Iterator[Record]:
        yield from self._close()
        if self._open and self._frames:
            yield from self.end()
        if self._link == "" or self._last is None:
            self._incident = self._fresh()
            self._last = None
        self._reset()
        self._open, self._column, self._begun = True, at, line
        before = text[:at].strip()
        if "Exception Group" in text:
            self._grouped = True
        elif len(before) > 3:
            self._column = 0
            self._said = before.rstrip(",; ") if _SAYS.search(before) else ""
            yield Record(before, line, line, _level(line), self._incident, part=True)

    def _frame(self, line: Line, text: str, match: re.Match[str]) -> Iterator[Record]:
        if not self._open:
            yield from self._close()
            if self._link == "":
                self._incident = self._fresh()
            self._open, self._column, self._begun = True, 0, line
        self._indent = len(text) - len(text.lstrip())
        path = match.groupdict().get("path") or text.partition('"')[0].strip()
        path = path.replace("\\", "/")
        if len(self._frames) < _FRAMES:
            self._frames.append(Frame(path, (match["function"] or "").strip()))
        else:
            self._frames[-1] = Frame(path, (match["function"] or "").strip())

    def _dumped(self, match: re.Match[str]) -> None:
        last = self._record or self._last
        if last is not None and last.error == "FatalPythonError" and len(last.frames) < _FRAMES:
            last.frames = (Frame(match["path"], match["function"]), *last.frames)

    def _inside(self, line: Line, text: str) -> Iterator[Record]:
        """Between the frames of a traceback and its error."""
        stripped = text.strip()
        if not stripped or _CARETS.fullmatch(text) or stripped.startswith("[Previous line repeat"):
            return
        indent = len(text) - len(text.lstrip())
        sure = _ERROR.match(text)
        error = sure or (_RAISED.match(text) if self._frames or self._grouped else None)
        waiting = bool(self._frames) and not self._frames[-1].source
        if (
            error
            and indent <= self._column
            and not (waiting and not sure and not self._named(text))
        ):
            yield from self._begin(line, error)
        elif self._frames and (indent > self._column or (waiting and indent >= self._indent)):
            if waiting:
                self._frames[-1] = replace(self._frames[-1], source=stripped[:300])
        elif sure:
            yield from self._begin(line, sure)
        else:
            self._odd += 1
            other = line.stamp != (self._begun.stamp if self._begun else "")
            if other or self._odd > _ODD_LINES:
                yield from self.end()
            yield from self._plain(line, text)

    @staticmethod
    def _named(text: str) -> bool:
        return re.match(rf"{_CLASS}: ", text) is not None

    def _begin(self, line: Line, error: re.Match[str]) -> Iterator[Record]:
        yield from self._raise(line, error["name"], error["text"] or "")
        if error["text"] is None:
            # A name without a colon has no message: the next line is somebody else's.
            yield from self._close()

    def _raise(self, line: Line, whole: str, text: str) -> Iterator[Record]:
        yield from self._close()
        module, _, name = whole.rpartition(".")
        record = self._made(line, "", raised=True)
        record.error, record.module = name, module
        if self._link and self._last is not None:
            if self._link == "cause":
                record.cause = self._last
            else:
                record.context = self._last
        self._link = ""
        self._record, self._message, self._blank = record, [text], False
        self._reset()

    def _made(self, line: Line, text: str, *, raised: bool) -> Record:
        # What is printed through a logger of another program has the level that this one gave it.
        level = Level.WARNING if line.level is Level.WARNING else Level.ERROR
        frames = tuple(self._frames)
        return Record(text, line, line, level, self._incident, frames=frames, raised=raised)

    def _message_line(self, line: Line, text: str) -> Iterator[Record]:
        record = self._record
        assert record is not None
        if not text.strip():
            if self._blank:
                yield from self._close()
            self._blank = True
            return
        if self._ends(record, line) or _ERROR.match(text) or len(self._message) >= _MESSAGE_LINES:
            yield from self._close()
            yield from self._plain(line, text)
            return
        if _wrapped(record.last, text):
            self._message[-1] += text.strip()
        else:
            self._message.append(text.strip())
        record.last = line
        yield Record(text.strip(), line, line, _level(line), record.incident, part=True)

    def _ends(self, record: Record, line: Line) -> bool:
        """Whether a line cannot be of this error's message: another of the logger's, the header of
        a process, or an installer's. After a colon comes what the message is about."""
        if line.stamp != record.line.stamp or _PROCESS.match(line.text):
            return True
        if line.prefix and not record.line.prefix:
            # Some loggers give their lines a time, and not those of tracebacks.
            return True
        return not self._message[-1].endswith(":") and _INSTALLS.match(line.text) is not None

    def _plain(self, line: Line, text: str) -> Iterator[Record]:
        if not text.strip():
            return
        error = _ERROR.match(_TESTED.sub("", text))
        if error:
            if not self._link:
                self._incident = self._fresh()
            yield from self._begin(line, error)
            return
        if crash := self._crash.take(text):
            self._incident = self._fresh()
            yield from self._raise(line, *crash)
            return
        level = Level.INFO if _HARMLESS.search(text) else _level(line)
        record = Record(text.strip(), line, line, level, self._fresh())
        if inside := _INSIDE.search(text):
            module, _, record.error = inside["name"].rpartition(".")
            record.module = module
            if shown := _REPR.match(text, inside.start("name")):
                record.text = f"{text[: shown.start()].lstrip()}{shown['name']}: {shown['text']}"
            if level is Level.INFO:
                record.level = Level.ERROR
        yield record

    def _close(self) -> Iterator[Record]:
        record = self._record
        if record is None:
            return
        self._record = None
        whole = " ".join(" ".join(self._message).split())[:_MESSAGE]
        said = _handed_on(record, whole)
        name = f"{record.module}.{record.error}" if record.module else record.error
        record.text = f"{name}: {said}" if said else name
        first = next((part for part in self._message if part.strip()), "")
        first = first if said == whole else said
        record.head = " ".join(f"{name}: {first}".split()) if first else name
        if record.error.endswith("Warning"):
            record.level = Level.WARNING
        if record.error == "ValidationError" and (found := _PYDANTIC.match(said)):
            words = " ".join(_PYDANTIC_NOISE.sub(" ", found["text"]).split())
            record.text = record.head = words.replace("Value error, ", "ValueError: ", 1)
            if words.startswith("Value error, "):
                record.error = "ValueError"
            else:
                record.text = record.head = f"ValidationError: {found['model']}: {words}"
        self._last = record
        yield record


def _handed_on(record: Record, said: str) -> str:
    """The message; of one that only hands on what another process raised, that."""
    found = _HANDED_ON.search(said)
    if found is None:
        return said
    inner = found["text"] or found["text_2"]
    if _NO_ATTRIBUTE.match(inner):
        record.error = "AttributeError"
    elif _KEY.fullmatch(inner):
        record.error = "KeyError"
    return inner


def _wrapped(before: Line, text: str) -> bool:
    """Whether a terminal has broken a line in the middle of a word."""
    width = len(before.prefix) + len(before.text)
    return width >= _WIDTH and before.text[-1:].isalpha() and text[:1].islower()


def _level(line: Line) -> Level:
    return Level.ERROR if line.level is None else line.level
