"""Recipes: which one a model gets, and that the data hangs together."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from gdl.domain.model import Model
from gdl.domain.model_facts import FactsSource, ModelFacts
from gdl.engines.python.versions import parse
from gdl.engines.vllm.recipes import Recipe, recipe_of
from gdl.hub import catalogue, names

FOLDER = files("gdl.engines.vllm")
RAW = tomllib.loads(FOLDER.joinpath("recipes.toml").read_text("utf-8"))
ARCHITECTURES = json.loads(FOLDER.joinpath("architectures.json").read_text("utf-8"))


def of(typed: str) -> Recipe:
    return recipe_of(names.resolve(typed))


def told(ident: str, architecture: str, template: str | None = None, **more: Any) -> Model:
    """A model that the hub has just described."""
    facts = ModelFacts(
        ident,
        FactsSource.HUB,
        config={"architectures": [architecture]},
        chat_template=template,
        **more,
    )
    return Model(ident, "hub", ident, ident, facts=facts)


@pytest.mark.parametrize(
    ("typed", "tools", "reasoning", "first"),
    [
        ("qwen3-8b", "hermes", "qwen3", "0.8.4"),
        ("qwen3-4b-2507", "hermes", "", "0.8.4"),
        ("qwen3-coder-30b", "qwen3_coder", "", "0.8.4"),
        ("qwen3.5-9b", "qwen3_coder", "qwen3", "0.17.0"),
        ("gpt-oss-20b", "openai", "openai_gptoss", "0.10.1"),
        ("gemma-4-12b", "gemma4", "gemma4", "0.23.0"),
        ("muse-glimmer-30b", "muse_glimmer", "muse_glimmer", "0.28.0"),
        ("glm-4.7-flash", "glm47", "glm45", "0.15.0"),
        ("glm-5.3-flash", "glm47", "glm47", "0.30.0"),
        ("deepseek-v3.1", "deepseek_v31", "deepseek_v3", "0.6.6"),
        ("deepseek-v4.1-flash", "deepseek_v41", "deepseek_v41", "0.30.0"),
        ("tinyllama", "", "", ""),
    ],
)
def test_a_model_of_the_catalogue(typed: str, tools: str, reasoning: str, first: str) -> None:
    found = of(typed)
    assert (found.tool_parser, found.reasoning_parser, found.min_vllm) == (tools, reasoning, first)


def test_templates_modes_and_environment() -> None:
    assert of("gemma-4-31b").chat_template == "tool_chat_template_gemma4.jinja"
    assert of("mistral-7b").arguments[:2] == ("--tokenizer-mode", "mistral")
    assert of("glm-5.3-flash").environment == {"VLLM_ENGINE_READY_TIMEOUT_S": "3600"}
    assert of("kimi-k2.6").trust_remote_code and not of("qwen3.5-9b").trust_remote_code
    assert of("qwen3-vl-8b").modalities == ("image", "video")


def test_a_variant_has_the_recipe_of_its_model_unless_it_has_one_of_its_own() -> None:
    assert of("Qwen/Qwen3-32B-FP8") == of("qwen3-32b:fp8") == of("qwen3-32b")
    nvfp4 = of("nvidia/Qwen3.6-35B-A3B-NVFP4")
    assert nvfp4.advised_vllm == "0.28.0" and nvfp4.tool_parser == "qwen3_coder"
    fp8 = of("poolside/Laguna-XS-2.1-FP8")
    assert fp8.environment == {"VLLM_BLOCKSCALE_FP8_GEMM_FLASHINFER": "0"}
    assert fp8.reasoning_parser == "poolside_v1"


def test_a_copy_that_only_the_hub_knows_has_the_recipe_of_its_base_model() -> None:
    copy = told(
        "me/qwen3-8b-mine", "Qwen3ForCausalLM", base_models=(("quantized", "Qwen/Qwen3-8B"),)
    )
    assert recipe_of(copy).reasoning_parser == "qwen3"
    tuned = told(
        "me/qwen3-8b-mine", "Qwen3ForCausalLM", base_models=(("finetune", "Qwen/Qwen3-8B"),)
    )
    assert recipe_of(tuned).reasoning_parser == ""


def test_an_unknown_model_of_a_known_family_gets_what_its_chat_template_shows() -> None:
    instruct = recipe_of(told("me/new", "Qwen3ForCausalLM", "{{ '<tool_call>' }}"))
    assert (instruct.tool_parser, instruct.reasoning_parser) == ("hermes", "")
    thinking = recipe_of(told("me/new", "Qwen3ForCausalLM", "<tool_call> enable_thinking"))
    assert thinking.reasoning_parser == "qwen3"
    assert not thinking.verified and thinking.min_vllm == "0.8.4"
    bare = recipe_of(told("me/new", "Qwen3ForCausalLM"))
    assert (bare.tool_parser, bare.min_vllm) == ("", "0.8.4")


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        ("... [TOOL_CALLS] ...", "mistral"),
        ("... <|python_tag|> ...", "llama3_json"),
        ("<tool_call>\n<function=", "qwen3_coder"),
        ("<tool_call>", "hermes"),
        ("{{ messages }}", ""),
    ],
)
def test_a_model_of_no_family_is_known_by_its_chat_template(template: str, parser: str) -> None:
    found = recipe_of(told("me/llama", "LlamaForCausalLM", template))
    assert (found.tool_parser, found.reasoning_parser) == (parser, "")


def test_an_architecture_that_releases_dropped_has_a_last_one() -> None:
    found = recipe_of(told("tiiuae/falcon-40b", "RWForCausalLM"))
    assert (found.min_vllm, found.last_vllm) == ("", "0.28.0")
    assert recipe_of(told("me/x", "NobodysForCausalLM")) == Recipe()


def test_the_repositorys_own_class_decides_once_the_hub_has_told_it() -> None:
    # The catalogue's configuration is the text model's alone, whose class came later.
    assert of("qwen3.5-9b").min_vllm == "0.17.0"
    text_alone = told("Qwen/Qwen3.5-9B", "Qwen3_5ForCausalLM")
    assert recipe_of(text_alone).min_vllm == "0.27.0"


def test_a_gguf_file_is_read_by_older_releases_with_the_originals_tokenizer() -> None:
    found = of("qwen3-8b:Q4_K_M")
    assert found.last_vllm == "0.23.0"
    assert found.arguments == ("--tokenizer", "Qwen/Qwen3-8B")
    assert "mistral" not in of("mistralai/Devstral-Small-2-24B-Instruct-2512:Q4_K_M").arguments
    assert of("some/Model-7B-GGUF:Q8_0").last_vllm == "0.23.0"


def test_every_recipe_is_complete_and_named_once() -> None:
    rows = RAW["recipe"]
    all_names = [row["name"] for row in rows]
    ids = [ident.casefold() for row in rows for ident in row["ids"]]
    families = [each for row in rows for each in row.get("families", ())]
    for each in (all_names, ids, families):
        assert len(set(each)) == len(each)
    for row in rows:
        assert row["ids"] and row["source"], row["name"]
        assert all(trap.endswith(".") for trap in row.get("traps", ()))
        for architecture in (*row.get("families", ()), *filter(None, [row.get("architecture")])):
            assert architecture in ARCHITECTURES
        assert set(row.get("modalities", ())) <= {"image", "audio", "video"}
        assert set(row) <= {
            "name", "ids", "architecture", "families", "tools_mark", "reasoning_mark",
            "tool_parser", "reasoning_parser", "chat_template", "arguments", "environment",
            "trust_remote_code", "modalities", "advised_vllm", "traps", "source", "verified",
            "like",
        }  # fmt: skip


@pytest.mark.parametrize("entry", catalogue.entries(), ids=lambda entry: entry.alias)
def test_every_model_of_the_catalogue_has_releases_that_know_it(entry: catalogue.Entry) -> None:
    found = recipe_of(names.of_entry(entry))
    if entry.alias != "ling-3.0-flash":  # whose class no source names
        assert found.architecture in ARCHITECTURES
    if found.advised_vllm:
        assert parse(found.min_vllm or "0") <= parse(found.advised_vllm) <= parse("0.33.0")
    assert found.last_vllm == ""
    if not found.name:
        old = "gemma-2b gemma-7b phi-1.5 phi-2 qwen2-1.5b qwen2-7b tinyllama"
        assert entry.alias in old.split(), "only what was never made for tools has no recipe"


def test_facts_are_not_needed() -> None:
    model = replace(names.resolve("qwen3-8b"), facts=None)
    assert recipe_of(model).tool_parser == "hermes"
    assert recipe_of(Model("x", "attached", "org/x", "x")) == Recipe()
