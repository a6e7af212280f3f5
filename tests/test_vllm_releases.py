"""Recipes, flags and first releases beside what vLLM's wheels say.

The program's own tables were read from source archives (recipes.py, server_flags.toml say how);
tests/data/vllm-releases.json was read from the wheels, by other code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Literal

import pytest

import releases_data
from gdl.engines.vllm import server_flags
from gdl.engines.vllm.recipes import Recipe, recipe_of
from gdl.hub import catalogue, names

NEWEST = ("0.32.0", "0.33.0")
CHOICES = {
    "--tokenizer-mode": "tokenizer_modes",
    "--config-format": "config_formats",
    "--load-format": "load_formats",
    "--kv-cache-dtype": "kv_cache_dtypes",
    "--quantization": "quantizations",
}
UNPUBLISHED = ("0.15.0", "0.17.1", "0.7.2")
"""Wheels of releases that the tables of the program have no row for."""

BESIDE = ("TransformersModel",)
"""Stands outside the tables of the registry in some releases."""


def recipes() -> dict[str, Recipe]:
    """Of every model of the catalogue, and of its variants, by hub id."""
    return {ident: recipe_of(names.resolve(ident)) for ident in catalogue.ids()}


def at_least(version: str, other: str) -> bool:
    return releases_data.numbers(version) >= releases_data.numbers(other)


def wanted(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(kind, name) of all that a recipe asks vLLM for."""
    if recipe.tool_parser:
        yield "tool_parsers", recipe.tool_parser
    if recipe.reasoning_parser:
        yield "reasoning_parsers", recipe.reasoning_parser
    words = [part for word in recipe.arguments for part in word.split("=", 1)]
    for at, word in enumerate(words):
        if word.startswith("--"):
            # A field of a configuration is given as --speculative-config.method, too.
            flag = word.partition(".")[0]
            positive = flag.replace("--no-", "--", 1)
            yield "flags", flag if releases_data.knows("flags", flag, NEWEST[-1]) else positive
        if word in CHOICES:
            yield CHOICES[word], words[at + 1]


def test_every_parser_mode_and_flag_of_the_catalogue_is_in_the_newest_releases() -> None:
    unknown = {
        (ident, version, kind, name)
        for ident, recipe in recipes().items()
        for kind, name in wanted(recipe)
        for version in NEWEST
        if not releases_data.knows(kind, name, version)
    }
    assert unknown == set()


def test_the_first_release_of_a_model_is_the_first_whose_wheel_knows_it() -> None:
    checked = 0
    for ident, recipe in recipes().items():
        if not recipe.min_vllm or not recipe.architecture:
            continue
        newer = [v for v in releases_data.releases() if at_least(v, recipe.min_vllm)]
        older = releases_data.releases()[: -len(newer)]
        kind, name = "architectures", recipe.architecture
        assert releases_data.knows(kind, name, newer[0]), (ident, name, newer[0])
        assert not older or not releases_data.knows(kind, name, older[-1]), (ident, name, older[-1])
        checked += 1
    assert checked >= 60


def test_the_release_that_a_recipe_asks_for_has_its_parsers() -> None:
    for ident, recipe in recipes().items():
        for kind, name in wanted(recipe):
            if recipe.advised_vllm and kind.endswith("_parsers"):
                newer = [v for v in releases_data.releases() if at_least(v, recipe.advised_vllm)]
                assert releases_data.knows(kind, name, newer[0]), (ident, name)


@pytest.mark.parametrize(
    ("kind", "ours"),
    [("flags", "flag"), ("tool_parsers", "tool_parser"), ("reasoning_parsers", "reasoning_parser")],
)
def test_flags_and_parsers_of_each_release(
    kind: str, ours: Literal["flag", "tool_parser", "reasoning_parser"]
) -> None:
    assert len(releases_data.names(kind)) >= 40
    differing = [
        (name, version)
        for version in releases_data.releases()
        if version not in UNPUBLISHED
        for name in releases_data.names(kind)
        if releases_data.knows(kind, name, version) != server_flags.knows(ours, name, version)
    ]
    assert differing == []


def test_architectures_of_each_release() -> None:
    table = files("gdl.engines.vllm").joinpath("architectures.json").read_text("utf-8")
    differing = []
    for name, (first, *last) in json.loads(table).items():
        for version in releases_data.releases():
            if name in BESIDE or not releases_data.whole("architectures", name):
                continue
            at = releases_data.numbers(version)
            told = (not first or releases_data.numbers(first) <= at) and (
                not last or at <= releases_data.numbers(last[0])
            )
            if told != releases_data.knows("architectures", name, version):
                differing.append((name, version))
    assert differing == []
