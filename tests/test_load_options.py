"""The load asked for: it decides which machines suit, and reaches the server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from engine_support import B200, L4, V100, cpu_host, gpu_host, make_plan
from gdl.domain.errors import DeployError, UsageError
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.ranking import rank, why_none
from gdl.domain.requirements.shape import ModelShape, quantized
from gdl.domain.spec import DeploymentSpec
from gdl.engines.registry import get
from gdl.orchestrator.leasing.model_lookup import found
from gdl.orchestrator.leasing.requirements import resolved, sized
from gdl.settings import Engine, Install, Settings
from test_sandbox_cli import gdl

QUANTIZATIONS = get("vllm").info.quantizations
needed = get("vllm").memory.needed
SEVEN_B = ModelShape(7.0, layers=32, kv_heads=8, head_size=128, max_context=32768)


def words(script: str) -> list[str]:
    return next(line for line in script.splitlines() if "--model" in line).split()


def after(script: str, flag: str) -> str | None:
    said = words(script)
    return said[said.index(flag) + 1] if flag in said else None


def test_a_longer_context_and_more_requests_need_a_larger_cache() -> None:
    one = needed(SEVEN_B, context=4096, sequences=1)
    # 2 x 32 layers x 8 heads x 128 x 2 bytes are 131 072 bytes a token.
    assert one.kv_cache_gb == pytest.approx(4096 * 131072 / 1e9)
    assert needed(SEVEN_B, context=8192, sequences=4).kv_cache_gb == pytest.approx(
        8 * one.kv_cache_gb
    )


def test_quantized_weights_are_small_on_the_gpu_alone() -> None:
    small = quantized(SEVEN_B, QUANTIZATIONS["bitsandbytes"])
    assert small.weights_gb == pytest.approx(7 * 0.55)
    assert small.files_gb == 14.0
    assert needed(small).disk_gb == needed(SEVEN_B).disk_gb
    assert needed(small).vram_gb < needed(SEVEN_B).vram_gb / 1.8
    assert quantized(SEVEN_B, None) == SEVEN_B
    awq = ModelShape(7.0, bytes_per_parameter=0.55)
    assert quantized(awq, QUANTIZATIONS["fp8"]) == awq


def test_the_load_reaches_the_server() -> None:
    query = OfferQuery(context=8192, concurrency=16, quantization="fp8")
    plan = make_plan("qwen2.5-7b", gpu_host(L4), query=query)
    script = plan.server.script
    assert after(script, "--max-model-len") == "8192"
    assert after(script, "--max-num-seqs") == "16"
    assert after(script, "--quantization") == "fp8"
    assert {"--max-model-len", "--max-num-seqs", "--quantization"} <= plan.server.given
    assert all(step.name != "bitsandbytes" for step in plan.steps)


def test_without_a_wish_the_server_gets_what_it_always_got() -> None:
    plan = make_plan("qwen2.5-7b", gpu_host(L4))
    assert after(plan.server.script, "--max-num-seqs") is None
    assert after(plan.server.script, "--quantization") is None
    assert plan.server.given == frozenset()


def test_an_argument_of_the_users_own_wins() -> None:
    query = OfferQuery(context=8192, concurrency=16)
    own = ("--max-model-len", "1024", "--max_num_seqs=2")
    said = words(make_plan("qwen2.5-7b", gpu_host(L4), query=query, engine_args=own).server.script)
    assert said.count("--max-model-len") == 1 and "1024" in said
    assert "--max-num-seqs" not in said


def test_bitsandbytes_is_installed_beside_vllm_and_fits_a_smaller_gpu() -> None:
    small = OfferQuery(quantization="bitsandbytes")
    host = gpu_host(L4)
    plan = make_plan("qwen2.5-14b", host, query=small)
    (step,) = (step for step in plan.steps if step.name == "bitsandbytes")
    assert "bitsandbytes>=0.46.1" in step.script
    # vLLM has no such method any more from 0.28 on.
    assert plan.summary.startswith("vllm 0.27.1 ")
    assert make_plan("qwen2.5-14b", gpu_host(B200)).summary.startswith("vllm 0.33.0 ")
    with pytest.raises(DeployError, match="not enough GPU memory"):
        make_plan("qwen2.5-14b", host)


def test_a_release_that_cannot_quantize_any_more_is_refused_before_renting() -> None:
    spec = DeploymentSpec("tinyllama", "ssh", OfferQuery(quantization="bitsandbytes"))
    settings = Settings(install=Install(version="0.32.0"))
    tinyllama = found(get("vllm"), "tinyllama")
    told = r"needs vLLM 0\.27\.1 or older, install.version asks for 0\.32"
    with pytest.raises(UsageError, match=told):
        get("vllm").check(spec, resolved(get("vllm"), tinyllama, spec.query), settings)


@pytest.mark.parametrize(
    ("host", "install", "told"),
    [
        (cpu_host(), Install(), "fp8 needs a GPU"),
        (gpu_host(V100, driver="580.65"), Install(), "compute capability 7.5, this one has 7.0"),
        (
            gpu_host(L4),
            Install(version="0.14.0"),
            "fp8 needs vLLM 0.20.0 or newer",
        ),
    ],
)
def test_a_machine_that_cannot_quantize_is_left(host: object, install: Install, told: str) -> None:
    with pytest.raises(DeployError, match=told):
        make_plan(
            "smollm2-135m",
            host,  # type: ignore[arg-type]
            cpu_allowed=True,
            query=OfferQuery(quantization="fp8"),
            install=install,
        )


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (OfferQuery(model="tinyllama", context=4096), "2,048 tokens at most, 4,096 asked for"),
        (OfferQuery(model="tinyllama", concurrency=0), "0 requests at a time"),
        (OfferQuery(model="tinyllama", quantization="int3"), "unknown quantization 'int3'"),
        (OfferQuery(model="org/x-7B-AWQ", quantization="fp8"), "quantized already"),
        (OfferQuery(model="nosuch"), "unknown model"),
    ],
)
def test_what_no_machine_can_do_is_told_before_money_is_spent(query: OfferQuery, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        sized(get("vllm"), query, found(get("vllm"), query.model or ""), Settings())


def test_the_need_is_told_in_its_parts() -> None:
    engine = get("vllm")
    query = OfferQuery(model="mistral-7b", context=8192, concurrency=8)
    mistral = found(engine, "mistral-7b")
    told = sized(engine, query, mistral, Settings())
    assert told.need is not None and told.longest == 32768
    assert told.need.vram_gb == pytest.approx(
        (told.need.weights_gb + told.need.kv_cache_gb + told.need.overhead_gb) / 0.92
    )
    by_setting = Settings(engine=Engine(max_model_len=8192))
    shorter = OfferQuery(model="mistral-7b", concurrency=8)
    assert sized(engine, shorter, mistral, by_setting) == told
    unnamed = found(engine, "org/unnamed")
    assert sized(engine, OfferQuery(model="org/unnamed"), unnamed, Settings()).need is None


def an_offer(id: str, **more: object) -> Offer:
    fields: dict[str, object] = {
        "backend": "x", "provider": "p", "gpu_name": "L4", "gpu_count": 1, "vram_gb": 24,
        "price_per_hour": 0.5,
    }  # fmt: skip
    return Offer(id=id, **(fields | more))  # type: ignore[arg-type]


def test_several_offers_asked_for_are_taken_cheapest_first() -> None:
    offers = [an_offer("a"), an_offer("b", price_per_hour=0.2), an_offer("c", price_per_hour=0.1)]
    query = OfferQuery(offer_ids=("a", "b"))
    ranked = rank(offers, query)
    assert [r.offer.id for r in ranked if r.excluded is None] == ["b", "a"]
    told, _ = why_none(rank(offers, OfferQuery(offer_ids=("y", "x"))), OfferQuery(offer_ids=("y",)))
    assert told == "no suitable offers: y is not listed"


def test_a_machine_without_gpu_quantizes_nothing() -> None:
    cpu = an_offer("cpu", gpu_count=0, gpu_name="", vram_gb=0)
    (row,) = rank([cpu], OfferQuery(quantization="fp8"), cpu_allowed=True)
    assert row.excluded == "fp8 needs a GPU"


@pytest.mark.long
def test_the_command_line_sizes_deploys_and_refuses(tmp_path: Path) -> None:
    market = ("--backend", "sandbox", "--scenario", "calm")
    asked = ("--context", "1024", "--concurrency", "2")
    done = gdl(
        tmp_path,
        *("deploy", "tinyllama", *market, *asked, "--no-bench", "--destroy", "--json"),
        GDL_SANDBOX__SPEED="100",
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    lines = [line for event in told if event["type"] == "log_lines" for line in event["lines"]]
    assert any(re.search(r"Using max model len 1024\b", line) for line in lines)
    assert told[0]["spec"]["query"]["concurrency"] == 2

    large = ("--context", "32768", "--concurrency", "64")
    listed = gdl(tmp_path, "offers", *market, "--model", "mistral-7b", *large, "--json")
    spare = [json.loads(line)["headroom_gb"] for line in listed.stdout.splitlines()]
    plain = gdl(tmp_path, "offers", *market, "--model", "mistral-7b", "--json")
    usual = [json.loads(line)["headroom_gb"] for line in plain.stdout.splitlines()]
    assert max(s for s in spare if s is not None) < max(u for u in usual if u is not None) - 200

    refused = gdl(tmp_path, "offers", *market, "--model", "tinyllama", "--context", "4096")
    assert refused.returncode == 2 and "2,048 tokens at most" in refused.stderr
