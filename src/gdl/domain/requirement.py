"""What a value must be, in words for people: libraries that check values speak to programmers."""

from __future__ import annotations

from collections.abc import Mapping

_MUST_BE = {
    "a number": ("float_type", "float_parsing"),
    "a whole number": ("int_type", "int_parsing", "int_from_float", "int_parsing_size"),
    "true or false": ("bool_type", "bool_parsing"),
    "text": ("string_type",),
    "a list": ("list_type", "tuple_type"),
    "a table": ("dict_type", "model_type", "model_attributes_type"),
    "a finite number": ("finite_number",),
    "one of {expected}": ("literal_error",),
    "of the form {pattern}": ("string_pattern_mismatch",),
    "greater than {gt:g}": ("greater_than",),
    "at least {ge:g}": ("greater_than_equal",),
    "less than {lt:g}": ("less_than",),
    "at most {le:g}": ("less_than_equal",),
}
"""With the names that pydantic has for what is wrong then."""


def must_be(kind: str, limits: Mapping[str, object]) -> str:
    """Such as "must be at least 1"; "" for what only the check itself can tell. kind, limits: an
    error's `type` and `ctx`."""
    words = next((words for words, types in _MUST_BE.items() if kind in types), "")
    return f"must be {words.format(**limits)}" if words else ""


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
