"""llama.cpp as an engine: its log, its memory, its builds, its files, and whole deployments."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deployment_support import last, of_type, told
from engine_support import B200, KEY, L4, cpu_host, gpu_host
from gdl.bootstrap import open_orchestrator
from gdl.domain import events as ev
from gdl.domain.engine import EngineMetrics
from gdl.domain.errors import DeployError, UsageError
from gdl.domain.health import CheckStatus
from gdl.domain.host import Gpu, HostFacts
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.domain.requirements.allocation import GpuKind, LeverKind, Load
from gdl.domain.requirements.of_facts import architecture_of
from gdl.domain.server_memory import ServerMemory
from gdl.domain.spec import DeploymentSpec
from gdl.engines import llamacpp, registry
from gdl.engines.base import Plan
from gdl.engines.choosing import ChoosesEngine
from gdl.hub.lookup import Hub
from gdl.orchestrator.leasing.model_lookup import ModelLookup, found
from gdl.settings import Settings, load
from gdl.settings.sections import Timeouts
from hub_server import (
    LLAMA_HEADER,
    Repository,
    Running,
    SimulatedHub,
    gguf,
    running_hub,
    text_model,
)
from llamacpp_support import DATA, START, wheels

ENGINE = registry.get("llamacpp")
SPEC = DeploymentSpec("smollm2-135m", "local", bench=False, after="destroy", engine="llamacpp")
GGUFS = "acme/chat-GGUF"
P40 = Gpu("Tesla P40", 24576, "6.1")
A100 = Gpu("NVIDIA A100-SXM4-40GB", 40960, "8.0")
RTX_4090 = Gpu("NVIDIA GeForce RTX 4090", 24564, "8.9")


# -- what the server says ----------------------------------------------------------------------


def test_a_start_is_told_from_its_log() -> None:
    marks = [mark for line in START if (mark := ENGINE.read_line(line)) is not None]
    assert (marks[0].stage, marks[0].text) == ("verified", "xllamacpp 2026.10.11549 loads")
    assert (marks[-1].stage, marks[-1].fraction) == ("ready", 1.0)
    fractions = [mark.fraction or 0.0 for mark in marks]
    assert fractions == sorted(fractions) and len(fractions) > 8
    assert [mark.text for mark in marks if mark.begins] == ["the server starts"]
    assert "KV cache: 180.00 MiB" in [mark.text for mark in marks]


def test_what_it_holds_is_as_predicted() -> None:
    held = ServerMemory()
    for line in START:
        if (mark := ENGINE.read_line(line)) is not None and mark.memory is not None:
            held = held.then(mark.memory)
    assert (held.context, held.sequences, held.cache_tokens) == (2048, 4.0, 8192)
    assert held.release == "2026.10.11549" and held.load == Load(kv_dtype="auto")
    known = architecture_of(found(ENGINE, "smollm2-135m").facts)
    assert known is not None and held.cache_gib is not None
    one = ENGINE.memory.allocation(known, Load(2048, 1), GpuKind("", 24.0))
    assert 4 * one.kv_bytes == held.cache_gib * 2**30


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("load_tensors: offloaded 21/33 layers to GPU", "21 of 33 layers on the GPU"),
        ("main: server is listening on http://0.0.0.0:8080 - starting the main loop",
         "server is up"),
        ("srv  llama_server: listening on http://127.0.0.1:8080", "server is up"),
        ("srv    load_model: initializing, n_slots = 4, n_ctx_slot = 512, kv_unified = 'false'",
         "4 slots of 512 tokens"),
    ],
)  # fmt: skip
def test_lines_of_other_builds_are_read_as_well(line: str, text: str) -> None:
    mark = ENGINE.read_line(line)
    assert mark is not None and mark.text == text


def test_its_figures_are_read() -> None:
    text = (DATA / "metrics.txt").read_text("utf-8")
    assert ENGINE.read_metrics(text) == EngineMetrics(0.0, 0.0, None, 8.0, 36.0)
    assert ENGINE.read_metrics("llamacpp:requests_deferred nan\n\x00llamacpp:") == EngineMetrics()


def test_a_server_that_loads_is_neither_ready_nor_dead() -> None:
    assert 503 not in ENGINE.readiness.ready | ENGINE.readiness.dead


# -- memory ------------------------------------------------------------------------------------


def allocated(load: Load, gib: float = 24.0) -> Any:
    known = architecture_of(found(ENGINE, "qwen2.5-7b").facts)
    assert known is not None
    return ENGINE.memory.allocation(known, load, GpuKind("", gib))


def test_the_cache_is_counted_by_its_type() -> None:
    full = allocated(Load(4096, 4)).kv_bytes
    # 28 layers, 4 heads of 128 numbers for keys and for values, 2 bytes each.
    assert full == 4 * 4096 * 28 * 4 * 256 * 2
    assert allocated(Load(4096, 4, kv_dtype="q8_0")).kv_bytes == full * 34 / 64
    assert allocated(Load(4096, 4, kv_dtype="q8_0/q4_0")).kv_bytes == full * (34 + 18) / 128
    assert allocated(Load(4000, 4)).kv_bytes == full, "cells come by 256"


def test_the_users_arguments_count() -> None:
    arguments = ("-c", "32768", "-np", "8", "-ctk", "q8_0", "-ctv", "q8_0")
    assert ENGINE.memory.asked(Load(), arguments) == Load(4096, 8, kv_dtype="q8_0")
    shared = ENGINE.memory.asked(Load(), ("--ctx-size", "32768", "--kv-unified"))
    assert shared.context == 32768


def test_what_would_help_is_what_llamacpp_has() -> None:
    levers = {lever.kind: lever.words for lever in allocated(Load(32768, 8)).levers}
    assert levers[LeverKind.KV_FP8] == "q8_0 cache fits" and LeverKind.QUANTIZATION not in levers


# -- builds ------------------------------------------------------------------------------------


def planned(host: HostFacts, model: str | Model = "smollm2-135m", **more: Any) -> Plan:
    query = more.pop("query", OfferQuery())
    spec = replace(SPEC, query=query, engine_args=more.pop("arguments", ()))
    return ENGINE.plan(
        spec,
        host,
        found(ENGINE, model) if isinstance(model, str) else model,
        Settings(**more),
        cpu_allowed=True,
        api_key=KEY,
        log_path="/tmp/llamacpp.log",
        port=8000,
    )


def installing(plan: Plan) -> str:
    return next(step.script for step in plan.steps if step.name == "install")


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (gpu_host(L4, cuda="13.2"), "whl/cu132"),
        (gpu_host(L4, cuda="13.0"), "whl/cu132"),
        (gpu_host(L4, cuda="12.4"), "whl/cu128"),
        (gpu_host(A100, cuda="12.8"), "whl/cu128"),
        (gpu_host(A100, cuda="13.0"), "whl/cu128"),
        (gpu_host(P40, cuda="13.2"), "whl/cu128"),
        (gpu_host(B200, cuda="12.8"), "whl/cu128"),
    ],
)
def test_the_build_is_that_of_the_driver_and_the_gpu(host: HostFacts, words: str) -> None:
    script = installing(planned(host))
    assert words in script and "xllamacpp==2026.10.11549" in script


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (gpu_host(A100, cuda="12.4"), "supports CUDA 12.4, llama.cpp's builds need 12.8"),
        (gpu_host(Gpu("Tesla K80", 11441, "3.7"), cuda="12.8"), "capability 3.7 is too old"),
        (gpu_host(L4, cuda="12.8", libc="glibc 2.31"), "glibc 2.31 is too old"),
        (cpu_host(libc="musl"), "no build for musl"),
        (cpu_host(os="Windows"), "Windows is not supported"),
    ],
)
def test_machines_without_a_build_are_left(host: HostFacts, words: str) -> None:
    with pytest.raises(DeployError, match=words):
        planned(host)


def test_a_processor_and_a_mac_take_the_usual_wheel() -> None:
    for host, words in ((cpu_host(), "the processor"), (cpu_host(os="Darwin", arch="arm64"),
                                                        "Metal")):  # fmt: skip
        plan = planned(host)
        assert f"llama.cpp b11549 for {words}" in plan.summary
        assert "--index" not in installing(plan)
        assert plan.launch is not None
        assert plan.launch.image == "ghcr.io/ggml-org/llama.cpp:server", "Metal is in no container"
    script = planned(cpu_host()).server.script
    assert "GOMP_SPINCOUNT=0" in script and "--fit off" in script
    assert "GOMP_SPINCOUNT" not in planned(gpu_host(L4, cuda="12.8")).server.script


def test_uv_is_brought_only_where_there_is_no_pip() -> None:
    names = [step.name for step in planned(cpu_host()).steps]
    assert names == ["uv", "venv", "install", "model"]
    probed = replace(cpu_host().engine, told=(("pip", "23.2.1"),))
    steps = planned(cpu_host(engine=probed)).steps
    assert [step.name for step in steps] == ["venv", "install", "model"]
    assert steps[-1].after == "venv", "the model comes beside the package"


def test_the_key_is_in_no_script_and_its_own_arguments_win() -> None:
    plan = planned(cpu_host(), arguments=("-c", "1024", "-np", "2"), hf_token="hf_secret")
    assert KEY.reveal() not in plan.server.script and "hf_secret" not in plan.server.script
    assert plan.server.secret_env["LLAMA_API_KEY"] is KEY
    assert "--parallel" not in plan.server.script and "--ctx-size" not in plan.server.script
    asked = planned(cpu_host(), query=OfferQuery(context=1024, concurrency=3))
    assert "--parallel 3 --ctx-size 3072" in asked.server.script


DOCKER = """#!/bin/sh
echo "$*" >> docker.log
case $1 in create) cp container.env seen.env; echo c0ffee;; start) exit 3;; esac
"""


def test_its_image_runs_by_docker_and_sees_the_key_in_a_file_alone(tmp_path: Path) -> None:
    docker: dict[str, Any] = {
        "docker": str(tmp_path / "docker"),
        "docker_gpus": True,
        "cuda": "12.8",
    }
    plan = planned(gpu_host(A100, **docker), big(), install={"runtime": "container"})
    assert "in container ghcr.io/ggml-org/llama.cpp:server-cuda;" in plan.summary
    assert [step.name for step in plan.steps] == ["image"]
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    env = {"PATH": os.environ["PATH"], "LLAMA_API_KEY": KEY.reveal()}
    done = subprocess.run(["sh", "-c", plan.server.script], cwd=tmp_path, env=env, check=False)
    assert done.returncode == 3, "it ends as the server ends"
    asked = (tmp_path / "docker.log").read_text()
    assert "--gpus all" in asked and "--publish 127.0.0.1:8000:8000" in asked
    assert f"--hf-repo {GGUFS} --hf-file a-Q8_0.gguf --alias chat --metrics" in asked
    assert KEY.reveal() not in asked
    assert (tmp_path / "seen.env").read_text() == f"LLAMA_API_KEY={KEY.reveal()}\n"
    assert not (tmp_path / "container.env").exists()


def test_the_image_is_the_other_way_where_docker_works() -> None:
    docker: dict[str, Any] = {"docker": "docker", "docker_gpus": True}
    second = planned(gpu_host(L4, cuda="13.2", **docker), big()).otherwise
    assert second is not None and "llama.cpp:server-cuda13" in second.summary
    assert planned(gpu_host(L4, cuda="13.2"), big()).otherwise is None
    assert planned(gpu_host(L4, cuda="13.2", **docker)).otherwise is None, "a package's model"
    with pytest.raises(UsageError, match="comes from a Python package"):
        container = load(install={"runtime": "container"})
        ENGINE.check(SPEC, found(ENGINE, "smollm2-135m"), container)


def test_no_image_is_pulled_for_a_gpu_that_it_cannot_run_on() -> None:
    k80 = Gpu("Tesla K80", 11441, "3.7")
    host = gpu_host(k80, cuda="12.8", docker="docker", docker_gpus=True)
    with pytest.raises(DeployError, match=r"capability 3\.7 is too old"):
        planned(host, big(), install={"runtime": "container"})


def test_what_is_handed_over_says_where_it_ran_and_which_token_it_needs() -> None:
    docker: dict[str, Any] = {"docker": "docker", "docker_gpus": True, "cuda": "12.8"}
    gated = replace(big(), gated=True)
    first = planned(gpu_host(A100, **docker), gated, hf_token="hf_secret").launch
    image = planned(gpu_host(A100, **docker), big(), install={"runtime": "container"}).launch
    assert first is not None and first.secrets == ("LLAMA_API_KEY", "HF_TOKEN")
    assert image is not None and image.secrets == ("LLAMA_API_KEY",)
    assert first.notes[0].startswith("here it is xllamacpp 2026.")
    assert image.notes[0].startswith("here it is in the image ghcr.io/ggml-org/llama.cpp:server")


# -- files -------------------------------------------------------------------------------------


def big(typed: str = GGUFS) -> Model:
    """8 B parameters in three files: 16, 8.5 and 4.9 GB; the middle one is chosen."""
    from gdl.domain.model_facts import FactsSource, GgufFacts, ModelFacts, RepoFile

    header = {"general.architecture": "llama", "llama.block_count": 32,
              "llama.context_length": 8192, "llama.embedding_length": 4096,
              "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8,
              "llama.feed_forward_length": 14336}  # fmt: skip
    sizes = {"a-BF16.gguf": 16.0, "a-Q8_0.gguf": 8.5, "a-Q4_K_M.gguf": 4.9, "mmproj-a.gguf": 0.1}
    facts = ModelFacts(
        GGUFS,
        FactsSource.HUB,
        files=tuple(RepoFile(name, int(gb * 1e9)) for name, gb in sizes.items()),
        gguf=GgufFacts(("a-Q8_0.gguf",), "Q8_0", int(8.5e9), metadata=header),
    )
    return Model(typed, "hub", GGUFS, "chat", file="Q8_0", facts=facts)


def test_a_file_that_does_not_fit_gives_way_to_a_smaller_one() -> None:
    whole = planned(gpu_host(RTX_4090, cuda="12.8"), big())
    assert "33 of 33 layers on the GPU" in whole.summary and not whole.notes
    small = gpu_host(Gpu("NVIDIA GeForce RTX 3070", 8192, "8.6"), cuda="12.8")
    smaller = planned(small, big())
    assert smaller.notes == ("a-Q8_0.gguf does not fit here, a-Q4_K_M.gguf is served instead",)
    assert "a-Q4_K_M.gguf" in next(s.script for s in smaller.steps if s.name == "model")


def test_a_file_that_was_named_is_shared_between_gpu_and_processor() -> None:
    small = gpu_host(Gpu("NVIDIA GeForce RTX 3070", 8192, "8.6"), cuda="12.8")
    plan = planned(small, big(f"{GGUFS}:Q8_0"))
    (note,) = plan.notes
    assert "of 33 layers fit on the GPU; the processor computes the others" in note


def test_a_file_that_fits_nowhere_is_refused() -> None:
    with pytest.raises(DeployError, match=r"not enough memory: 4\.3 GB, chat \(Q8_0\) needs"):
        planned(cpu_host(ram_gib=4.0), big(f"{GGUFS}:Q8_0"))
    with pytest.raises(DeployError, match="GB disk free"):
        planned(cpu_host(disk_free_gib=5.0), big())


@pytest.mark.parametrize(
    ("model", "spec", "words"),
    [
        ("/models/llama", {}, "serves GGUF files"),
        ("acme/plain", {}, "holds no GGUF file"),
        ("smollm2-135m", {"engine_args": ("-m", "x")}, "--model cannot be given"),
        ("smollm2-135m", {"engine_args": ("--api-key", "x")}, "--api-key cannot be given"),
        ("smollm2-135m", {"query": OfferQuery(quantization="fp8")}, "quantizes nothing"),
        ("smollm2-135m", {"query": OfferQuery(context=9000)}, "takes 8,192 tokens at most"),
        ("smollm2-135m", {"query": OfferQuery(concurrency=999)}, "999 requests at a time"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_rented(
    model: str, spec: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        ENGINE.check(replace(SPEC, **spec), found(ENGINE, model), Settings())


# -- the hub -----------------------------------------------------------------------------------


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    files = {
        "chat-Q4_K_M.gguf": gguf(LLAMA_HEADER, 105_000_000),
        "chat-Q8_0.gguf": gguf(LLAMA_HEADER | {"general.file_type": 7}, 145_000_000),
    }
    two = {
        "one-Q5_0.gguf": gguf(LLAMA_HEADER, 9_000_000),
        "one-Q6_K.gguf": gguf(LLAMA_HEADER, 10_000_000),
    }
    alias = "unsloth/SmolLM2-135M-Instruct-GGUF"
    simulated = SimulatedHub.of(
        [
            Repository(GGUFS, files),
            Repository("acme/two", two),
            Repository(alias, files),
            text_model("acme/plain"),
        ]
    )
    async with running_hub(simulated, tmp_path) as running:
        yield running


def patient(hub: Running) -> Hub:
    """A client that waits for the hub on a busy machine, too."""
    limits = Timeouts(hub=40)
    made = Hub(hub.settings().model_copy(update={"timeouts": limits}), lambda: datetime.now(UTC))
    hub.clients.append(made)
    return made


@pytest.mark.parametrize(
    ("typed", "file"),
    [(GGUFS, "Q4_K_M"), (f"{GGUFS}:Q8_0", "Q8_0"), ("acme/two", "Q5_0")],
)
async def test_the_file_is_the_one_named_or_the_usual_one(
    hub: Running, typed: str, file: str
) -> None:
    lookup = ModelLookup(patient(hub))
    model = await lookup.find(ENGINE, typed)
    assert (model.file, model.typed) == (file, typed)
    assert model.facts is not None and model.facts.gguf is not None
    ENGINE.check(SPEC, model, Settings())
    assert lookup.kept(ENGINE, typed).file == file
    # The default engine asks for a name, as before.
    assert (await lookup.find(registry.get("vllm"), GGUFS)).file == ""


async def test_a_repository_without_a_file_is_refused(hub: Running) -> None:
    model = await ModelLookup(patient(hub)).find(ENGINE, "acme/plain")
    with pytest.raises(UsageError, match="acme/plain holds no GGUF file"):
        ENGINE.check(SPEC, model, Settings())


async def test_the_file_is_fetched_with_all_its_parts(tmp_path: Path) -> None:
    """By the program that runs on the machine, with the hub's own library."""
    parts = {
        "BF16/chat-BF16-00001-of-00002.gguf": gguf(LLAMA_HEADER, 900_000),
        "BF16/chat-BF16-00002-of-00002.gguf": gguf({}, 800_000),
        "chat-Q4_K_M.gguf": gguf(LLAMA_HEADER, 1_000_000),
    }
    program = Path(llamacpp.__file__).parent / "remote" / "gguf.py"
    place = tmp_path / "place"
    there = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}

    async def fetched(kind: str) -> tuple[int, str]:
        run = await asyncio.create_subprocess_exec(
            *(sys.executable, program, place, GGUFS, kind, "0"),
            env=os.environ | there | {"HF_ENDPOINT": running.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said, _ = await run.communicate()
        return run.returncode or 0, said.decode()

    async with running_hub(SimulatedHub.of([Repository(GGUFS, parts)]), tmp_path) as running:
        assert (await fetched("BF16"))[0] == 0
        first = Path(place.read_text("utf-8"))
        assert first.name == "chat-BF16-00001-of-00002.gguf"
        assert first.with_name("chat-BF16-00002-of-00002.gguf").stat().st_size == 800_000
        code, said = await fetched("Q6_K")
    assert code == 1 and f"no GGUF files found in repository {GGUFS} for Q6_K" in said


def test_an_alias_is_its_gguf_repository() -> None:
    model = found(ENGINE, "qwen2.5-7b")
    assert model.location.endswith("GGUF") and model.typed == "qwen2.5-7b"
    assert found(ENGINE, "smollm2-135m").source == "packaged"


# -- auto --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "gpu", "engines"),
    [
        ("smollm2-135m", False, ["llamacpp", "vllm"]),
        ("smollm2-135m", None, ["vllm"]),
        ("qwen2.5-7b", True, ["vllm"]),
        ("qwen2.5-7b:Q4_K_M", True, ["llamacpp", "vllm"]),
        ("/models/x.gguf", None, ["llamacpp", "vllm"]),
        ("/models/x", False, ["llamacpp", "vllm"]),
    ],
)
def test_auto_goes_by_model_and_machine(model: str, gpu: bool | None, engines: list[str]) -> None:
    auto = registry.get("auto")
    assert isinstance(auto, ChoosesEngine)
    offered = auto.candidates(found(auto, model), gpu=gpu)
    assert [each.name for each in offered] == engines and all(each.why for each in offered)


# -- whole deployments -------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """This computer, whose pip finds the stand-ins alone."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels(tmp_path / "wheels")))
    return load(
        backend="local", data_dir=tmp_path / "data", timeouts={"install": 200, "start": 200}
    )


async def test_auto_serves_with_it_here_and_releases(here: Settings) -> None:
    async with open_orchestrator(here) as orchestrator:
        spec = replace(SPEC, engine="auto", bench=True)
        ident = await orchestrator.deployments.deploy(spec)
        events = await told(orchestrator, ident)
    assert last(events).outcome == "released", last(events).error
    (plan,) = of_type(events, ev.DeploymentPlanned)
    assert plan.spec.engine == "llamacpp"
    assert any("as there is no GPU" in note.text for note in of_type(events, ev.Noted))
    checks = {e.check.name: e.check for e in of_type(events, ev.Checked)}
    assert checks["inference"].detail == '"The capital of France is Paris.", 7 tokens'
    assert checks["memory"].detail == "predicted 4.0 sequences of 2,048 tokens, llama.cpp says 4.0"
    assert all(check.status is not CheckStatus.FAILED for check in checks.values())
    benchmark = last(events).benchmark
    assert benchmark is not None and benchmark.completed == 8 and not benchmark.failed
