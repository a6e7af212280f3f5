"""A release is chosen that knows the model, and can quantize it as asked; or it is said why none
does, before a machine is rented where that can be told."""

from __future__ import annotations

import pytest

from engine_support import L4, cpu_host, gpu_host, make_plan
from gdl.domain.errors import DeployError, UsageError
from gdl.domain.host import Gpu
from gdl.domain.offers import OfferQuery
from gdl.domain.requirements.allocation import GpuKind, Load
from gdl.domain.requirements.of_facts import architecture_of
from gdl.domain.spec import DeploymentSpec
from gdl.engines.registry import get
from gdl.engines.vllm import compat
from gdl.engines.vllm.release_limits import ANY, Limits, limits_of
from gdl.hub.names import resolve
from gdl.orchestrator.leasing.deployed_model import checked
from gdl.settings import Install, Settings

H200 = Gpu("NVIDIA H200", 143771, "9.0")
OLDER = "570.124.06"
"""A driver of CUDA 12, whose index wheels end at 0.19.1."""


def release(model: str, *, driver: str = "580.65.06", quantization: str = "") -> str:
    query = OfferQuery(quantization=quantization)
    made = make_plan(model, gpu_host(*[L4] * 8, driver=driver, disk_free_gib=4000.0), query=query)
    return made.summary.split()[1]


def test_an_older_driver_gets_the_release_that_knows_the_model() -> None:
    assert release("qwen3-8b", driver=OLDER) == "0.19.1"
    # Known from 0.21 on, which has no index wheel for that driver: the newest with one for cu129.
    assert release("laguna-xs-2.1:nvfp4", driver=OLDER) == "0.30.0"
    assert release("qwen3-8b") == release("laguna-xs-2.1:nvfp4") == "0.33.0"


def test_a_driver_for_no_release_that_knows_the_model_is_told_in_one_line() -> None:
    with pytest.raises(DeployError, match=r"gpt-oss-20b needs vLLM 0\.10\.1 or newer: driver 470"):
        release("gpt-oss-20b", driver="470.82.01")


def test_what_later_releases_dropped_is_served_by_the_last_that_had_it() -> None:
    assert release("qwen3-8b:Q4_K_M") == "0.23.0"
    assert release("qwen3-8b", quantization="bitsandbytes") == "0.27.1"
    assert release("qwen3-8b", quantization="fp8") == "0.33.0"


def test_the_file_of_a_gguf_repository_reaches_the_server() -> None:
    script = make_plan("qwen3-8b:Q4_K_M", gpu_host(L4)).server.script
    assert "--model unsloth/Qwen3-8B-GGUF:Q4_K_M " in script
    assert "--tokenizer Qwen/Qwen3-8B " in script


@pytest.mark.parametrize(
    ("model", "version", "quantization", "told"),
    [
        ("gpt-oss-20b", "0.9.2", "", "gpt-oss-20b needs vLLM 0.10.1 or newer"),
        ("muse-glimmer-30b", "0.27.0", "", "muse-glimmer-30b needs vLLM 0.28.0 or newer"),
        ("qwen3-8b", "0.28.0", "bitsandbytes", "bitsandbytes needs vLLM 0.27.1 or older"),
        ("qwen3-8b:Q4_K_M", "0.33.0", "", "needs vLLM 0.23.0 or older"),
        ("qwen3-8b", "0.8.0", "fp8", "fp8 needs vLLM 0.20.0 or newer"),
    ],
)
def test_a_release_that_was_asked_for_is_checked_before_money_is_spent(
    model: str, version: str, quantization: str, told: str
) -> None:
    query = OfferQuery(quantization=quantization)
    settings = Settings(install=Install(version=version))
    with pytest.raises(UsageError, match=told) as caught:
        checked(get("vllm"), DeploymentSpec(model, "ssh", query), resolve(model), settings)
    assert version in caught.value.message


def test_what_no_release_can_do_is_told_before_money_is_spent() -> None:
    # A class of 0.30, in a format that left with 0.24.
    model = resolve("zai-org/GLM-5.3-Flash:Q4_K_M")
    with pytest.raises(UsageError, match="no such release") as caught:
        get("vllm").check(DeploymentSpec("x", "ssh"), model, Settings())
    assert "0.30.0 or newer" in caught.value.message and "0.23.0 or older" in caught.value.message


def test_offers_are_asked_for_a_driver_that_some_release_for_the_model_runs_on() -> None:
    least = get("vllm").least_cuda
    assert least(Settings()) == least(Settings(), resolve("tinyllama")) == 11.0
    assert least(Settings(), resolve("gpt-oss-20b")) == 12.0
    # No wheel for CUDA 12 has been seen after 0.30.
    assert compat.least_cuda(Install(), Limits("0.31.0", who_first="x")) == 13.0
    assert compat.least_cuda(Install(), Limits("0.30.0", "0.23.0")) is None


def test_the_processor_has_one_release() -> None:
    with pytest.raises(DeployError, match=r"0\.23\.0 or older, for the CPU there is 0\.32\.0"):
        make_plan("qwen3-8b:Q4_K_M", cpu_host(), cpu_allowed=True)


def test_limits() -> None:
    assert ANY.any and ANY.allow("0.4.0") and ANY.needed() == ""
    limits = limits_of(resolve("qwen3-8b"), OfferQuery(quantization="bitsandbytes"))
    assert (limits.first, limits.last) == ("0.10.2", "0.27.1")
    assert limits.allow("0.27.1") and not limits.allow("0.28.0") and not limits.allow("0.9.2")
    assert "newer" in limits.needed("0.9.2") and "older" not in limits.needed("0.9.2")


def test_an_older_release_than_recipes_ask_for_is_noted() -> None:
    older = make_plan("minimax-m2.7", gpu_host(*[H200] * 8, driver=OLDER, disk_free_gib=900.0))
    assert older.summary.startswith("vllm 0.19.1 ")
    assert "recipes ask for vLLM 0.20.0 with minimax-m2.7" in older.notes
    newer = make_plan("minimax-m2.7", gpu_host(*[H200] * 8, disk_free_gib=900.0))
    assert not any("recipes" in note for note in newer.notes)


def test_a_gpu_too_old_for_the_weights_is_no_offer() -> None:
    facts = resolve("gpt-oss-20b").facts
    architecture = architecture_of(facts)
    assert architecture is not None
    for name, capability, fits in (("Tesla T4", (7, 5), False), ("L4", (8, 9), True)):
        gpu = GpuKind(name, 22.0, capability)
        found = get("vllm").memory.allocation(architecture, Load(context=4096, sequences=1), gpu)
        assert found.fits == fits, found.words
        assert fits or "MXFP4 weights need compute capability 8.0" in found.words
