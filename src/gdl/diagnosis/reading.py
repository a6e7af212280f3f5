"""From the lines of a log to records: each stream apart, tools' complaints joined."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

from gdl.diagnosis.prefixes import unwrapped
from gdl.diagnosis.programs import Recognizer, programs_of, whose
from gdl.diagnosis.records import Level, Line, Log, Record
from gdl.diagnosis.rules import EngineLog
from gdl.diagnosis.tracebacks import TRACEBACK, StreamParser

_HEADS = re.compile(
    r"\s*×\s|error: (?!subprocess-exited)|Error response from daemon|docker: |"
    r"ERROR: failed to solve"
)
"""What a complaint of several lines begins with: uv's, docker's, a compiler's."""
_MORE = re.compile(
    r"\s*[│├╰▶╭]|\s+\S|hint: |\s*(?:[Cc]ause|Caused by)s?\b|nvidia-container-cli|\[std(?:err|out)\]"
)
_CAUSE = re.compile(r"(?:╰─?[▶>─]*|[Cc]aused? ?(?:by)?:) ?")
_HINT = re.compile(r"hint: |$")
_BELOW = re.compile(r"nvidia-container-cli: (?:\w+ error: )?")
_MORE_LINES = 40
_NEXT = 3
_GAP = 200
"""Lines of other streams that may stand between two of one complaint."""
_WARNS = re.compile(r"^(?:\S+:\d+: )?\w*Warning: |^[Ww]arning: |^WARN(?:ING)?\b|^npm WARN")

_COMMAND = re.compile(
    r"\s*(?:[$❯➜] \S|\+ [\w./-]|(?:\([\w.-]+\) ?)?[\w.-]+@[\w.-]+:[^$#]{0,80}[$#] \S|"
    r"(?:sudo |[A-Z][A-Z0-9_]{2,}=\S* )*(?:export \w+=|docker run |podman run |vllm serve |"
    r"uv (?:pip|sync|add|run|venv|lock) |pip3? install |python[\d.]* -m ))"
)
"""What somebody typed, and the log repeats: it names options and variables, and is no error."""


def read(numbered: Iterable[tuple[int, str]], logs: Sequence[EngineLog] = ()) -> Log:
    """Records of lines given as (number, line); the numbers may have gaps. Never raises.

    logs: of the engines that it may be of.
    """
    parsers: dict[str, StreamParser] = {}
    recognizer = Recognizer(logs)
    incidents = count(1)
    lines: list[Line] = []
    records: list[Record] = []
    last, owner = None, ""
    below: Level | None = None
    for line in (line for number, raw in numbered for line in unwrapped(number, raw)):
        recognizer.take(line.raw)
        if not line.stream and (stream := _owner(line, last, owner, parsers)):
            # A message of several lines, of which only the first says whose it is.
            owner = stream
            line = replace(line, stream=stream)
        else:
            owner = ""
        if line.level is not None:
            # What a logger breaks into lines after its prefix has that line's level.
            below = None if line.text.strip() else line.level
        elif below is not None and line.text[:1] == " ":
            line = replace(line, level=below)
        else:
            below = None
        last = line
        lines.append(line)
        parser = parsers.get(line.stream)
        if parser is None:
            parser = parsers[line.stream] = StreamParser(lambda: next(incidents))
        records += parser.take(line)
    for parser in parsers.values():
        records += parser.end()
    streams: dict[str, list[Line]] = {}
    for line in lines:
        streams.setdefault(line.stream, []).append(line)
    for each in streams.values():
        records += _blocks(each, incidents)
    words = whose([record.text for record in records])
    for record, own in zip(records, words, strict=True):
        record.programs = programs_of(record, own)
        if not record.raised and _WARNS.match(record.text):
            record.level = Level.WARNING
        elif not record.raised and record.line.level is None and _COMMAND.match(record.text):
            record.level = Level.INFO
    records.sort(key=lambda record: (record.line.number, record.part))
    _inherit(records)
    program = recognizer.program(records)
    return Log(
        lines,
        records,
        program,
        recognizer.versions.get(program, ""),
        engines=recognizer.engines,
    )


def _owner(line: Line, last: Line | None, owner: str, parsers: Mapping[str, StreamParser]) -> str:
    """The stream of a line that names none itself, or ""."""
    if last is None or line.number > last.number + 1 or TRACEBACK in line.text:
        return ""
    if owner:
        # After lines of a traceback without prefixes, one with a prefix is another message.
        goes_on = parsers[owner].begun and not (line.prefix and not last.prefix)
        return owner if goes_on else ""
    headed = last.stream and parsers[last.stream].headed
    return last.stream if headed and line.text.lstrip().startswith('File "') else ""


def _inherit(records: Iterable[Record]) -> None:
    """A plain line that does not tell whose it is, is of the tool that spoke right before it."""
    before: dict[str, Record] = {}
    for record in records:
        last = before.get(record.stream)
        plain = not record.programs and not record.error and record.line.level is None
        if plain and last is not None and record.line.number - last.last.number <= _NEXT:
            record.programs = last.programs
        before[record.stream] = record


def _blocks(lines: Sequence[Line], incidents: Iterator[int]) -> Iterator[Record]:
    """Complaints of several lines, each as one record more."""
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if not _HEADS.match(line.text):
            continue
        parts = [line]
        while at < len(lines) and len(parts) < _MORE_LINES and _goes_on(lines[at], parts[-1]):
            parts.append(lines[at])
            at += 1
        if len(parts) > 1:
            text = " ".join(" ".join(part.text.split()) for part in parts)
            text = re.sub(r" ?[│├╰▶╭─]+▶? ?", " ", text).strip()
            yield Record(text, line, parts[-1], Level.ERROR, next(incidents), _head(parts))


def _head(parts: Sequence[Line]) -> str:
    """A complaint's first words and its last cause; of docker's what the tool below it said."""
    texts = [" ".join(part.text.split()) for part in parts]
    if below := [text[found.start() :] for text in texts if (found := _BELOW.search(text))]:
        return below[-1]
    causes = [at for at, text in enumerate(texts) if at and _CAUSE.match(text)]
    if not causes:
        return texts[0]
    last = _CAUSE.sub("", texts[causes[-1]])
    if causes[-1] + 1 < len(texts) and not _HINT.match(texts[causes[-1] + 1]):
        last += f" {texts[causes[-1] + 1]}"
    return f"{texts[0].rstrip(':')}: {last}"


def _goes_on(line: Line, before: Line) -> bool:
    if line.stamp != before.stamp or line.number > before.number + _GAP:
        return False
    return not line.text.strip() or _MORE.match(line.text) is not None
