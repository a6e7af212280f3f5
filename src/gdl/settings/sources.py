"""What the environment and the configuration file say, as plain values that `Settings` then checks.

Read here and not by pydantic-settings: importing that takes longer than all else that a short
command does, and of its many sources these two are what is needed.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from gdl.domain.errors import UsageError

PREFIX = "GDL_"
_BETWEEN = "__"
_OLD = (("install", "vllm_version", "version"),)
"""Today's names for what was called otherwise when there was one engine: table, old, new."""


def from_environment(model: type[BaseModel]) -> dict[str, Any]:
    """The fields that variables such as GDL_MAX_PRICE name, in any case; `__` leads into a table,
    and lists and tables may be given as JSON. Other variables are none of ours.

    Raises UsageError for what should be JSON and is not.
    """
    told: dict[str, Any] = {}
    # A whole table before its single fields, which count more.
    for name in sorted(os.environ, key=lambda each: (each.count(_BETWEEN), each)):
        if not name.upper().startswith(PREFIX):
            continue
        path = name[len(PREFIX) :].lower().split(_BETWEEN)
        if path[0] in model.model_fields:
            told = merged(_nested(path, _value(model, path, name)), told)
    return _renamed(told)


def from_file(path: Path) -> dict[str, Any]:
    """The file's values; {} without a file. Raises OSError, UnicodeDecodeError, TOMLDecodeError."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    return _renamed(tomllib.loads(text))


def merged(over: Mapping[str, Any], under: Mapping[str, Any]) -> dict[str, Any]:
    """Both; where a value is told twice, that of `over`. Tables are merged, too."""
    both = {**under, **over}
    for name, value in over.items():
        below = under.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            both[name] = merged(value, below)
    return both


def _value(model: type[BaseModel], path: list[str], variable: str) -> Any:
    """The variable's text, or what it says in JSON where its field holds more than a scalar."""
    text = os.environ[variable]
    if not _holds_more(model, path):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise UsageError(
            f"{variable} is not valid JSON", "lists and tables are given in JSON, as in '[\"a\"]'"
        ) from None


def _holds_more(model: type[BaseModel], path: list[str]) -> bool:
    """Whether a field is a table or a list. What is in neither is text, which pydantic reads."""
    field = model.model_fields.get(path[0])
    if field is None:
        return False
    kind: Any = field.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return len(path) == 1 or _holds_more(kind, path[1:])
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return len(path) == 1 and any(get_origin(each) in (tuple, list, dict) for each in members)


def _nested(path: list[str], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def _renamed(told: dict[str, Any]) -> dict[str, Any]:
    for table, old, new in _OLD:
        values = told.get(table)
        if isinstance(values, dict) and old in values:
            rest = {name: value for name, value in values.items() if name != old}
            told[table] = {new: values[old], **rest}
    return told
