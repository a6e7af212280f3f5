"""What the hub's JSON says, as plain facts. Tolerant: of what is missing or wrong, nothing is
taken; a hub of another kind tells less, and that is no error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from gdl.domain.errors import HubAway
from gdl.domain.model_facts import FactsSource, FoundModel, ModelFacts, RepoFile, bytes_of
from gdl.domain.model_names import is_id
from gdl.domain.text import one_line
from gdl.hub import gguf_files

CHECK_NAME = "check its name"
"""What helps where nothing better is known."""
_MOST_FILES = 20_000
_MOST_TAGS = 500
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_DEEPEST = 20
_RELATIONS = ("adapter", "quantized", "finetune", "merge")


def model_facts(data: Mapping[str, Any], asked: str, told_at: datetime) -> ModelFacts:
    """The answer of /api/models/ID, without the files that are read by themselves."""
    files = _files(data.get("siblings"))
    card = _mapping(data.get("cardData"))
    told = _text(data.get("id") or data.get("modelId"), 200)
    ident = told if is_id(told) else asked
    revision = _text(data.get("sha"), 64)
    config = _mapping(data.get("config"))
    tokenizer = _mapping(config.get("tokenizer_config"))
    tags = _tags(data)
    return ModelFacts(
        id=ident,
        asked=asked if asked != ident else "",
        source=FactsSource.HUB,
        revision=revision if _COMMIT.fullmatch(revision) else "",
        told_at=told_at,
        # A part of config.json, for as long as the whole is not there.
        config={key: config[key] for key in ("architectures", "model_type") if key in config},
        files=files,
        chat_template=_template(config, tokenizer, _mapping(data.get("gguf"))),
        safetensors=_counts(data.get("safetensors")),
        variants=tuple(
            dict.fromkeys(each.quantization for each in gguf_files.variants(files) if each.complete)
        ),
        gated=bool(data.get("gated")),
        private=data.get("private") is True,
        license=_license(card, tags),
        last_modified=_when(data.get("lastModified")),
        downloads=_whole(data.get("downloads")),
        pipeline_tag=_text(data.get("pipeline_tag"), 60),
        library=_text(data.get("library_name"), 60),
        tags=tags,
        base_models=_base_models(card, tags),
    )


def found_models(data: object) -> tuple[FoundModel, ...]:
    """The answer of /api/models?search=..., in its order. Raises HubAway for one of another
    shape."""
    rows = data if isinstance(data, list) else [None]
    if rows and not any(isinstance(row, dict) for row in rows):
        raise HubAway("the model hub does not answer as one", "check HF_ENDPOINT")
    named = (row for row in rows if isinstance(row, dict) and is_id(_text(row.get("id"), 200)))
    return tuple(_found(row) for row in named)


def _found(row: Mapping[str, Any]) -> FoundModel:
    counts = _counts(row.get("safetensors"))
    tags = _tags(row)
    return FoundModel(
        id=_text(row["id"], 200),
        downloads=_whole(row.get("downloads")) or 0,
        parameters=sum(counts.values()),
        stored_bytes=bytes_of(counts),
        license=_license(_mapping(row.get("cardData")), tags),
        gated=bool(row.get("gated")),
        pipeline_tag=_text(row.get("pipeline_tag"), 60),
        library=_text(row.get("library_name"), 60),
        last_modified=_when(row.get("lastModified")),
        tags=tags,
    )


def trimmed(value: Any, longest: int, depth: int = 0) -> Any:
    """JSON without lists and tables of more than `longest` items, such as a vocabulary's added
    tokens. What is nested without measure ends at some depth."""
    if isinstance(value, dict):
        if len(value) > longest or depth > _DEEPEST:
            return {}
        return {str(key): trimmed(each, longest, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        if len(value) > longest or depth > _DEEPEST:
            return []
        return [trimmed(each, longest, depth + 1) for each in value]
    return value


def chat_template(tokenizer_config: Mapping[str, Any]) -> str | None:
    """The template in a tokenizer_config.json: a text, or a list of named ones, of which the one
    for tools counts, then the default."""
    told = tokenizer_config.get("chat_template")
    if isinstance(told, str):
        return told
    named: dict[str, str] = {}
    for each in told if isinstance(told, list) else ():
        if isinstance(each, dict) and isinstance(each.get("template"), str):
            named[str(each.get("name"))] = each["template"]
    return named.get("tool_use") or named.get("default") or next(iter(named.values()), None)


def _template(
    config: Mapping[str, Any], tokenizer: Mapping[str, Any], gguf: Mapping[str, Any]
) -> str | None:
    for told in (config.get("chat_template_jinja"), gguf.get("chat_template")):
        if isinstance(told, str):
            return told
    return chat_template(tokenizer)


def _files(rows: object) -> tuple[RepoFile, ...]:
    files = []
    for row in rows[:_MOST_FILES] if isinstance(rows, list) else ():
        path = row.get("rfilename") if isinstance(row, dict) else None
        if isinstance(path, str) and path and len(path) < 1024 and path.isprintable():
            size = row.get("size")
            if size is None:
                size = _mapping(row.get("lfs")).get("size")
            files.append(RepoFile(path, _whole(size) or 0))
    return tuple(files)


def _counts(data: object) -> dict[str, int]:
    told = _mapping(_mapping(data).get("parameters"))
    counts = {_text(name, 20): _whole(count) for name, count in list(told.items())[:50]}
    return {name: count for name, count in counts.items() if count}


def _tags(data: Mapping[str, Any]) -> tuple[str, ...]:
    told = data.get("tags")
    return tuple(_text(each, 200) for each in (told[:_MOST_TAGS] if isinstance(told, list) else ()))


def _license(card: Mapping[str, Any], tags: Iterable[str]) -> str:
    """A licence of its own has a name on the card ("other" says nothing)."""
    told = _text(card.get("license"), 60)
    if told in ("", "other"):
        told = _text(card.get("license_name"), 60) or told
    return told or next((t.removeprefix("license:") for t in tags if t.startswith("license:")), "")


def _base_models(card: Mapping[str, Any], tags: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The hub's tags tell the relation ("base_model:adapter:org/name"); the card the ids alone."""
    found: dict[str, str] = {}
    for tag in tags:
        if not tag.startswith("base_model:"):
            continue
        relation, _, ident = tag.removeprefix("base_model:").partition(":")
        if not ident:
            relation, ident = "", relation
        if is_id(ident) and (relation in _RELATIONS or ident not in found):
            found[ident] = relation if relation in _RELATIONS else ""
    named = card.get("base_model")
    for each in named[:20] if isinstance(named, list) else [named]:
        if isinstance(each, str) and is_id(each):
            found.setdefault(each, "")
    return tuple((relation, ident) for ident, relation in found.items())


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object, limit: int) -> str:
    return one_line(value, limit) if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    """A count or a size: no negative ones, no truth values, nothing beyond an exabyte."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**18:
        return None
    return value


def _when(value: object) -> datetime | None:
    try:
        told = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if told is not None and told.tzinfo is None:
        told = told.replace(tzinfo=UTC)
    return told
