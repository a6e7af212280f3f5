"""Offers for a model whose configuration is known: an answer for each type of machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gdl.domain.model import Model
from gdl.domain.model_facts import FactsSource, GgufFacts, ModelFacts, RepoFile
from gdl.domain.offers import Offer, OfferQuery, RankedOffer
from gdl.domain.ranking import Ranking
from gdl.domain.requirements.allocation import Load
from gdl.domain.requirements.gpus import of_driver, of_listing
from gdl.domain.requirements.of_facts import architecture_of
from gdl.engines.registry import get
from gdl.orchestrator.leasing.requirements import fits_of, needed_of, runs_on
from gdl.settings import Install, Settings

CONFIG = Path(__file__).parent / "data/hub/llama-3.1-8b/config.json"
FACTS = ModelFacts(
    "meta-llama/Llama-3.1-8B-Instruct",
    FactsSource.HUB,
    config=json.loads(CONFIG.read_text("utf-8")),
    files=(RepoFile("model.safetensors", 16_060_522_496),),
)
LLAMA = Model("llama", "hub", FACTS.id, "llama", facts=FACTS)


def offer(id: str, gpu: str, vram: float, count: int = 1, price: float = 1.0) -> Offer:
    return Offer(id, "market", "somebody", gpu, count, vram, price)


OFFERS = (
    offer("small", "RTX 3060", 12, price=0.1),
    offer("one", "RTX 4090", 24, price=0.3),
    offer("three", "RTX 4090", 24, count=3, price=0.9),
    offer("big", "H100 SXM", 80, price=2.0),
)


def ranked(query: OfferQuery, model: Model = LLAMA) -> dict[str, RankedOffer]:
    fits = fits_of(get("vllm"), model, query, Settings())
    return {row.offer.id: row for row in Ranking(OFFERS, query).ranked(fits)}


def test_the_reason_names_what_is_short_and_what_would_help() -> None:
    rows = ranked(OfferQuery(context=32768, concurrency=2))
    assert list(rows) == ["three", "big", "small", "one"]
    why = rows["one"].excluded
    assert why is not None and why.endswith("GB short per GPU; AWQ variant fits; FP8 cache fits")
    assert rows["one"].exclusion == "vram"
    # No single change makes twelve gigabytes hold it, but more of them do.
    assert str(rows["small"].excluded).endswith("GB short per GPU; 4 such GPUs fit")


def test_what_fits_says_how_many_requests() -> None:
    rows = ranked(OfferQuery(context=32768, concurrency=2))
    pair, big = rows["three"].allocation, rows["big"].allocation
    assert pair is not None and big is not None
    # Three GPUs cannot share its heads: two of them do.
    assert pair.load.tensor_parallel == 2
    assert big.words == f"fits {big.sequences} x 32k"
    assert (rows["big"].headroom_gb or 0) > (rows["three"].headroom_gb or 0) > 0


def test_another_context_is_another_answer_in_the_same_order() -> None:
    query = OfferQuery(concurrency=1)
    ranking, engine = Ranking(OFFERS, query), get("vllm")
    suitable = {}
    for context in (2048, 16384, 131072):
        fits = fits_of(engine, LLAMA, replace(query, context=context), Settings())
        suitable[context] = [r.offer.id for r in ranking.ranked(fits) if r.excluded is None]
    assert suitable[2048] == ["one", "three", "big"]
    assert suitable[131072] == ["three", "big"]


def test_a_name_alone_is_a_guess_for_all_gpus_together() -> None:
    guessed = Model("org/unknown-7b", "hub", "org/unknown-7b", "unknown")
    assert needed_of(get("vllm"), guessed, OfferQuery(), Settings()) is None
    rows = ranked(OfferQuery(), guessed)
    assert all(row.excluded is None and row.allocation is None for row in rows.values())


@pytest.mark.parametrize(
    ("name", "listed", "gib", "capability"),
    [
        ("NVIDIA GeForce RTX 4090", 23, 23.6, (8, 9)),
        ("RTX_4090", 25.8, 23.6, (8, 9)),
        ("RTX 4090", 48, 47.3, (8, 9)),
        ("H100_SXM", 80, 79.2, (9, 0)),
        ("A100 PCIE", 40, 39.4, (8, 0)),
        ("RTX 5090", 32, 31.4, (12, 0)),
        ("Radeon Something", 16, 15.8, None),
    ],
)
def test_a_listing_means_the_card_that_it_names(
    name: str, listed: float, gib: float, capability: tuple[int, int] | None
) -> None:
    found = of_listing(name, listed)
    assert found.memory_gib == pytest.approx(gib, abs=0.15)
    assert found.capability == capability


def test_a_driver_says_more_than_a_program_sees() -> None:
    assert of_driver("NVIDIA L4", 23034).memory_gib == pytest.approx(22.2, abs=0.1)


def test_a_gguf_file_is_sized_by_its_header_and_its_bytes() -> None:
    header = {
        "general.architecture": "llama",
        "llama.block_count": 32,
        "llama.embedding_length": 4096,
        "llama.feed_forward_length": 14336,
        "llama.context_length": 131072,
        "llama.vocab_size": 128256,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 8,
    }
    file = RepoFile("Llama-Q4_K_M.gguf", 4_920_000_000)
    told = GgufFacts((file.path,), "Q4_K_M", file.size_bytes, metadata=header)
    facts = ModelFacts("somebody/Llama-GGUF", FactsSource.HUB, files=(file,), gguf=told)
    model = architecture_of(facts)
    assert model is not None and model.max_context == 131072
    found = get("vllm").memory.allocation(model, Load(8192, 4), of_listing("RTX 3060", 12))
    assert found.weights_bytes == pytest.approx(4.92e9, rel=0.01)
    assert found.kv_bytes == 4 * 8192 * 131072
    # Nothing is quantized twice.
    assert all(lever.value != "fp8" or lever.kind == "kv_fp8" for lever in found.levers)


def test_the_users_own_arguments_count() -> None:
    query = OfferQuery(context=32768, concurrency=2)

    def suitable(*arguments: str) -> list[str]:
        fits = fits_of(get("vllm"), LLAMA, query, Settings(), arguments)
        return [row.offer.id for row in Ranking(OFFERS, query).ranked(fits) if not row.excluded]

    assert suitable() == ["three", "big"]
    assert suitable("--kv-cache-dtype", "fp8") == ["one", "three", "big"]
    assert suitable("--kv-cache-dtype=fp8", "-tp", "2") == ["three"]
    assert suitable("--max-model-len", "many", "--max-num-batched-tokens=-1") == ["three", "big"]


def test_a_gpu_that_no_release_runs_on_is_no_offer_whatever_its_memory() -> None:
    listed = (
        offer("pascal", "GTX 1080 Ti", 11),
        offer("p40", "Tesla P40", 24),
        offer("volta", "Tesla V100", 32),
        offer("other", "Unheard Of", 24),
    )
    query, engine = OfferQuery(context=4096, concurrency=1), get("vllm")
    unknown = Model("org/unknown-7b", "hub", "org/unknown-7b", "unknown")

    def against(model: Model, settings: Settings) -> dict[str, str | None]:
        rows = Ranking(listed, query).ranked(fits_of(engine, model, query, settings))
        assert {row.exclusion for row in rows} <= {None, "unsuited", "vram"}
        return {row.offer.id: row.excluded for row in rows}

    for model in (LLAMA, unknown):
        why = against(model, Settings())
        assert why["pascal"] == why["p40"] == "compute capability 6.1; vLLM needs 7.0"
        assert why["volta"] is why["other"] is None
    newer = Settings(install=Install(version="0.32.0"))
    assert against(LLAMA, newer)["volta"] == "compute capability 7.0; vLLM 0.32.0 needs 7.5"
    # Of the releases that convert weights one by one, none runs on Volta.
    made = replace(query, quantization="fp8")
    gpu = of_listing("Tesla V100", 32)
    assert "fp8 needs vLLM 0.20.0 or newer" in engine.gpu_refusal(gpu, Settings(), LLAMA, made)


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA TITAN X (Pascal)", (6, 1)),
        ("GTX TITAN X", (5, 2)),
        ("Tesla P4", (6, 1)),
        ("Tesla P100", (6, 0)),
        ("Quadro P1000", (6, 1)),
        ("Quadro P4000", (6, 1)),
        ("Quadro M4000", (5, 2)),
        ("GTX 980 Ti", (5, 2)),
        ("Tesla K80", (3, 7)),
        ("GTX 1660 SUPER", (7, 5)),
        ("RTX PRO 6000", (12, 0)),
        ("RTX A4000", (8, 6)),
    ],
)
def test_old_cards_are_known_by_their_names(name: str, capability: tuple[int, int]) -> None:
    assert of_listing(name, 0.0).capability == capability


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("P102-100", (6, 1)),
        ("GT 1030", (6, 1)),
        ("GTX 780", (3, 5)),
        ("Tesla K40", (3, 5)),
        ("Quadro K2200", (5, 0)),
        ("GTX TITAN", (3, 5)),
        ("Quadro RTX 6000", (7, 5)),
        ("Q RTX 4000", (7, 5)),
        ("RTX 6000Ada", (8, 9)),
        ("NVIDIA RTX 6000 Ada Generation", (8, 9)),
        ("RTX 4500Ada", (8, 9)),
        ("RTX 4070S Ti", (8, 9)),
        ("A100-80GB", (8, 0)),
        ("A100 80GB", (8, 0)),
        ("RTX 3070", (8, 6)),
        ("RTX A2000", (8, 6)),
        ("A30", (8, 0)),
        ("NVIDIA A2", (8, 6)),
        ("GT 430", None),
        ("RTX 6000", None),
    ],
)
def test_cards_are_told_apart_by_names_that_are_alike(
    name: str, capability: tuple[int, int] | None
) -> None:
    assert of_listing(name, 0.0).capability == capability


def test_what_the_engine_does_not_run_on_is_no_offer_before_a_model_is_chosen() -> None:
    listed = (
        offer("p40", "Tesla P40", 24),
        offer("amd", "AMD Instinct MI300X OAM", 192),
        offer("ada", "RTX 4090", 23),
    )
    rows = Ranking(listed, OfferQuery()).ranked(runs_on(get("vllm"), Settings()))
    assert {row.offer.id: (row.exclusion, row.excluded) for row in rows} == {
        "ada": (None, None),
        "p40": ("unsuited", "compute capability 6.1; vLLM needs 7.0"),
        "amd": ("unsuited", "a GPU of AMD; vLLM is installed for NVIDIA's"),
    }


@pytest.mark.parametrize("quantization", ["fp8", "bitsandbytes"])
def test_weights_are_not_quantized_on_a_gpu_that_cannot(quantization: str) -> None:
    model, memory = architecture_of(FACTS), get("vllm").memory
    assert model is not None
    load = Load(4096, 1, quantization=quantization)
    volta = memory.allocation(model, load, of_listing("Tesla V100", 32))
    assert not volta.fits and "weights need compute capability 7.5" in volta.words
    assert volta.sequences == volta.longest == volta.missing_bytes == 0
    assert memory.allocation(model, load, of_listing("RTX 2080 Ti", 22)).fits


@pytest.mark.parametrize(
    ("config", "name", "least"),
    [
        ({"quant_method": "fp8"}, "FP8", 7.5),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "MODELOPT-FP8", 8.0),
        ({"quantization": {"quant_algo": "FP8"}}, "MODELOPT-FP8", 8.0),
        ({"quant_method": "modelopt", "quant_algo": "MXFP8"}, "MXFP8", 8.0),
        ({"quant_method": "mxfp8", "weight_block_size": [1, 32]}, "MXFP8", 8.0),
        ({"quant_method": "fbgemm_fp8"}, "FBGEMM-FP8", 8.0),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "NVFP4", 7.5),
        ({"quant_method": "mxfp4"}, "MXFP4", 8.0),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "AWQ", 7.5),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "GPTQ", 7.0),
    ],
)
def test_each_format_asks_for_a_gpu_that_computes_with_it(
    config: dict[str, object], name: str, least: float
) -> None:
    facts = replace(FACTS, config={**FACTS.config, "quantization_config": config})
    model = architecture_of(facts)
    assert model is not None
    for gpu in (of_listing("Tesla V100", 32), of_listing("T4", 16), of_listing("A100", 40)):
        assert gpu.capability is not None
        found = get("vllm").memory.allocation(model, Load(1024, 1), gpu)
        has = gpu.capability[0] + gpu.capability[1] / 10
        assert bool(found.refusal) == (has < least), (gpu, found.words)
        if found.refusal:
            assert found.words.startswith(f"{name} weights need compute capability {least}")
