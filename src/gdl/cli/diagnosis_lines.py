"""A diagnosis as lines, none of them longer than the screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gdl.presentation.lines import plain

if TYPE_CHECKING:
    from gdl.diagnosis.rule_engine import Candidate, Diagnosis

_LEAST_WIDTH = 20
_STATES = {
    "failed": "the log shows a failure",
    "healthy": "nothing went wrong in this log: the server serves",
    "unfinished": "the log ends without an error, before anything serves",
}
_CAUSE, _LINE, _CANDIDATE = 600, 300, 160


def lines(found: Diagnosis, width: int, *, explain: bool) -> Iterator[str]:
    """What `gdl-tui diagnose` says. explain: why, line by line."""
    width = max(width, _LEAST_WIDTH)
    for text in (*_answer(found), *(_explained(found) if explain else ())):
        yield from _folded(text, width)


def _answer(found: Diagnosis) -> Iterator[str]:
    yield f"cause: {plain(found.cause, _CAUSE)}"
    yield f"remedy: {plain(found.remedy, _CAUSE)}"
    if found.action.same_machine:
        yield f"on the same machine: {plain(found.action.words, 200)}"
    yield f"rule: {found.rule} ({found.confidence} confidence)"
    if found.headline:
        yield f"error: {plain(found.headline, _LINE)}"
    if whose := _whose(found):
        yield f"log: {whose}"
    for line in found.evidence:
        yield f"  > {plain(line, _LINE)}"


def _whose(found: Diagnosis) -> str:
    name = " ".join(each for each in (found.program, found.version) if each)
    if found.stage:
        name = f"{name or 'a server'}, last stage: {found.stage}"
    return plain(name, 200)


def _explained(found: Diagnosis) -> Iterator[str]:
    yield ""
    if found.lines != (0, 0):
        yield f"read in {_numbers(found.lines)} of the log"
    if found.where:
        yield f"raised in {plain(found.where, 200)}"
    yield _STATES[found.state]
    yield f"what the remedy would do: {plain(found.action.words, 200)}"
    if found.action.automatic:
        yield "  it is applied without asking, unless automatic fixes are off"
    chosen = [each for each in found.considered if not each.why]
    others = [each for each in found.considered if each.why]
    yield "" if chosen or others else "no rule matches any of its lines"
    for each in chosen:
        yield f"chosen: {each.rule}, for {_candidate(each)}"
    for each in others:
        yield f"not {each.rule}: {plain(each.why, 200)}; {_candidate(each)}"


def _candidate(each: Candidate) -> str:
    return f"{_numbers(each.lines)}: {plain(each.text, _CANDIDATE)}"


def _numbers(span: tuple[int, int]) -> str:
    first, last = span
    return f"line {first}" if first == last else f"lines {first} to {last}"


def _folded(text: str, width: int) -> list[str]:
    """Broken between words; words that are longer than the screen, such as paths, are cut where it
    ends."""
    indent = "    " if text.startswith("  > ") else "  "
    rows: list[str] = []
    words = text.lstrip().split(" ")
    row = text[: len(text) - len(text.lstrip())] + words.pop(0)
    while _cells(row) > width:
        rows.append(_head(row, width))
        row = indent + row[len(rows[-1]) :]
    for word in words:
        longer = f"{row} {word}"
        if _cells(longer) <= width:
            row = longer
            continue
        if row.strip():
            rows.append(row)
        rest = indent + word
        while _cells(rest) > width:
            head = _head(rest, width)
            rows.append(head)
            rest = indent + rest[len(head) :]
        row = rest
    return [*rows, row]


def _cells(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _head(text: str, width: int) -> str:
    """As much of it as the screen's width holds."""
    end = width
    while _cells(text[:end]) > width:
        end -= 1
    return text[:end]
