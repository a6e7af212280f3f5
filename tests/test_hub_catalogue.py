"""The catalogue's data: complete, consistent, and in agreement with the models' own figures."""

from __future__ import annotations

import re
from datetime import date
from itertools import chain

import pytest

from gdl.domain.offers import OfferQuery
from gdl.domain.requirements.architecture import read
from gdl.engines.registry import get
from gdl.hub import catalogue, names
from gdl.hub.catalogue import Entry
from gdl.orchestrator.leasing.requirements import needed_of
from gdl.settings import Settings
from gdl.simulator.programs.vllm_longest import own_longest

OLD = {
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "tinyllama": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "phi-1.5": "microsoft/phi-1_5",
    "phi-2": "microsoft/phi-2",
    "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B-Instruct",
    "qwen2.5-1.5b": "Qwen/Qwen2.5-1.5B-Instruct",
    "qwen2.5-3b": "Qwen/Qwen2.5-3B-Instruct",
    "qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct",
    "qwen2.5-14b": "Qwen/Qwen2.5-14B-Instruct",
    "qwen2.5-32b": "Qwen/Qwen2.5-32B-Instruct",
    "qwen2.5-72b": "Qwen/Qwen2.5-72B-Instruct",
    "qwen2-1.5b": "Qwen/Qwen2-1.5B-Instruct",
    "qwen2-7b": "Qwen/Qwen2-7B-Instruct",
    "gemma-2b": "google/gemma-2b-it",
    "gemma-7b": "google/gemma-7b-it",
    "mistral-7b": "mistralai/Mistral-7B-Instruct-v0.3",
    "llama-3.2-1b": "meta-llama/Llama-3.2-1B-Instruct",
    "llama-3.2-3b": "meta-llama/Llama-3.2-3B-Instruct",
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct",
}
"""The aliases of 0.1.0."""
ENTRIES = catalogue.entries()


def test_there_are_many_and_each_is_named_once() -> None:
    assert len(ENTRIES) >= 100
    aliases = [alias for entry in ENTRIES for alias in entry.aliases]
    assert len(set(aliases)) == len(aliases)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,29}", alias) for alias in aliases)
    ids = [ident.casefold() for ident in catalogue.ids()]
    assert len(set(ids)) == len(ids)
    assert all(names.HUB_ID.fullmatch(ident) for ident in catalogue.ids())


def test_an_alias_of_an_earlier_version_means_the_same_model() -> None:
    for alias, ident in OLD.items():
        assert catalogue.by_alias()[alias].id == ident


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.alias)
def test_an_entry_is_complete(entry: Entry) -> None:
    assert entry.source and date(2026, 1, 1) <= entry.dated <= date(2027, 1, 1)
    assert entry.license and (entry.released or entry.alias == "mistral-small-3.2")
    assert 0 < entry.active_b <= entry.parameters_b
    assert entry.size_gb is not None and entry.size_gb > 0
    assert entry.max_context >= 2048
    assert entry.heads > 0 and entry.layers > 0 and entry.heads % entry.kv_heads == 0
    formats = [entry.weights.name, *(v.format.name for v in entry.variants)]
    assert len(set(formats)) == len(formats), "two repositories in one format"
    for variant in entry.variants:
        assert variant.source
        # The size of a GGUF file is that of the one that is chosen.
        assert (variant.size_gb is None) == (variant.format.name == "gguf")
        assert variant.size_gb is None or 0 < variant.size_gb < 2.1 * entry.parameters_b


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.alias)
def test_size_and_parameters_agree_with_the_format(entry: Entry) -> None:
    assert entry.size_gb is not None
    each = entry.size_gb / entry.parameters_b
    if entry.weights.name == "bf16":
        assert each == pytest.approx(2.0, rel=0.02)
    else:
        assert 0.45 < each < 1.15
    shape = entry.shape()
    assert shape.weights_gb == pytest.approx(entry.size_gb, rel=0.02)
    facts = entry.facts()
    assert facts.weights_bytes == pytest.approx(entry.size_gb * 1e9)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.config], ids=lambda entry: entry.alias)
def test_a_configuration_says_what_the_entry_says(entry: Entry) -> None:
    facts = entry.facts()
    shape = read(
        facts.config,
        quantization=facts.quantization_config or None,
        stored_bytes=facts.weights_bytes,
    )
    assert shape.heads == entry.heads
    if not shape.known:
        return
    # All parameters, but for what is not loaded (a draft layer), what is not counted (towers), and
    # an output layer that some repositories store beside the embedding that it is.
    tied = facts.config.get("tie_word_embeddings", False)
    again = shape.vocabulary * shape.hidden_size if tied else 0
    numbers = (shape.numbers / 1e9, (shape.numbers + again) / 1e9)
    closest = min(numbers, key=lambda each: abs(each - entry.parameters_b))
    assert closest == pytest.approx(entry.parameters_b, rel=0.12), shape.notes


def test_most_entries_have_a_configuration_and_most_are_verified() -> None:
    assert sum(1 for entry in ENTRIES if entry.config) >= 95
    assert sum(1 for entry in ENTRIES if entry.verified) >= 40
    # What is said to be verified has one.
    assert all(entry.config for entry in ENTRIES if entry.verified)


def test_quantized_variants_there_are_for_each_kind_of_gpu() -> None:
    found = set(chain.from_iterable((v.format.name for v in e.variants) for e in ENTRIES))
    assert {"fp8", "nvfp4", "mxfp4", "awq", "gptq", "w4a16", "gguf"} <= found
    for each in catalogue.formats().values():
        assert 6.0 <= each.least <= each.native <= 10.0
        assert 0.5 < each.bytes_each <= 2.0


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.alias)
def test_every_model_and_variant_can_be_sized(entry: Entry) -> None:
    engine = get("vllm")
    need = needed_of(engine, names.of_entry(entry), OfferQuery(), Settings())
    assert need is not None and entry.size_gb is not None
    # What is loaded is a little less than what is stored, or a little more.
    assert need.weights_gb == pytest.approx(entry.size_gb, rel=0.22)
    for variant in entry.variants:
        model = names.of_variant(variant.id, entry, variant, variant.id)
        need = needed_of(engine, model, OfferQuery(), Settings())
        assert need is not None
        if variant.size_gb is not None:
            assert need.weights_gb == pytest.approx(variant.size_gb, rel=0.13), variant.id


def test_a_gguf_file_has_the_size_of_its_kind() -> None:
    def weights(typed: str) -> float:
        need = needed_of(get("vllm"), names.resolve(typed), OfferQuery(), Settings())
        assert need is not None
        return need.weights_gb

    assert weights("qwen3-8b:Q4_K_M") == pytest.approx(5.0, rel=0.02)
    assert weights("unsloth/Qwen3-8B-GGUF:Q8_0") == pytest.approx(8.7, rel=0.02)


def test_simulated_servers_know_the_longest_context_of_every_model() -> None:
    told = {ident: own_longest(ident) for entry in ENTRIES for ident in _ids_of(entry)}
    assert told == {
        ident: entry.max_context or None for entry in ENTRIES for ident in _ids_of(entry)
    }
    assert own_longest("/a/path") is None


def _ids_of(entry: Entry) -> list[str]:
    return [entry.id, *(variant.id for variant in entry.variants)]
