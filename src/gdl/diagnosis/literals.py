"""Which plain text a line must hold for a pattern to match: what makes reading a log quick."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache

_STANDS_FOR_ITSELF = re.compile(r"[^A-Za-z0-9]")
_GROUP = re.compile(r"\((?:\?:|\?P<\w+>)?([^?].*)\)", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]+|[^\x00-\x7f]+")


@cache
def required(pattern: str) -> tuple[str, ...]:
    """A text for each alternative of a pattern: a line can match only if it holds one of them. Each
    has a word: a run of letters, or of characters beyond ASCII.

    Raises ValueError for an alternative without such a text. Groups, classes and repeated
    characters are passed over, so it understands every pattern and asks for less than it could.
    """
    found: list[str] = []
    for branch in _branches(pattern):
        texts = [
            (len(max(words, key=len)), text) for text in _runs(branch) if (words := _words(text))
        ]
        if texts:
            found.append(max(texts)[1])
        else:
            # One of a group's alternatives is needed, where all of them hold a text.
            found += _of_a_group(branch)
    return tuple(found)


def _of_a_group(branch: list[str]) -> tuple[str, ...]:
    for at, piece in enumerate(branch):
        inner = _GROUP.fullmatch(piece)
        may_be_missing = branch[at + 1 : at + 2] and branch[at + 1][0] in "?*{"
        if inner is None or may_be_missing:
            continue
        with suppress(ValueError):
            return required(inner[1])
    raise ValueError(f"no plain text is needed for {branch!r}")


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _pieces(pattern: str) -> list[str]:
    """Characters, escapes, whole classes and whole groups, in order."""
    pieces, at = [], 0
    while at < len(pattern):
        end = at + 1
        if pattern[at] == "\\":
            end = at + 2
        elif pattern[at] == "[":
            end = _class_end(pattern, at)
        elif pattern[at] == "(":
            end = _group_end(pattern, at)
        elif pattern[at] == "{":
            end = pattern.index("}", at) + 1
        pieces.append(pattern[at:end])
        at = end
    return pieces


def _class_end(pattern: str, at: int) -> int:
    at += 2 if pattern.startswith("[^", at) else 1
    if pattern[at] == "]":
        at += 1
    while pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at + 1


def _group_end(pattern: str, at: int) -> int:
    depth = 0
    while True:
        if pattern[at] == "\\":
            at += 1
        elif pattern[at] == "[":
            at = _class_end(pattern, at) - 1
        elif pattern[at] == "(":
            depth += 1
        elif pattern[at] == ")":
            depth -= 1
            if not depth:
                return at + 1
        at += 1


def _branches(pattern: str) -> list[list[str]]:
    branches: list[list[str]] = [[]]
    for piece in _pieces(pattern):
        if piece == "|":
            branches.append([])
        else:
            branches[-1].append(piece)
    return branches


def _runs(pieces: list[str]) -> list[str]:
    """The runs of characters that stand for themselves."""
    runs = [""]
    for piece in pieces:
        if piece[0] in "?*{":
            # What it repeats may be missing.
            runs[-1] = runs[-1][:-1]
            runs.append("")
        elif piece[0] == "\\" and _STANDS_FOR_ITSELF.fullmatch(piece[1]):
            runs[-1] += piece[1]
        elif len(piece) > 1 or piece in ".^$+":
            runs.append("")
        else:
            runs[-1] += piece
    return runs
