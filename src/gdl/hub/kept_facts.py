"""Facts as they were kept, read again: nothing of another type than was written gets through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from gdl.domain.model_facts import FactsSource, GgufFacts, ModelFacts, RepoFile

FORMAT = 1
_LINES = ("revision", "asked", "license", "pipeline_tag", "library")
_TABLES = (
    "config",
    "tokenizer_config",
    "generation_config",
    "quantization_config",
    "adapter_config",
    "mistral_params",
)
_WORDS = ("variants", "tags", "withheld")
_MOST = 10**18
"""Bytes or numbers: beyond an exabyte there is no model."""


def restored(kept: object) -> ModelFacts:
    """Facts out of the JSON of a kept file, their source CACHED. Fields that this version does not
    know are passed over, and ones that the file has not get their default. Raises ValueError for a
    file of another form."""
    whole = _table(kept)
    if whole.get("format") != FORMAT:
        raise ValueError("another format")
    known = {each.name for each in fields(ModelFacts)}
    told = {name: each for name, each in _table(whole.get("facts")).items() if name in known}
    read: dict[str, Any] = {}
    for name, value in told.items():
        if name in _LINES:
            read[name] = _line(value)
        elif name in _TABLES:
            read[name] = _table(value)
        elif name in _WORDS:
            read[name] = tuple(_line(each) for each in _list(value))
        elif name in ("gated", "private"):
            read[name] = _flag(value)
        elif name in ("told_at", "last_modified"):
            read[name] = None if value is None else _moment(value)
    gguf, downloads = told.get("gguf"), told.get("downloads")
    ident, template = _line(told.get("id")), told.get("chat_template")
    if not ident:
        raise ValueError("no id")
    return ModelFacts(
        **read,
        id=ident,
        source=FactsSource.CACHED,
        files=tuple(_file(each) for each in _list(told.get("files"))),
        chat_template=None if template is None else _text(template),
        safetensors={name: _whole(n) for name, n in _table(told.get("safetensors", {})).items()},
        gguf=None if gguf is None else _gguf(_table(gguf)),
        downloads=None if downloads is None else _whole(downloads),
        base_models=tuple(_pair(each) for each in _list(told.get("base_models", []))),
    )


def _gguf(told: Mapping[str, Any]) -> GgufFacts:
    return GgufFacts(
        paths=tuple(_line(each) for each in _list(told.get("paths"))),
        quantization=_line(told.get("quantization")),
        size_bytes=_whole(told.get("size_bytes")),
        version=_whole(told.get("version", 3)),
        metadata=_table(told.get("metadata", {})),
        tensor_bytes=_whole(told.get("tensor_bytes", 0)),
        parameters=_whole(told.get("parameters", 0)),
    )


def _file(value: object) -> RepoFile:
    told = _table(value)
    return RepoFile(_line(told.get("path")), _whole(told.get("size_bytes")))


def _pair(value: object) -> tuple[str, str]:
    relation, ident = _list(value)
    return _line(relation), _line(ident)


def _table(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("no table")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("no list")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def _line(value: object) -> str:
    """What was kept has been made printable before."""
    if not (text := _text(value)).isprintable():
        raise ValueError("not printable")
    return text


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MOST:
        raise ValueError("no count")
    return value


def _moment(value: object) -> datetime:
    told = datetime.fromisoformat(_text(value))
    if told.tzinfo is None:
        raise ValueError("a time without a zone")
    try:
        return told.astimezone(UTC)
    except OverflowError:
        raise ValueError("no time of this world") from None
