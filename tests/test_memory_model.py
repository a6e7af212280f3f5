"""Weights and KV cache as vLLM's own code allocates them, worked out from a configuration alone.

tests/data/hub: configurations with vLLM 0.32.0's figures for an H100. tests/data/memory: more of
them, with the options (GPU, tensor parallel, type of the cache, batch) under which its code was
asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdl.domain.requirements import architecture
from gdl.domain.requirements.allocation import GpuKind, LeverKind, Load
from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.fields import UnreadableConfigError
from gdl.domain.requirements.gpus import of_listing
from gdl.domain.requirements.of_facts import architecture_of
from gdl.domain.requirements.weights import loaded_bytes
from gdl.engines.vllm.memory import VllmMemory
from gdl.engines.vllm.memory.model import cache
from gdl.hub import names

DATA = Path(__file__).parent / "data"
HUB = sorted(DATA.glob("hub/*/config.json"))
MORE = sorted(DATA.glob("memory/*.json"))
H100 = GpuKind("NVIDIA H100 80GB HBM3", 80.0, (9, 0))
RTX_4090 = GpuKind("NVIDIA GeForce RTX 4090", 23.5, (8, 9))
WEIGHTS, KV = 0.03, 0.02
"""How far off the figures may be."""


def load_json(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def known(name: str) -> Architecture:
    return architecture.read(load_json(DATA / "hub" / name / "config.json"))


def test_there_are_enough_models() -> None:
    assert len(HUB) == 29
    names = {load_json(p)["config"]["architectures"][0] for p in MORE}
    names |= {load_json(p)["architectures"][0] for p in HUB}
    assert len(names) >= 30


@pytest.mark.parametrize("path", HUB, ids=lambda path: path.parent.name)
def test_hub_models(path: Path) -> None:
    model = architecture.read(load_json(path))
    truth = load_json(path.with_name("truth.json"))
    assert model.known
    assert loaded_bytes(model) == pytest.approx(truth["weights_bytes"], rel=WEIGHTS)
    pool = cache(model, Load(), H100)
    for tokens in (4096, 32768):
        # 0: longer than the model takes.
        if truth[f"kv_{tokens}"]:
            assert pool.bytes_of(tokens) == pytest.approx(truth[f"kv_{tokens}"], rel=KV)


def asked(options: Mapping[str, Any]) -> tuple[Load, GpuKind]:
    major, _, minor = options["capability"].partition(".")
    gpu = GpuKind(options["gpu"], options["gpu_memory_bytes"] / 2**30, (int(major), int(minor)))
    extra = options["extra"]
    load = Load(
        kv_dtype=options["kv_dtype"],
        tensor_parallel=options["tp"],
        batch_tokens=options["batch"] or 0,
        prefix_caching=extra.get("enable_prefix_caching"),
        async_scheduling=extra.get("async_scheduling"),
        language_only=extra.get("language_model_only", False),
    )
    return load, gpu


@pytest.mark.parametrize("path", MORE, ids=lambda path: path.stem)
def test_more_models_gpus_and_options(path: Path) -> None:
    case = load_json(path)
    beside = case.get("files", {}).get("hf_quant_config.json")
    told = None if case["config"].get("quantization_config") else beside
    model = architecture.read(case["config"], quantization=told)
    truth = case["truth"]
    load, gpu = asked(case["options"])
    gpus, text = load.tensor_parallel, load.language_only
    assert loaded_bytes(model, gpus, language_only=text) == pytest.approx(
        truth["weights_bytes"], rel=WEIGHTS
    )
    pool = cache(model, load, gpu)
    for tokens, needed in truth["need"].items():
        assert pool.bytes_of(int(tokens)) == pytest.approx(needed, rel=KV), tokens
    assert gpus in VllmMemory().tp_allowed(model, load)


# -- the answer --------------------------------------------------------------------------------


def test_a_model_that_fits_says_how_many_sequences() -> None:
    found = VllmMemory().allocation(known("llama-3.1-8b"), Load(32768, 4), H100)
    assert found.fits and found.levers == ()
    assert found.words == f"fits {found.sequences} x 32k"
    assert 11 <= found.sequences <= 14
    assert found.longest == 131072


def test_one_that_does_not_says_by_how_much_and_what_would_help() -> None:
    found = VllmMemory().allocation(known("llama-3.1-8b"), Load(32768, 2), RTX_4090)
    assert not found.fits and found.missing_bytes > 0
    levers = {lever.kind: lever.value for lever in found.levers}
    assert levers[LeverKind.KV_FP8] == "fp8"
    assert levers[LeverKind.SEQUENCES] == "1"
    assert levers[LeverKind.QUANTIZATION] == "fp8"
    assert levers[LeverKind.GPUS] == "2"
    assert 16384 <= int(levers[LeverKind.CONTEXT]) < 32768
    assert found.words.endswith("GB short per GPU; FP8 cache fits; 2 x 22k fits")


def test_every_lever_does_what_it_says() -> None:
    memory = VllmMemory()
    for name, load in (
        ("llama-3.1-8b", Load(32768, 2)),
        ("gpt-oss-20b", Load(131072, 4)),
        ("gemma-3-12b", Load(8192, 4)),
    ):
        model = known(name)
        for lever in memory.allocation(model, load, RTX_4090).levers:
            changed = {
                LeverKind.KV_FP8: {"kv_dtype": lever.value},
                LeverKind.CONTEXT: {"context": lever.value},
                LeverKind.SEQUENCES: {"sequences": lever.value},
                LeverKind.QUANTIZATION: {"quantization": lever.value},
                LeverKind.GPUS: {"tensor_parallel": lever.value},
            }[lever.kind]
            values = {k: int(v) if v.isdigit() else v for k, v in changed.items()}
            again = Load(**{**_plain(load), **values})
            assert memory.allocation(model, again, RTX_4090).fits, (name, lever)


def _plain(load: Load) -> dict[str, Any]:
    return {name: getattr(load, name) for name in ("context", "sequences")}


def test_what_cannot_be_split_is_refused_before_it_is_rented() -> None:
    memory = VllmMemory()
    phi = known("phi-4")
    assert memory.tp_allowed(phi, Load()) == (1, 2)
    refused = memory.allocation(phi, Load(tensor_parallel=4), H100)
    assert refused.words == "4 GPUs cannot share 10 KV heads" and not refused.fits
    assert memory.tp_allowed(known("qwen3-30b-a3b"), Load()) == (1, 2, 4, 8, 16)


def test_weights_by_files_omit_the_drafting_layer() -> None:
    config = load_json(DATA / "hub/deepseek_v3/config.json")
    model = architecture.read(config, stored_bytes=688_586_727_753)
    assert loaded_bytes(model) == pytest.approx(673_150_611_808, rel=WEIGHTS)
    without = architecture.read(config, stored_bytes=673_200_000_000)
    assert loaded_bytes(without) == pytest.approx(673_150_611_808, rel=WEIGHTS)


def test_an_output_layer_that_is_stored_twice_is_loaded_once() -> None:
    config = load_json(DATA / "hub/qwen3-0.6b/config.json")
    model = architecture.read(config, stored_bytes=1_503_300_328)
    assert loaded_bytes(model) == pytest.approx(1_192_099_840, rel=WEIGHTS)


def test_mxfp4_is_padded_beyond_its_files() -> None:
    config = load_json(DATA / "hub/gpt_oss_120b/config.json")
    model = architecture.read(config, stored_bytes=65_248_893_184)
    assert loaded_bytes(model) == pytest.approx(70_756_592_256, rel=WEIGHTS)


def test_weights_quantized_while_they_are_loaded() -> None:
    model = known("llama-3.1-8b")
    assert loaded_bytes(model, quantization="fp8") == pytest.approx(9.08e9, rel=WEIGHTS)


# -- configurations that cannot be -------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"hidden_size": "4096"},
        {"hidden_size": -1},
        {"hidden_size": None},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 10**30},
        {"num_hidden_layers": True},
        {"num_attention_heads": {"a": 1}},
        {"num_key_value_heads": 64},
        {"layer_types": ["sliding_attention"] * 10_000},
        {"rope_scaling": {"rope_type": "linear", "factor": "many"}},
        {"max_position_embeddings": 1e400},
        {"num_hidden_layers": 32, "intermediate_size": ["x"]},
    ],
)
def test_a_hostile_configuration_is_a_named_error(changed: dict[str, Any]) -> None:
    config = {**load_json(DATA / "hub/llama-3.1-8b/config.json"), **changed}
    with pytest.raises(UnreadableConfigError, match="configuration cannot be read"):
        architecture.read(config)


_ODD: list[Any] = [
    *(0, 1, 3, 64, -1, 10**6, 10**12, 10**30, None, True, "x", [], [1] * 32, {}, {"a": 1}, 1.5),
    *(float("inf"), float("nan"), ["sliding_attention"] * 8, ["mamba"] * 40, [{}] * 40),
]


@given(st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_a_configuration_is_sized_or_refused_whatever_it_holds(chance: Random) -> None:
    config = load_json(chance.choice(HUB))
    for _ in range(chance.choice((1, 1, 2, 4))):
        other = load_json(chance.choice(HUB))
        name = chance.choice([*config, *other])
        config[name] = chance.choice([other.get(name), *_ODD])
    try:
        model = architecture.read(config, stored_bytes=chance.choice((0, 10**10)))
    except UnreadableConfigError:
        return
    load = Load(chance.choice((1, 4096, 10**6)), tensor_parallel=chance.choice((1, 4)))
    assert VllmMemory().allocation(model, load, chance.choice((H100, RTX_4090))).words


def test_what_is_no_configuration_at_all() -> None:
    long = {str(n): n for n in range(9999)}
    nothing: list[dict[str, Any]] = [{}, {"text_config": {"text_config": {}}}, {"layers": 3}, long]
    for config in nothing:
        with pytest.raises(UnreadableConfigError):
            architecture.read(config)


def test_an_unknown_kind_of_model_is_counted_plainly_and_says_so() -> None:
    config = load_json(DATA / "hub/llama-3.1-8b/config.json")
    config |= {"model_type": "zeppelin", "architectures": ["ZeppelinForCausalLM"]}
    model = architecture.read(config)
    assert not model.known
    found = VllmMemory().allocation(model, Load(), H100)
    assert found.guessed and found.source.startswith("ZeppelinForCausalLM is not known here")


# -- what a start on a real GPU said -----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "gpu", "load", "tokens"),
    [
        # vLLM's own line: "GPU KV cache size: 460,496 tokens, Maximum concurrency for 131,072
        # tokens per request: 3.51x".
        ("llama-3.1-8b", of_listing("H100", 80), Load(131072, 1), 460_496),
        # The recipe of Qwen3.8-27B-FP8 for two RTX 5090.
        (
            "qwen3.8-27b:fp8",
            of_listing("RTX 5090", 32),
            Load(262144, 1, tensor_parallel=2),
            377_456,
        ),
    ],
)
def test_the_tokens_that_a_real_server_had_room_for(
    name: str, gpu: GpuKind, load: Load, tokens: int
) -> None:
    model = architecture_of(names.resolve(name).facts)
    assert model is not None
    found = VllmMemory().allocation(model, load, gpu)
    free = found.usable_bytes - found.weights_bytes - found.overhead_bytes
    assert free / found.kv_bytes * load.context == pytest.approx(tokens, rel=0.05)
