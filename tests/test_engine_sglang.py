"""SGLang: its plan, its command line, what it says, and how its key stays out of sight.

The log and the figures are those of SGLang 0.5.23 itself, started on a machine without a GPU.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from engine_support import KEY, L4, P100, cpu_host, gpu_host
from gdl.diagnosis.rule_engine import diagnose, rule_set
from gdl.domain.engine import EngineMetrics
from gdl.domain.errors import DeployError, RemoteCodeNotAllowed, UsageError
from gdl.domain.host import Gpu, HostFacts
from gdl.domain.offers import OfferQuery
from gdl.domain.requirements.allocation import GpuKind, Load
from gdl.domain.requirements.architecture import read
from gdl.domain.spec import DeploymentSpec
from gdl.engines.base import Plan
from gdl.engines.registry import get
from gdl.engines.sglang import memory, server_flags
from gdl.engines.sglang.plan import REMOTE
from gdl.engines.sglang.recipes import recipe_of
from gdl.orchestrator.leasing.model_lookup import found, known
from gdl.orchestrator.leasing.requirements import resolved
from gdl.settings import Engine, Install, Settings
from gdl.simulator.programs.sglang_start import too_long
from test_sandbox_cli import gdl

DATA = Path(__file__).parent / "data" / "engine"
START = DATA / "sglang-start-cpu.log"
GPU_START = """\
[2026-11-28 10:00:40 TP0] Capture decode CUDA graph begin. This can take up to several minutes.
Capturing batches (bs=16 avail_mem=9.71 GB):  50%|#####     | 4/8 [00:02<00:02,  1.60it/s]
[2026-11-28 10:00:45 TP0] Capture decode CUDA graph end. Time elapsed: 5.10 s. mem usage=0.31 GB.
"""
LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072,
}  # fmt: skip
L40S = Gpu("NVIDIA L40S", 46068, "8.9")
SGLANG = get("sglang")


def planned(
    model: str,
    host: HostFacts | None = None,
    *arguments: str,
    query: OfferQuery | None = None,
    trust: bool | None = None,
    **settings: Any,
) -> Plan:
    spec = DeploymentSpec(
        model, "ssh", query or OfferQuery(), engine_args=arguments, engine="sglang",
        trust_remote_code=trust,
    )  # fmt: skip
    chosen = resolved(SGLANG, found(SGLANG, model), spec.query)
    SGLANG.check(spec, chosen, Settings(**settings))
    return SGLANG.plan(
        spec,
        host or gpu_host(L40S),
        chosen,
        Settings(**settings),
        cpu_allowed=True,
        api_key=KEY,
        log_path="/tmp/sglang.log",
        port=30000,
    )


def line_of(plan: Plan) -> str:
    return next(line for line in plan.server.script.splitlines() if line.startswith("exec "))


# -- what it runs on -------------------------------------------------------------------------------


def test_it_is_installed_by_uv_and_started_with_names_of_its_own() -> None:
    two = gpu_host(L40S, L40S, driver="580.65.06")
    query = OfferQuery(context=8192, concurrency=16, quantization="fp8")
    plan = planned("qwen3-8b", two, "--schedule-policy", "lpm", query=query)
    assert plan.summary == "sglang 0.5.23 (CUDA 13.0) by uv; tools (qwen), reasoning (qwen3)"
    assert [step.name for step in plan.steps][:3] == ["uv", "venv", "install"]
    install = plan.steps[2].script
    assert "uv pip install --python ./venv/bin/python --prerelease=allow sglang==0.5.23" in install
    line = line_of(plan)
    assert line.startswith("exec ./venv/bin/python ./sglang_launch.py --model-path Qwen/Qwen3-8B ")
    for words in (
        "--served-model-name qwen3-8b", "--enable-metrics", "--host 127.0.0.1 --port 30000",
        "--context-length 8192", "--max-running-requests 16", "--quantization fp8", "--tp-size 2",
        "--tool-call-parser qwen", "--reasoning-parser qwen3", "--schedule-policy lpm $remedy",
    ):  # fmt: skip
        assert words in line, words
    assert plan.lessened[0][0] == "--reasoning-parser="


def test_what_reads_a_list_of_values_does_not_eat_the_next_flag() -> None:
    assert "--uvicorn-access-log-exclude-prefixes /ready /metrics --host" in line_of(
        planned("qwen3-8b")
    )


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (gpu_host(driver="570.124.06"), "driver 570.124.06 is too old for SGLang"),
        (cpu_host(), "SGLang needs a GPU"),
        (gpu_host(P100), "compute capability 6.0, SGLang needs 7.5"),
        (gpu_host(libc="glibc 2.31"), "glibc 2.34 is needed"),
        (gpu_host(libc="musl"), "do not run with musl"),
        (gpu_host(os="Darwin"), "installed on Linux only"),
        (gpu_host(disk_free_gib=5.0), "GB disk free"),
        (gpu_host(L4), "not enough GPU memory"),
    ],
)
def test_machines_that_it_does_not_run_on(host: HostFacts, said: str) -> None:
    with pytest.raises(DeployError, match=said):
        planned("qwen3-8b", host)


def test_releases_that_cannot_be_asked_whether_they_serve_are_refused() -> None:
    with pytest.raises(UsageError, match="no path that tells") as caught:
        planned("qwen3-8b", install=Install(version="0.5.9"))
    assert "0.5.20" in caught.value.hint
    older = planned("qwen3-8b", install=Install(version="0.5.21"))
    assert older.summary.startswith("sglang 0.5.21")
    with pytest.raises(DeployError, match=r"needs Python 3\.11 to 3\.13"):
        planned("qwen3-8b", gpu_host(L40S, pythons=("3.10.12",)), install=Install(installer="pip"))


def test_a_plan_for_a_driver_is_shown(tmp_path: Path) -> None:
    done = gdl(tmp_path, "doctor", "--plan", "580", "--gpu", "8.9", "--engine", "sglang", "--json")
    assert json.loads(done.stdout)["sglang"] == "0.5.23"
    assert SGLANG.preview("570", "8.9", Settings()).refusal.startswith("driver 570")
    assert SGLANG.least_cuda(Settings()) == 13.0
    assert "SGLang needs 7.5" in SGLANG.gpu_refusal(GpuKind("P100", 16, (6, 0)), Settings())


# -- the command line ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--api-key", "x"), "--api-key cannot be given"),
        (("--model", "x"), "--model-path cannot be given"),
        (("--served-model", "x"), "--served-model-name cannot be given"),
        (("--tensor-parallel-sizes", "2"), "no argument --tensor-parallel-sizes"),
        (("--max-model-len", "4096"), "no argument --max-model-len"),
        (("--log-level\0", "x"), "NUL"),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_renting(
    arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        planned("qwen3-8b", None, *arguments)


def test_the_users_own_arguments_win_by_any_of_their_names() -> None:
    two = gpu_host(L40S, L40S)
    line = line_of(
        planned("qwen3-8b", two, "--tensor-parallel-size=1", "--context-len", "2048",
                "--tool-call-parser", "hermes")
    )  # fmt: skip
    assert "--tp-size" not in line and "--context-length" not in line
    assert line.count("--tool-call-parser") == 1 and "hermes" in line
    other = planned("qwen3-8b", None, "--some-new-flag", install=Install(version="0.5.24"))
    assert "--some-new-flag" in line_of(other)


def test_the_key_and_tokens_are_in_no_script() -> None:
    plan = planned("qwen3-8b", hf_token=SecretStr("hf_very_secret"),
                   engine=Engine(env={"EXA_API_KEY": "exa-secret", "PLAIN": "yes"}))  # fmt: skip
    everything = plan.server.script + "".join(step.script for step in plan.steps)
    assert "secret" not in everything.replace("[hidden]", "")
    assert {*plan.server.secret_env} == {"SGLANG_API_KEY", "HF_TOKEN", "EXA_API_KEY"}
    assert "export PLAIN=yes" in plan.server.script
    with pytest.raises(UsageError, match="SGLANG_API_KEY"):
        planned("qwen3-8b", engine=Engine(env={"SGLANG_API_KEY": "mine"}))
    assert plan.launch is not None and plan.launch.key_flag == "--api-key"
    assert plan.launch.health == "/ready" and "-secret" not in repr(plan.launch)


def test_code_of_a_repository_runs_only_where_somebody_said_so() -> None:
    big = gpu_host(*[Gpu("NVIDIA B200", 183359, "10.0")] * 8, disk_free_gib=4000.0)
    with pytest.raises(RemoteCodeNotAllowed):
        planned("kimi-k2.5", big)
    assert "--trust-remote-code" in line_of(planned("kimi-k2.5", big, trust=True))
    without = planned("kimi-k2.5", big, trust=False)
    assert "--trust-remote-code" not in line_of(without) and without.notes


def test_every_parser_of_a_recipe_is_one_of_the_servers() -> None:
    models = known(SGLANG)
    recipes = {model.location: recipe_of(model) for model in models}
    assert {r.tool_parser for r in recipes.values()} - {""} <= server_flags.tool_parsers()
    assert {r.reasoning_parser for r in recipes.values()} - {""} <= server_flags.reasoning_parsers()
    assert sum(bool(r.tool_parser) for r in recipes.values()) > 70
    assert recipes["Qwen/Qwen3-Coder-30B-A3B-Instruct"].tool_parser == "qwen3_coder"
    assert recipes["Qwen/Qwen3-4B-Instruct-2507"].reasoning_parser == ""
    assert recipes["Qwen/Qwen2.5-VL-7B-Instruct"].tool_parser == ""
    assert recipes["deepseek-ai/DeepSeek-V3.2"].tool_parser == "deepseekv32"


# -- what it says ----------------------------------------------------------------------------------


def test_a_start_is_followed_to_its_end() -> None:
    text = START.read_text() + GPU_START
    lines = [line for part in START.read_text().splitlines() for line in part.split("\r")]
    marks = [mark for line in lines if (mark := SGLANG.read_line(line)) is not None]
    fractions = [mark.fraction for mark in marks if mark.fraction is not None]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert [m.text for m in marks if m.begins] == ["reading the arguments"]
    assert marks[-1].stage == "ready" and [m.stage for m in marks].count("ready") == 1
    assert any(m.text == "shard 1/1" and m.part == "shards" for m in marks)
    assert "[gdl]" not in text
    graphs = [SGLANG.read_line(line) for line in GPU_START.splitlines()]
    assert [mark.text if mark else "" for mark in graphs] == [
        "capturing CUDA graphs", "capturing CUDA graphs: 4 of 8", "CUDA graphs captured",
    ]  # fmt: skip


def test_what_it_says_of_its_memory() -> None:
    told = None
    for line in START.read_text().splitlines():
        mark = SGLANG.read_line(line.split("\r")[-1])
        if mark is not None and mark.memory is not None:
            told = mark.memory if told is None else told.then(mark.memory)
    assert told is not None and told.load is not None
    assert (told.weights_gib, told.cache_gib, told.cache_tokens) == (0.18, 0.18, 8192)
    assert (told.context, told.sequences, told.cache_given) == (2048, 4.0, True)
    assert (told.load.tensor_parallel, told.load.batch_tokens) == (1, 4096)


def test_figures() -> None:
    text = (DATA / "sglang-metrics.txt").read_text()
    assert SGLANG.read_metrics(text) == EngineMetrics(0.0, 0.0, 0.0, 16.0, 43.0)
    busy = text.replace('tp_rank="0"} 0.0', 'tp_rank="0"} 0.5')
    assert SGLANG.read_metrics(busy).running == 0.5
    assert SGLANG.read_metrics("sglang:num_running_reqs{} nan\nx\x00 y") == EngineMetrics()
    names = {*SGLANG.readiness.at_work, *SGLANG.readiness.done}
    assert all(re.search(rf"^{name}\{{", text, re.MULTILINE) for name in names)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("sglang serve: error: unrecognized arguments: --no-such-flag 3", "bad-argument"),
        (
            "ValueError: Warning: User-specified context_length (99999) is greater than the derived"
            " context_length (8192). This may lead to incorrect model outputs",
            "sglang-context",
        ),
        (
            "RuntimeError: Rank 0 scheduler died during initialization (exit code: -9). If exit"
            " code is -9 (SIGKILL), a common cause is the OS OOM killer.",
            "sglang-killed",
        ),
        (
            "[2026-11-28 23:24:54] Subprocess scheduler_0 (pid=13962) crashed with exit code -9."
            " Triggering SIGQUIT for cleanup...",
            "sglang-killed",
        ),
        (
            "sglang serve: error: argument --tool-call-parser: invalid choice: 'hermez' (choose"
            " from 'auto', 'hermes')",
            "sglang-parser",
        ),
    ],
)
def test_its_failures_are_explained(line: str, rule: str) -> None:
    log = ["[2026-11-28 23:19:31] server_args={'model_path': 'x'}", line]
    best = diagnose(rule_set(("sglang", SGLANG.rules())), log)
    assert best is not None and best.rule == rule


def test_a_context_that_is_too_long_is_refused_as_by_sglang_and_can_be_lowered() -> None:
    words = too_long(99_999, 8192)
    assert not too_long(8192, 8192) and not too_long(99_999, None)
    log = ["[2026-11-28 23:19:31] server_args={'model_path': 'x'}", f"ValueError: {words}"]
    best = diagnose(rule_set(("sglang", SGLANG.rules())), log)
    assert best.rule == "sglang-context"
    assert best.action.words == "start again with --context-length 8192"


# -- its memory ------------------------------------------------------------------------------------


def test_the_share_that_it_claims_is_the_one_of_its_own_arithmetic() -> None:
    model = read(LLAMA)
    l4, h100 = GpuKind("L4", 24564 / 1024, (8, 9)), GpuKind("H100", 81559 / 1024, (9, 0))
    # 512 + 1.5 * chunk + 1024 / 8 + 2 * graphs + 8 * captured sizes, in MiB.
    assert memory.fraction(model, Load(), l4) == pytest.approx(1 - 7280 / 24564, abs=1e-9)
    assert memory.fraction(model, Load(), h100) == pytest.approx(1 - 13904 / 81559, abs=1e-9)
    told = SGLANG.memory.allocation(model, Load(context=8192, sequences=4), l4)
    assert told.kv_bytes_per_token == 32 * 8 * 2 * 128 * 2 and told.block_size == 1
    asked = SGLANG.memory.asked(Load(), ["--kv-cache-dtype=fp8_e4m3", "--tp-size", "2"])
    assert (asked.kv_dtype, asked.tensor_parallel) == ("fp8_e4m3", 2)
    assert SGLANG.memory.allocation(model, asked, l4).kv_bytes_per_token == 32 * 4 * 2 * 128


# -- its start -------------------------------------------------------------------------------------

WORKER = """
import logging


def child(key):
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    logging.info("child has %s", key)
"""
SERVER = """
import argparse, json, logging, multiprocessing, sys
from pathlib import Path
from sglang.worker import child


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-path")
    parser.add_argument("--api-key")
    read = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.info(f"server_args={vars(read)}")
    logging.warning("%s of %s", 100, "percent")
    started = multiprocessing.get_context("spawn").Process(target=child, args=(read.api_key,))
    started.start()
    started.join()
    shown = Path("/proc/self/cmdline").read_text().split(chr(0))
    json.dump([read.api_key, shown], open("seen.json", "w"))
"""


def test_the_key_reaches_the_server_and_neither_process_list_nor_log(tmp_path: Path) -> None:
    for name in ("numpy", "torch", "sglang"):
        (tmp_path / "site" / name).mkdir(parents=True)
        version = "class version:\n    cuda = '13.0'\n" if name == "torch" else ""
        (tmp_path / "site" / name / "__init__.py").write_text(f"__version__ = '1'\n{version}")
    (tmp_path / "site/sglang/launch_server.py").write_text(SERVER)
    (tmp_path / "site/sglang/worker.py").write_text(WORKER)
    program = tmp_path / "sglang_launch.py"
    program.write_text(REMOTE.joinpath("sglang_launch.py").read_text())
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "SGLANG_API_KEY": "sk-of-nobody"}
    done = subprocess.run(
        [sys.executable, program, "--model-path", "m"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    key, shown = json.loads((tmp_path / "seen.json").read_text())
    assert key == "sk-of-nobody" and "sk-of-nobody" not in shown
    said = done.stdout + done.stderr
    assert "sk-of-nobody" not in said
    assert "'api_key': '[hidden]'" in said and "child has [hidden]" in said
    assert "100 of percent" in said and "[gdl] verified torch 1 (CUDA: 13.0)" in said


def test_a_package_that_does_not_import_is_named(tmp_path: Path) -> None:
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy/__init__.py").write_text("raise ImportError('no such symbol')")
    program = REMOTE / "sglang_launch.py"
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, program], env=env, capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert done.returncode == 86
    assert "[gdl] import failed: numpy: ImportError: no such symbol" in done.stdout


def test_it_is_deployed_from_the_command_line(tmp_path: Path) -> None:
    """The whole way on a simulated machine, whose server speaks as SGLang does."""
    wanted = ("deploy", "qwen3-8b", "--engine", "sglang", "--backend", "sandbox")
    done = gdl(tmp_path, *wanted, "--scenario", "calm", "--destroy", "--yes", "--json",
               GDL_SANDBOX__SPEED="50")  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told[-1]["outcome"] == "released"
    checks = {e["check"]["name"]: e["check"]["status"] for e in told if e["type"] == "checked"}
    asked = ("health", "inference", "tool_forced", "reasoning")
    assert {checks[name] for name in asked} == {"passed"}
