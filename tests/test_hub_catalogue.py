from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdl.domain.errors import UsageError
from gdl.engines.registry import get
from gdl.hub import catalogue
from gdl.hub.catalogue import resolve

NAMED = """tinyllama phi-2 phi-1.5 mistral-7b qwen2-7b qwen2-1.5b gemma-7b gemma-2b qwen2.5-0.5b
smollm2-135m llama-3.1-8b qwen2.5-7b"""


@pytest.mark.parametrize("alias", NAMED.split())
def test_aliases_resolve_in_any_case(alias: str) -> None:
    model = resolve(alias.upper())
    assert model == resolve(alias)
    assert model.served_name == alias
    assert model.shape is not None and model.shape.layers > 0


def test_every_known_model_has_a_plausible_shape() -> None:
    for entry in catalogue.entries().values():
        shape = entry.shape
        assert entry.heads % shape.kv_heads == 0, entry.alias
        # The size in a name and the catalogue's agree within a quarter.
        guessed = catalogue.guess_shape(entry.alias)
        if guessed is not None and "phi" not in entry.alias:
            assert guessed.parameters_b == pytest.approx(shape.parameters_b, rel=0.26), entry.alias
        assert 0 < get("vllm").memory.needed(shape).vram_gb < 400


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


def test_a_near_miss_is_answered_with_what_was_meant() -> None:
    with pytest.raises(UsageError, match="tinylama") as caught:
        resolve("tinylama")
    assert "tinyllama" in caught.value.hint


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
