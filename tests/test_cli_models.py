"""`gdl-tui models`: what there is to choose from, and what one of them takes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from gdl.cli.app import run
from gdl.orchestrator.api.model_views import ModelDetails
from hub_server import Running, SimulatedHub, running_hub, text_model

pytestmark = pytest.mark.usefixtures("own_data")

QWEN = "Qwen/Qwen3-0.6B"
KEYS = [
    "id", "revision", "source", "architecture", "gated", "license", "weights_gb",
    "kv_bytes_per_token", "state_bytes_per_sequence", "kv_cache_gb", "overhead_gb", "vram_gb",
    "disk_gb", "download_gb", "max_context", "tp_allowed", "tool_parser", "reasoning_parser",
    "chat_template", "trust_remote_code", "env", "min_vllm", "variants", "fits", "max_vllm",
]  # fmt: skip


@pytest.fixture
async def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """A hub that the command line asks: one model that the catalogue knows, one that it does not,
    and one that writes no text."""
    simulated = SimulatedHub.of(
        [
            text_model(QWEN),
            text_model("acme/qwen3-tuned", info={"downloads": 640}),
            text_model(
                "acme/qwen3-embedding",
                info={"downloads": 7, "pipeline_tag": "feature-extraction"},
            ),
        ]
    )
    async with running_hub(simulated, tmp_path) as running:
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(("models", "show", *arguments, "--json")) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_all_that_is_known_of_a_model_under_the_promised_keys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = shown(capsys, "qwen3-8b", "--context", "32768", "--concurrency", "8")
    assert list(told) == KEYS == [field.name for field in fields(ModelDetails)]
    assert (told["id"], told["source"]) == ("Qwen/Qwen3-8B", "catalogue")
    assert told["architecture"] == "Qwen3ForCausalLM"
    assert (told["gated"], told["license"], told["max_context"]) == (False, "apache-2.0", 40960)
    assert told["weights_gb"] == pytest.approx(16.38, rel=0.01)
    # 36 layers, 8 heads of 128, keys and values of 2 bytes; nothing is constant.
    assert told["kv_bytes_per_token"] == 2 * 36 * 8 * 128 * 2
    assert told["state_bytes_per_sequence"] == 0
    assert told["kv_cache_gb"] == pytest.approx(8 * 32768 * 147456 / 1e9)
    taken = told["weights_gb"] + told["kv_cache_gb"] + told["overhead_gb"]
    assert told["vram_gb"] == pytest.approx(taken / 0.92, rel=0.001)
    assert told["tp_allowed"][:4] == [1, 2, 4, 8]
    assert (told["tool_parser"], told["reasoning_parser"]) == ("hermes", "qwen3")
    assert told["env"] == {} and not told["trust_remote_code"]
    variants = {each["format"]: each for each in told["variants"]}
    assert variants["fp8"]["id"] == "Qwen/Qwen3-8B-FP8"
    by_gpu = {each["gpu"]: each for each in told["fits"]}
    assert not by_gpu["RTX 4090 24GB"]["fits"]
    assert by_gpu["RTX 4090 24GB"]["missing_gb"] > 30
    assert by_gpu["H100 80GB"]["fits"] and by_gpu["H100 80GB"]["sequences"] >= 8


def test_one_gpu_a_group_of_them_and_a_smaller_cache(capsys: pytest.CaptureFixture[str]) -> None:
    plain = shown(capsys, "qwen3-8b", "--gpu", "RTX 4090", "--context", "8192")
    assert shown(capsys, "qwen3-8b", "--gpu", "4090", "--context", "8192") == plain
    (fit,) = plain["fits"]
    assert fit["fits"] and fit["words"].startswith("fits ")
    halved = shown(
        capsys, "qwen3-8b", "--gpu", "24GB", "--context", "8192", "--kv-cache-dtype", "fp8"
    )
    assert halved["kv_cache_gb"] == pytest.approx(plain["kv_cache_gb"] / 2)
    shared = shown(capsys, "qwen3-8b", "--gpu", "24GB", "--context", "8192", "--tp", "2")
    assert shared["kv_cache_gb"] == pytest.approx(plain["kv_cache_gb"] / 2)
    assert shared["weights_gb"] < 0.6 * plain["weights_gb"]
    small = shown(capsys, "qwen3-8b", "--gpu", "24GB", "--quantization", "fp8")
    assert small["weights_gb"] < 0.65 * plain["weights_gb"]
    (refused,) = shown(capsys, "qwen3-8b", "--gpu", "24GB", "--tp", "3")["fits"]
    assert not refused["fits"] and "3 GPUs cannot share" in refused["words"]


def test_the_same_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("models", "show", "qwen3-8b", "--context", "32768")) == 0
    told = capsys.readouterr()
    for words in (
        *("Qwen/Qwen3-8B", "catalogue", "40,960 tokens at most", "4 requests of 32,768 tokens"),
        *("147,456 bytes per token", "hermes", "no: ", "yes: fits ", "Qwen/Qwen3-8B-FP8"),
    ):
        assert words in told.out
    assert "offline" in told.err


@pytest.mark.parametrize(
    ("arguments", "what", "helps"),
    [
        (("qwen3-8",), "unknown model 'qwen3-8'", "qwen3-8b"),
        (("qwen3-8b", "--gpu", "Voodoo 2"), "no GPU called 'Voodoo 2'", "RTX 4090"),
        (("qwen3-8b", "--gpu=-5GB"), "no GPU called '-5GB'", "24GB"),
        (("qwen3-8b", "--kv-cache-dtype", "fp3"), "unknown type of the KV cache 'fp3'", "fp8"),
        (("qwen3-8b", "--quantization", "fp3"), "unknown quantization 'fp3'", "fp8"),
        (("qwen3-8b", "--context", "50000"), "takes 40,960 tokens at most", "shorter"),
        (("qwen3-8b", "--context", "1"), "a context of 1 is too short", "at least 16 tokens"),
        (("datasets/org/name",), "a dataset", "models WORDS"),
    ],
)
def test_what_cannot_be_is_two_lines_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], what: str, helps: str
) -> None:
    assert run(("models", "show", *arguments)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    error, hint = told.err.splitlines()
    assert error.startswith("error: ") and what in error
    assert hint.startswith("hint: ") and helps in hint


def test_a_name_alone_is_said_to_be_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    told = shown(capsys, "acme/unheard-of-7b")
    assert told["source"] == "guessed from the name"
    assert told["weights_gb"] == pytest.approx(14.0)
    assert told["kv_bytes_per_token"] is None and told["fits"] == []
    assert run(("models", "show", "acme/unheard-of-7b")) == 0
    assert "guessed from its size" in capsys.readouterr().err


def test_the_programs_own_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("models",)) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) > 60
    (row,) = [line for line in told.out.splitlines() if line.startswith("qwen3-8b ")]
    assert "8.19 B" in row and "apache-2.0" in row and "yes, 1 x 32k" in row
    assert run(("models", "coder", "qwen3")) == 0
    told = capsys.readouterr()
    assert all("Coder" in line for line in told.out.splitlines()[1:])
    assert "offline" in told.err and "the program's own list" in told.err


async def test_words_search_the_hub_too(hub: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(run, ("models", "qwen3", "--json")) == 0
    rows = {row["location"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows[QWEN]["alias"] == "qwen3-0.6b" and rows[QWEN]["downloads"] == 29_646_527
    tuned = rows["acme/qwen3-tuned"]
    assert (tuned["downloads"], tuned["license"]) == (640, "apache-2.0")
    assert tuned["fits"].startswith("yes, ") and tuned["told_by"] == "hub"
    assert rows["acme/qwen3-embedding"]["fits"] == "no: it is for feature-extraction"
    assert rows["Qwen/Qwen3-32B"]["downloads"] is None  # of the program's own list alone
    assert await asyncio.to_thread(run, ("models", "qwen3")) == 0
    assert "29.6M" in capsys.readouterr().out


async def test_the_hub_is_asked_once_and_then_its_answer_is_kept(
    hub: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(run, ("models", "show", "acme/qwen3-tuned", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["source"].startswith("from the hub, revision ")
    assert len(told["revision"]) == 40
    assert told["download_gb"] == pytest.approx(1.203, rel=0.01)
    asked = len(hub.paths)
    assert await asyncio.to_thread(run, ("models", "show", "acme/qwen3-tuned", "--json")) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["source"].startswith("the last answer from the hub, of ")
    assert len(hub.paths) == asked


def test_what_is_kept_is_told_without_network_and_terminal_libraries(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gdl", "models", "show", "qwen3-8b", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
        timeout=60,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    modules = {line.rsplit("|", 1)[1].strip() for line in lines}
    heavy = {"httpx", "rich", "textual", "asyncssh", "sqlite3", "gdl.bootstrap", "gdl.backends"}
    assert not modules & {*heavy, "gdl.domain.events", "gdl.orchestrator.service"}
    assert json.loads(done.stdout)["id"] == "Qwen/Qwen3-8B"


def test_a_number_of_gpus_that_does_not_divide_the_heads_has_no_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = shown(capsys, "qwen3-8b", "--tp", "3")
    assert told["vram_gb"] is None and told["weights_gb"] is None
    assert told["tp_allowed"][:3] == [1, 2, 4]
    for fit in told["fits"]:
        assert not fit["fits"] and fit["sequences"] == fit["longest"] == 0
        assert fit["words"] == "3 GPUs cannot share 32 attention heads"
    assert run(("models", "show", "qwen3-8b", "--tp", "3")) == 0
    assert "3 GPUs cannot share 32 attention heads" in capsys.readouterr().out


def test_a_gguf_repository_is_sized_once_a_file_of_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    variants = {each["format"]: each for each in shown(capsys, "qwen3-8b")["variants"]}
    assert variants["gguf"]["size_gb"] is None
    assert variants["gguf"]["fits"] == "not known until a file is named"
    assert run(("models", "show", "qwen3-8b:Q4_K_M")) == 0
    page = capsys.readouterr().out
    assert "size computed from the bits of Q4_K_M" in page
    assert "0.8.4 to 0.23.0" in page
    # By the bits of its kind, and never as if it were of 16.
    for kind, most in (("MXFP4", 15), ("UD-Q4_K_XL", 14), ("TQ1_0", 7)):
        assert shown(capsys, f"gpt-oss-20b:{kind}")["weights_gb"] < most


def test_nothing_found_is_said_with_what_may_have_been_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(("models", "qwen3-8")) == 0
    capsys.readouterr()
    assert run(("models", "qwen3-8bb")) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "nothing matches qwen3-8bb: did you mean qwen3-8b" in told.err
    assert run(("models", "zzz", "--json")) == 0
    assert "nothing matches zzz" in capsys.readouterr().err


async def test_a_silent_hub_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("GDL_TIMEOUTS__HUB", "0.3")
        assert await asyncio.to_thread(run, ("models", "show", "qwen3-8b")) == 0
        told = capsys.readouterr()
        assert "Qwen3ForCausalLM" in told.out
        assert "does not answer within 0.3 s; this is from the program's own catalogue" in told.err
        assert await asyncio.to_thread(run, ("models", "zzz")) == 0
        assert "nothing matches zzz" in capsys.readouterr().err


@pytest.mark.parametrize("typed", ["some/Thing", "/models/x"])
def test_a_size_that_nothing_tells_is_not_called_a_guess(
    capsys: pytest.CaptureFixture[str], typed: str
) -> None:
    assert run(("models", "show", typed)) == 0
    told = capsys.readouterr()
    assert "guessed" not in told.out + told.err
    assert "not known" in told.out and "its size is not known" in told.err


def test_a_gguf_file_by_its_path_hints_at_its_quantization(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(("models", "show", "owner/name-GGUF/name-Q5_K_M.gguf")) == 2
    assert "owner/name-GGUF:Q5_K_M" in capsys.readouterr().err
    assert run(("models", "show", "owner/name-GGUF/file.gguf")) == 2
    assert "owner/name-GGUF:Q4_K_M" in capsys.readouterr().err
