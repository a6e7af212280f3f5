from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdl.domain.errors import UsageError
from gdl.engines.registry import get
from gdl.hub.names import resolve, unknown

NAMED = """tinyllama phi-2 phi-1.5 mistral-7b qwen2-7b qwen2-1.5b gemma-7b gemma-2b qwen2.5-0.5b
smollm2-135m llama-3.1-8b qwen2.5-7b"""


@pytest.mark.parametrize("alias", NAMED.split())
def test_aliases_resolve_in_any_case(alias: str) -> None:
    model = resolve(alias.upper())
    assert model == resolve(alias)
    assert model.served_name == alias
    assert model.shape is not None and model.shape.layers > 0


def test_sources() -> None:
    packaged = resolve("smollm2-135m")
    assert (packaged.source, packaged.location) == ("packaged", "models/smollm2-135m")
    hub = resolve("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert (hub.source, hub.location) == ("hub", "HuggingFaceTB/SmolLM2-135M-Instruct")
    assert hub.served_name == hub.location
    path = resolve("~/models/My Model (7B)/")
    assert (path.source, path.location) == ("path", "~/models/My Model (7B)/")
    assert path.served_name == "My-Model-7B"


def test_a_known_hub_id_is_known_whatever_its_case() -> None:
    model = resolve("google/GEMMA-7b-it")
    assert model.gated
    assert model.location == "google/gemma-7b-it"


@pytest.mark.parametrize(
    ("name", "parameters", "each"),
    [
        ("org/Some-7B-Instruct", 7.0, 2.0),
        ("org/some-1.5b", 1.5, 2.0),
        ("org/tiny_135M_chat", 0.135, 2.0),
        ("org/Mix-8x7B-v0.1", 56.0, 2.0),
        ("org/Some-70B-Instruct-AWQ", 70.0, 0.55),
        ("org/some-13b-GPTQ", 13.0, 0.55),
        ("org/some-13b-int4", 13.0, 0.55),
        ("org/some-8B-FP8", 8.0, 1.05),
    ],
)
def test_sizes_are_guessed_from_names(name: str, parameters: float, each: float) -> None:
    shape = resolve(name).shape
    assert shape is not None
    assert shape.parameters_b == pytest.approx(parameters)
    assert shape.bytes_per_parameter == each


@pytest.mark.parametrize("name", ["org/phi-3-mini-4k", "org/model-v2", "org/some-4bit", "org/a1b2"])
def test_a_name_without_a_size_has_no_shape(name: str) -> None:
    assert resolve(name).shape is None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("tinylama", "tinyllama"),
        ("gpt-oss20b", "gpt-oss-20b"),
        ("qwen38b", "qwen3-8b"),
        ("deepsek-v3.1", "deepseek-v3.1"),
        ("gemma3-27b", "gemma-3-27b"),
    ],
)
def test_a_near_miss_is_answered_with_what_was_meant(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match="unknown model") as caught:
        resolve(typed)
    assert f"did you mean {meant}" in caught.value.hint


def test_a_near_miss_of_a_hub_id_is_answered_by_whoever_asked_the_hub() -> None:
    refused = unknown("Qwen/Qwen3-8", ("Qwen/Qwen3-8B-Base",))
    assert "Qwen/Qwen3-8B" in refused.hint


def test_a_variant_is_named_by_its_format_behind_a_colon() -> None:
    model = resolve("Qwen3-32B:FP8")
    assert (model.location, model.served_name) == ("Qwen/Qwen3-32B-FP8", "qwen3-32b-fp8")
    assert model.base == "Qwen/Qwen3-32B"
    by_id = resolve("qwen/qwen3-32b-fp8")
    assert (by_id.location, by_id.base) == (model.location, model.base)
    assert resolve("Qwen/Qwen3-32B:fp8").location == model.location
    plain = resolve("qwen3-32b")
    assert model.shape is not None and plain.shape is not None
    assert 0.5 < model.shape.weights_gb / plain.shape.weights_gb < 0.55
    # What it is stored in already.
    assert resolve("gpt-oss-20b:mxfp4").location == "openai/gpt-oss-20b"


def test_a_file_of_a_gguf_repository_is_named_behind_a_colon() -> None:
    model = resolve("qwen3-8b:q4_k_m")
    assert (model.location, model.file) == ("unsloth/Qwen3-8B-GGUF", "Q4_K_M")
    assert model.served_name == "qwen3-8b-Q4_K_M"
    other = resolve("some/Model-7B-GGUF:IQ3_XS")
    assert (other.location, other.file) == ("some/Model-7B-GGUF", "IQ3_XS")
    assert other.served_name == "some/Model-7B-GGUF:IQ3_XS"


@pytest.mark.parametrize("typed", ["qwen3-8b:int3", "Qwen/Qwen3-8B:int3", "org/name-7B:fp8"])
def test_a_variant_that_nobody_knows_is_refused_with_those_there_are(typed: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(typed)
    assert "hub id" in caught.value.hint


def test_where_the_knowledge_is_from_is_said() -> None:
    def words(typed: str) -> str:
        facts = resolve(typed).facts
        assert facts is not None
        return facts.source_words

    assert words("qwen3-8b") == words("Qwen/Qwen3-8B") == words("qwen3-8b:awq") == "catalogue"
    assert words("org/Some-7B") == words("/models/some-7b") == "guessed from the name"


@pytest.mark.parametrize(
    "name",
    [
        "; touch /tmp/pwned",
        "$(touch /tmp/pwned)",
        "org/name; id",
        "org/$(id)",
        "org/..",
        "../etc",
        "-rf/x",
        "a/b/c",
        "org/",
        "",
        "  ",
        "org/na\nme",
        "/models/a\nb",
        "/models/a\0b",
        "/models/\x1b[2J",
        "/" + "x" * 5000,
        "org/nämе",
    ],
)
def test_hostile_or_malformed_names_are_refused_in_one_printable_line(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(name)
    assert caught.value.message.isprintable() and caught.value.hint
    assert len(caught.value.message) < 120


@given(st.text(max_size=60))
def test_any_name_is_resolved_or_refused(name: str) -> None:
    try:
        model = resolve(name)
    except UsageError:
        return
    assert model.served_name.isprintable() and model.served_name


def test_unknown_engine() -> None:
    with pytest.raises(UsageError, match="unknown engine"):
        get("nope")
