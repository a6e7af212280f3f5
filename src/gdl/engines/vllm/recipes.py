"""How vLLM is to serve a model so that chat, tools and reasoning work (recipes.toml), and which
releases know it (architectures.json).

architectures.json: class of config.json -> [first release, last release]. The first is "" for what
the oldest release looked at (0.4.1) knows already; without a last one, 0.33.0 knows it. Read in the
model registries of 53 releases' source and of 44 releases' wheels, which agree
(tests/data/vllm-releases.json). Also there, without a first one: classes that 0.32 runs with the
code of transformers 5.19 (`is_backend_compatible`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field, replace
from functools import cache
from pathlib import Path
from typing import Any

from gdl import shipped
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.model import Model
from gdl.domain.model_facts import FactsSource, ModelFacts

_SOURCE_TELLS = (FactsSource.HUB, FactsSource.CACHED)
"""Where config.json is the repository's own, class names included."""
_LAST_WITH_GGUF = "0.23.0"
"""Later releases need a package of their own for it: github.com/vllm-project/vllm/issues/39583."""
_MODES = ("--tokenizer-mode", "--config-format", "--load-format")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a model needs beyond its name. The empty one: nothing is known.

    name: as recipes.toml has it. tool_parser, reasoning_parser: as vLLM's registries have them;
    "" for none. chat_template: file in the examples folder of the release's source, needed for
    tools, or "": the model's own will do. arguments: further flags in words. modalities: what the
    model takes beside text: "image", "audio", "video".

    architecture: the class of config.json, or "". min_vllm, last_vllm: the first and the last
    release that know it; "" where there is no such limit, or none is known. advised_vllm: what
    recipes ask for; nothing is refused for it. traps: what goes wrong, a sentence each. source:
    where this is from; dated: as of; verified: see recipes.toml.
    """

    name: str = ""
    tool_parser: str = ""
    reasoning_parser: str = ""
    chat_template: str = ""
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    trust_remote_code: bool = False
    modalities: tuple[str, ...] = ()
    architecture: str = ""
    min_vllm: str = ""
    last_vllm: str = ""
    advised_vllm: str = ""
    traps: tuple[str, ...] = ()
    source: str = ""
    dated: str = ""
    verified: bool = False


@dataclass(frozen=True, slots=True)
class _Family:
    """A recipe for models that nobody named. The marks: what a chat template must hold for the
    parser to be used; "" for nothing."""

    recipe: Recipe
    tools_mark: str
    reasoning_mark: str


def recipe_of(model: Model) -> Recipe:
    """By its id, by the model that it is a quantized copy of, by its architecture, by what its chat
    template says; else the empty one. In any case with the releases that know it."""
    facts = model.facts
    found = _by_name(model, facts)
    if found is None and facts is not None:
        found = _by_family(facts) or _by_mark(facts)
    recipe = _limited(found or Recipe(), facts)
    return _for_gguf(recipe, model) if _is_gguf(model, facts) else recipe


def _by_name(model: Model, facts: ModelFacts | None) -> Recipe | None:
    names = [model.location, model.base]
    if facts is not None:
        names += [facts.id, *(base for kind, base in facts.base_models if kind == "quantized")]
    recipes = _by_id()
    return next((recipes[n.casefold()] for n in names if n.casefold() in recipes), None)


def _by_family(facts: ModelFacts) -> Recipe | None:
    family = next((_families()[a] for a in facts.architectures if a in _families()), None)
    if family is None:
        return None
    template, recipe = facts.chat_template or "", family.recipe
    tools = bool(template) and family.tools_mark in template
    reasoning = bool(template) and family.reasoning_mark in template
    return replace(
        recipe,
        tool_parser=recipe.tool_parser if tools else "",
        chat_template=recipe.chat_template if tools else "",
        reasoning_parser=recipe.reasoning_parser if reasoning else "",
        traps=(),
        verified=False,
    )


def _by_mark(facts: ModelFacts) -> Recipe | None:
    template = facts.chat_template or ""
    for text, parser in _marks():
        if text in template:
            return Recipe(name="as its chat template says", tool_parser=parser, source="vLLM")
    return None


def _limited(recipe: Recipe, facts: ModelFacts | None) -> Recipe:
    """With its architecture, and the first and last release that know that."""
    told = facts.architectures if facts is not None else ()
    if facts is not None and facts.source in _SOURCE_TELLS:
        candidates = (*told, recipe.architecture)
    else:
        candidates = (recipe.architecture, *told)
    known = _architectures()
    architecture = next((each for each in candidates if each in known), "")
    first, last = known.get(architecture, ("", ""))
    return replace(recipe, architecture=architecture, min_vllm=first, last_vllm=last)


def knows(architecture: str) -> bool:
    """Whether some release of vLLM has that class."""
    return architecture in _architectures()


def _is_gguf(model: Model, facts: ModelFacts | None) -> bool:
    return (
        bool(model.file)
        or model.location.casefold().endswith("gguf")
        or (facts is not None and facts.gguf is not None)
    )


def _for_gguf(recipe: Recipe, model: Model) -> Recipe:
    """Of a GGUF file nothing but weights and tokenizer are read, the latter badly: the original's
    is better, where that is known."""
    words = iter(recipe.arguments)
    kept: list[str] = []
    for word in words:
        if word in _MODES:
            next(words, None)
        else:
            kept.append(word)
    tokenizer = ("--tokenizer", model.base) if model.base else ()
    return replace(
        recipe,
        arguments=(*kept, *tokenizer),
        last_vllm=_LAST_WITH_GGUF,
        traps=(
            *recipe.traps,
            f"vLLM reads GGUF files only up to release {_LAST_WITH_GGUF}.",
        ),
    )


# -- the data ------------------------------------------------------------------------------------


@cache
def _by_id() -> dict[str, Recipe]:
    """By hub id in lower case."""
    return {
        ident.casefold(): _all()[row["name"]] for row in _raw()["recipe"] for ident in row["ids"]
    }


@cache
def _families() -> dict[str, _Family]:
    """By class of config.json."""
    return {
        each: _Family(_all()[row["name"]], row.get("tools_mark", ""), row.get("reasoning_mark", ""))
        for row in _raw()["recipe"]
        for each in row.get("families", ())
    }


@cache
def _all() -> dict[str, Recipe]:
    """By name."""
    found: dict[str, Recipe] = {}
    for row in _raw()["recipe"]:
        like = found[row["like"]] if "like" in row else Recipe()
        found[row["name"]] = _recipe(row, like, str(_raw()["dated"]))
    return found


def _recipe(row: Mapping[str, Any], like: Recipe, dated: str) -> Recipe:
    """A recipe that is as `like` where the row does not say otherwise."""
    return replace(
        like,
        name=row["name"],
        tool_parser=row.get("tool_parser", like.tool_parser),
        reasoning_parser=row.get("reasoning_parser", like.reasoning_parser),
        chat_template=row.get("chat_template", like.chat_template),
        arguments=tuple(row.get("arguments", like.arguments)),
        environment={**like.environment, **row.get("environment", {})},
        trust_remote_code=row.get("trust_remote_code", like.trust_remote_code),
        modalities=tuple(row.get("modalities", like.modalities)),
        architecture=row.get("architecture", like.architecture),
        advised_vllm=row.get("advised_vllm", like.advised_vllm),
        traps=tuple(row.get("traps", ())),
        source=row["source"],
        dated=dated,
        verified=row.get("verified", True),
    )


@cache
def _marks() -> tuple[tuple[str, str], ...]:
    return tuple((row["text"], row["tool_parser"]) for row in _raw()["mark"])


@cache
def _architectures() -> dict[str, tuple[str, str]]:
    text = Path(__file__).with_name("architectures.json").read_text("utf-8")
    return {name: (limits[0], limits[1] if len(limits) > 1 else "") for name, limits in
            json.loads(text).items()}  # fmt: skip


@cache
def _raw() -> dict[str, Any]:
    return shipped.table(__file__, "recipes.toml")
