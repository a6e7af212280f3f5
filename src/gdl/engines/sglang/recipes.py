"""recipes.toml and server.toml, read: how SGLang is to serve a model, and which models it knows."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any

from gdl import shipped
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.model import Model
from gdl.domain.model_facts import ModelFacts
from gdl.engines.sglang import server_flags


@dataclass(frozen=True, slots=True)
class Recipe:
    """tool_parser, reasoning_parser: as SGLang's registries have them; "" for none. The rest: see
    recipes.toml. The empty one: nothing is known."""

    name: str = ""
    tool_parser: str = ""
    reasoning_parser: str = ""
    trust_remote_code: bool = False
    traps: tuple[str, ...] = ()


def recipe_of(model: Model) -> Recipe:
    """By its id, by that of the model it is a quantized copy of, by its class and what its chat
    template says; else the empty one."""
    facts = model.facts
    names = [model.location, model.base]
    if facts is not None:
        names += [facts.id, *(base for kind, base in facts.base_models if kind == "quantized")]
    for name in names:
        for row in _rows():
            if any(re.fullmatch(each, name.casefold()) for each in row["ids"]):
                return _recipe(row)
    return _by_family(facts) if facts is not None else Recipe()


def knows(architecture: str) -> bool:
    """Whether SGLang has code of its own for that class."""
    return architecture in server_flags.architectures()


def _by_family(facts: ModelFacts) -> Recipe:
    template = facts.chat_template or ""
    for row in _rows():
        if template and set(facts.architectures) & set(row.get("families", ())):
            found, reasoning = _recipe(row), row.get("reasoning_mark", "")
            return replace(
                found,
                tool_parser=found.tool_parser if row.get("tools_mark", "") in template else "",
                reasoning_parser=found.reasoning_parser if reasoning in template else "",
                traps=(),
            )
    return Recipe()


def _recipe(row: dict[str, Any]) -> Recipe:
    return Recipe(
        name=row["name"],
        tool_parser=row.get("tool_parser", ""),
        reasoning_parser=row.get("reasoning_parser", ""),
        trust_remote_code=row.get("trust_remote_code", False),
        traps=tuple(row.get("traps", ())),
    )


@cache
def _rows() -> tuple[dict[str, Any], ...]:
    return tuple(shipped.table(__file__, "recipes.toml")["recipe"])
