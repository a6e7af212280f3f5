"""What a log holds once it is read: lines without their prefixes, and records made of them."""

from __future__ import annotations

from dataclasses import field
from enum import IntEnum

from gdl.domain.lazy_dataclass import dataclass


class Level(IntEnum):
    """How bad a line says that it is. One without a level counts as an error: tools have none."""

    INFO = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log.

    number: from 1, in the whole log. text: without prefixes, its indentation kept. stream: whose
    line it is, from pid, rank or container; "" where nothing says. stamp: what the prefixes of one
    message of several lines have in common; "" for a line without level. level: None without one.
    """

    number: int
    raw: str
    text: str
    stream: str = ""
    stamp: str = ""
    level: Level | None = None
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a traceback, and the source line below it ("" when there is none)."""

    path: str
    function: str
    source: str = ""

    @property
    def words(self) -> str:
        return f"{self.path}:{self.function} {self.source}".rstrip()


@dataclass(slots=True)
class Record:
    """What rules are asked about: an exception, a tool's complaint, or one line.

    text: in one line, several lines joined by blanks. head: what of it says most in few words, ""
    for all of it. error: the exception's class without its module, or "". incident: the same for
    all that one failure said: a chain of exceptions, the parts of a group, the lines of a tool's
    complaint. cause: the record that this one came from by `raise ... from`; context: the one it
    was raised while handling. part: a line that is also in another record. programs: whose words
    these are.
    """

    text: str
    line: Line
    last: Line
    level: Level
    incident: int
    head: str = ""
    error: str = ""
    module: str = ""
    frames: tuple[Frame, ...] = ()
    cause: Record | None = None
    context: Record | None = None
    raised: bool = False
    part: bool = False
    programs: frozenset[str] = frozenset()

    @property
    def stream(self) -> str:
        return self.line.stream


@dataclass(slots=True)
class Stage:
    """A sign of progress: what a start had reached by this line. 0 is the beginning of a start,
    1 that it serves."""

    number: int
    name: str
    fraction: float


@dataclass(slots=True)
class Log:
    """A log that was read to its end. lines: those that were looked at closely, in order. program:
    whose log it is ("" when nothing tells), version: the engine's. engines: those whose rules are
    asked; none where it shows no engine."""

    lines: list[Line]
    records: list[Record]
    program: str = ""
    version: str = ""
    stages: list[Stage] = field(default_factory=list)
    engines: frozenset[str] = frozenset()
