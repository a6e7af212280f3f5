"""One model over several machines: each one's plan, what it holds, and which one failed first."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest

from engine_support import KEY, L4, T4, cpu_host, gpu_host
from gdl.domain.errors import DeployError
from gdl.domain.host import HostFacts
from gdl.domain.offers import OfferQuery
from gdl.domain.rank_failures import RankSeen, failed_first, is_error, own
from gdl.domain.requirements.allocation import GpuKind, Load
from gdl.domain.requirements.architecture import read
from gdl.domain.spec import DeploymentSpec
from gdl.engines.base import Plan
from gdl.engines.registry import get
from gdl.engines.spanning import Rank, SpansMachines
from gdl.engines.vllm.memory import MEMORY
from gdl.orchestrator.leasing.model_lookup import found
from gdl.settings import Settings

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "num_hidden_layers": 80,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}


def plan_of(number: int, *hosts: HostFacts, model: str = "smollm2-135m", **settings: Any) -> Plan:
    engine = get("vllm")
    assert isinstance(engine, SpansMachines)
    return engine.plan_rank(
        DeploymentSpec(model, "ssh", OfferQuery(nodes=len(hosts))),
        Rank(number, hosts, "10.0.0.1", 29500, f"10.0.0.{number + 1}", "eth0"),
        found(engine, model),
        Settings(**settings),
        cpu_allowed=True,
        api_key=KEY,
        log_path="/tmp/vllm.log",
        port=8000,
    )


def words(plan: Plan) -> list[str]:
    last = plan.server.script.strip().splitlines()[-1]
    return shlex.split(last)


def value(plan: Plan, flag: str) -> str:
    said = words(plan)
    return said[said.index(flag) + 1]


def test_each_rank_knows_its_place_and_only_the_first_has_the_key() -> None:
    plans = [plan_of(number, cpu_host(), cpu_host()) for number in (0, 1)]
    for number, plan in enumerate(plans):
        assert value(plan, "--nnodes") == value(plan, "--pipeline-parallel-size") == "2"
        assert value(plan, "--node-rank") == str(number)
        assert (value(plan, "--master-addr"), value(plan, "--master-port")) == ("10.0.0.1", "29500")
        assert ("--headless" in words(plan)) is (number == 1)
        assert f"VLLM_HOST_IP=10.0.0.{number + 1}" in plan.server.script
        assert "GLOO_SOCKET_IFNAME=eth0" in plan.server.script
        # The second rank of the CPU build dies at the first request where it is eager.
        assert "--enforce-eager" not in words(plan)
        assert ("VLLM_API_KEY" in plan.server.secret_env) is (number == 0)


def test_what_the_user_sets_himself_stays() -> None:
    env = {"GLOO_SOCKET_IFNAME": "ib0"}
    plan = plan_of(1, cpu_host(), cpu_host(), engine={"env": env})
    assert "GLOO_SOCKET_IFNAME=ib0" in plan.server.script
    assert "GLOO_SOCKET_IFNAME=eth0" not in plan.server.script


def test_all_have_the_same_release_and_as_many_gpus_as_the_least_of_them() -> None:
    hosts = gpu_host(T4, T4), gpu_host(T4, driver="535.54.03")
    plans = [plan_of(number, *hosts, model="llama-3.1-8b") for number in (0, 1)]
    releases = {plan.summary.split()[1] for plan in plans}
    assert len(releases) == 1
    assert all("--tensor-parallel-size" not in words(plan) for plan in plans)
    lengths = {value(plan, "--max-model-len") for plan in plans if "--max-model-len" in words(plan)}
    assert len(lengths) <= 1 and "auto" not in lengths


def test_machines_with_and_without_a_gpu_do_not_go_together() -> None:
    with pytest.raises(DeployError, match="rank 1 has no GPU"):
        plan_of(0, gpu_host(L4), cpu_host())


def test_what_is_too_big_for_one_machine_fits_on_two() -> None:
    model, gpu = read(LLAMA), GpuKind("NVIDIA H100", 80.0)
    load = Load(context=4096, sequences=4, tensor_parallel=1)
    one = MEMORY.allocation(model, load, gpu)
    two = MEMORY.allocation(model, replace(load, pipeline_parallel=2), gpu)
    assert not one.fits
    # Half of the layers each, and the embeddings counted on both.
    assert 0.50 < two.weights_bytes / one.weights_bytes < 0.53
    assert two.kv_bytes_per_token == pytest.approx(one.kv_bytes_per_token / 2)
    assert MEMORY.allocation(model, replace(load, pipeline_parallel=4), gpu).fits


@pytest.mark.parametrize(
    ("ranks", "first"),
    [
        ([RankSeen(), RankSeen(ended_at=5.0)], 1),
        # It lost the connection and ended before the one whose error it was.
        ([RankSeen(ended_at=3.0), RankSeen(error_at=2.0, ended_at=9.0)], 1),
        ([RankSeen(error_at=1.0, ended_at=4.0), RankSeen(ended_at=2.0)], 0),
        ([RankSeen(), RankSeen(), RankSeen(error_at=1.0)], 2),
        ([RankSeen(), RankSeen()], 0),
        # An error that it went on after for long is not why all of them end.
        ([RankSeen(error_at=100.0), RankSeen(ended_at=900.0)], 1),
    ],
)
def test_the_first_error_or_end_tells_which_one_it_was(ranks: list[RankSeen], first: int) -> None:
    assert failed_first(ranks) == first


def test_anothers_end_is_no_error_of_ones_own() -> None:
    killed = "(MainProcess pid=6) ERROR Worker proc VllmWorker-1 died unexpectedly (exit code: -9)"
    lost = [
        "(Worker_PP0 pid=5) ERROR WorkerProc hit an exception.",
        "(Worker_PP0 pid=5) ERROR Traceback (most recent call last):",
        "(Worker_PP0 pid=5) ERROR RuntimeError: [pair.cc:553] Connection closed by peer",
    ]
    assert is_error(killed) and is_error(lost[0])
    assert own([killed]) and not own(lost)
    assert not is_error("(Worker pid=5) INFO world_size=2 rank=1")
