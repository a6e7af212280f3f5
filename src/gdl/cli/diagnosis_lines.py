"""A diagnosis as lines, none of them longer than the screen."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gdl.presentation.lines import plain

if TYPE_CHECKING:
    from gdl.diagnosis.rule_engine import Candidate, Diagnosis

_LEAST_WIDTH = 20
_STATES = {
    "failed": "the log tells of a failure",
    "healthy": "nothing in the log went wrong: the server serves",
    "unfinished": "the log ends without an error, and before anything serves",
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
        yield "  it is applied without being asked for, unless auto_fix is off"
    chosen = [each for each in found.considered if not each.why]
    others = [each for each in found.considered if each.why]
    yield "" if chosen or others else "no rule knows any of its words"
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
    """Words that are longer than the screen, such as paths, are cut where it ends."""
    begins = "    " if text.startswith("  > ") else "  "
    rows = textwrap.wrap(
        text,
        width,
        subsequent_indent=begins,
        break_on_hyphens=False,
        replace_whitespace=True,
        drop_whitespace=True,
    )
    return rows or [""]
