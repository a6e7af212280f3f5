"""What a value must be, in words for people: libraries that check values speak to programmers."""

from __future__ import annotations

from collections.abc import Mapping

_MUST_BE = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a table",
    "model": "a table",
    "finite": "a finite number",
    "literal": "one of {expected}",
    "greater_than": "greater than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
}
"""By the beginning of the name that pydantic has for what is wrong; the longest one counts."""


def must_be(kind: str, limits: Mapping[str, object]) -> str:
    """Such as "must be at least 1"; "" for what only the check itself can tell. kind, limits: an
    error's `type` and `ctx`."""
    known = [name for name in _MUST_BE if kind == name or kind.startswith(f"{name}_")]
    if not known:
        return ""
    return f"must be {_MUST_BE[max(known, key=len)].format(**limits)}"


def of_problem(problem: Mapping[str, object]) -> str:
    """The words for an error as pydantic lists it: what must be, or what its own check said."""
    limits = problem.get("ctx")
    told = must_be(str(problem["type"]), limits if isinstance(limits, Mapping) else {})
    return told or str(problem["msg"]).removeprefix("Value error, ")


def about(name: str, told: str) -> str:
    """A sentence on what is called `name`, "" for what has none, from what `of_problem` told."""
    if not name:
        return told
    return f"{name} {told}" if told.startswith("must be ") else f"{name}: {told}"
