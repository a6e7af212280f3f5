"""What a server holds, from its log to the record of how good the predictions have been."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdl.bootstrap import open_orchestrator
from gdl.domain import events as ev
from gdl.domain.health import CheckStatus
from gdl.domain.requirements.allocation import Allocation, GpuKind, Load
from gdl.domain.requirements.architecture import read
from gdl.domain.server_memory import (
    MemoryComparison,
    ServerMemory,
    compared,
    memory_check,
    track_record,
)
from gdl.engines.vllm.log import read_line
from gdl.engines.vllm.memory import VllmMemory
from gdl.journal import memory
from gdl.journal.store import Journal
from gdl.settings import load

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
DATA = Path(__file__).parent / "data"

# As the real server wrote them (0.32, CPU build; the GPU's lines as its source has them).
ON_CPU = """\
(APIServer pid=1) INFO 11-28 12:43:25 [api_utils.py:286] non-default args: {'enable_auto_tool_choice': True, 'tool_call_parser': 'hermes', 'host': '127.0.0.1', 'port': 18431, 'model': '/srv/model', 'max_model_len': 2048, 'enforce_eager': True, 'served_model_name': ['m']}
(EngineCore pid=2) INFO 11-28 12:43:40 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='/srv/model', speculative_config=None
(EngineCore pid=2) INFO 11-28 12:43:50 [cpu_worker.py:244] Explicitly set (1.0/17.21) GiB for KV cache on node 0.
(EngineCore pid=2) INFO 11-28 12:43:50 [kv_cache_utils.py:2327] CPU KV cache size: 46,592 tokens, Maximum concurrency for 2,048 tokens per request: 22.75x
"""  # noqa: E501
ON_GPU = """\
(APIServer pid=1) INFO [api_utils.py:286] non-default args: {'model': 'a/b', 'max_model_len': -1, 'tensor_parallel_size': 2, 'kv_cache_dtype': 'fp8', 'max_num_batched_tokens': 4096, 'quantization': 'fp8', 'enable_prefix_caching': False, 'async_scheduling': False, 'language_model_only': True}
(Worker_TP0 pid=3) INFO [gpu_model_runner.py:5150] Model loading took 7.51 GiB memory and 3.100000 seconds
(Worker_TP1 pid=4) INFO [gpu_model_runner.py:5150] Model loading took 7.53 GiB memory and 3.200000 seconds
(Worker_TP0 pid=3) INFO [gpu_worker.py:760] Available KV cache memory: 12.34 GiB
(EngineCore pid=2) INFO [kv_cache_utils.py:2478] Auto-fit max_model_len: reduced from 131072 to 98304 to fit in available KV cache memory (12.34 GiB GPU)
(EngineCore pid=2) INFO [kv_cache_utils.py:2327] GPU KV cache size: 98,310 tokens, Maximum concurrency for 98,304 tokens per request: 1.00x
"""  # noqa: E501
OF_2024 = """\
INFO 11-02 gpu_executor.py:122] # GPU blocks: 2000, # CPU blocks: 512
INFO 11-02 model_runner.py:1077] Loading model weights took 14.99 GB
INFO 11-02 gpu_executor.py:126] Maximum concurrency for 4096 tokens per request: 7.81x
"""


def told(log: str) -> ServerMemory:
    """What a log tells from its first line to its last."""
    so_far = ServerMemory()
    for line in log.splitlines():
        mark = read_line(line)
        if mark is not None and mark.memory is not None:
            so_far = so_far.then(mark.memory)
    return so_far


def allocation(**changes: object) -> Allocation:
    """16 GiB of weights and 2 of overhead on 80 GiB; 0.25 GiB a sequence."""
    made = Allocation(
        GpuKind("NVIDIA H100", 80.0),
        Load(context=4096, sequences=1),
        usable_bytes=int(73.6 * 2**30),
        weights_bytes=16 * 2**30,
        overhead_bytes=2 * 2**30,
        kv_bytes_per_token=65536,
        state_bytes_per_sequence=0,
        kv_bytes=2**28,
        block_size=16,
        sequences=222,
        longest=131072,
        source="from its configuration",
    )
    return replace(made, **changes)  # type: ignore[arg-type] # by name


KNOWN = MemoryComparison("a/b", "vLLM", gpu="NVIDIA H100", gpu_count=1)
SAID = ServerMemory(
    "0.32.0", Load(), weights_gib=16.1, cache_gib=55.0, context=4096, sequences=220.0
)


LLAMA = read(
    {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072,
    }
)  # fmt: skip


def test_the_log_of_a_server_without_a_gpu() -> None:
    found = told(ON_CPU)
    assert (found.release, found.context, found.sequences) == ("0.32.0", 2048, 22.75)
    assert (found.cache_gib, found.cache_given, found.cache_tokens) == (
        1.0,
        True,
        46592,
    )
    assert found.load == Load()


def test_what_is_left_for_a_cache_is_of_no_account_where_its_size_is_given() -> None:
    line = "non-default args: {'gpu_memory_utilization': 0.5, 'model': 'a/b'}"
    started = told(line)
    found = compared(SAID.then(started), allocation(), KNOWN)
    assert found.unpredicted == "--gpu-memory-utilization is set"
    given = compared(SAID.then(started).then(told(ON_CPU)), allocation(kv_bytes=2**25), KNOWN)
    assert given.unpredicted == "" and given.predicted_sequences == 32.0


def test_the_log_of_a_server_on_two_gpus() -> None:
    found = told(ON_GPU)
    assert (found.weights_gib, found.cache_gib, found.cache_given) == (
        7.53,
        12.34,
        False,
    )
    assert (found.reduced_from, found.context, found.sequences) == (131072, 98304, 1.0)
    assert found.load == Load(
        kv_dtype="fp8",
        quantization="fp8",
        tensor_parallel=2,
        batch_tokens=4096,
        prefix_caching=False,
        async_scheduling=False,
        language_only=True,
    )
    assert found.unpredicted == ""


def test_the_log_of_an_old_release() -> None:
    found = told(OF_2024)
    assert (found.weights_gib, found.context, found.sequences) == (14.99, 4096, 7.81)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("'enable_lora': True", "--enable-lora is set"),
        ("'speculative_config': {'method': 'mtp', 'n': 1}", "--speculative-config is set"),
        ("'kv_cache_memory_bytes': 1073741824, 'gpu_memory_utilization': 0.5", ""),
        ("'tensor_parallel_size': 99999999999999999999", ""),
    ],
)
def test_arguments_that_no_prediction_counts(given: str, why: str) -> None:
    found = told("non-default args: {'model': 'a/b', " + given + "}")
    assert found.unpredicted == why
    assert found.cache_given is ("kv_cache_memory_bytes" in given)


@pytest.mark.parametrize(
    "line",
    [
        "GPU KV cache size: 99999999999999999999999999 tokens, Maximum concurrency for 1 tokens",
        "Maximum concurrency for 1,2,3, tokens per request: 1e400x",
        "Available KV cache memory: -3 GiB",
        "Explicitly set (1.0.0/x) GiB for KV cache",
        "non-default args: {" + "'a': {" * 400,
    ],
)
def test_a_hostile_line_is_no_harm(line: str) -> None:
    found = told(line)
    assert found.sequences is None and found.cache_gib is None


digits = st.text("0123456789,.", max_size=14)


@given(digits, digits, st.sampled_from(["auto", "fp8", "x'y", ""]), digits, digits)
def test_whatever_a_log_says_the_comparison_is_made(
    context: str, sequences: str, kv_dtype: str, gpus: str, batch: str
) -> None:
    said = told(
        f"non-default args: {{'tensor_parallel_size': {gpus}, 'kv_cache_dtype': '{kv_dtype}', "
        f"'max_num_batched_tokens': {batch}}}\n"
        f"Maximum concurrency for {context} tokens per request: {sequences}x\n"
    )
    load = replace(said.load or Load(), context=said.context or 1, sequences=1)
    made = VllmMemory().allocation(LLAMA, load, GpuKind("NVIDIA H100", 80.0, (9, 0)))
    assert compared(said, made, KNOWN).words


def test_a_prediction_beside_what_the_server_says() -> None:
    found = compared(SAID, allocation(), KNOWN)
    assert found.predicted_sequences == pytest.approx(222.4)
    assert found.cache_difference == pytest.approx(0.0109, abs=1e-4)
    assert not found.is_off
    assert found.words == "predicted 222 sequences of 4,096 tokens, vLLM says 220"
    assert memory_check(found).status is CheckStatus.PASSED


def test_a_prediction_that_is_off_names_the_weights() -> None:
    found = compared(replace(SAID, weights_gib=24.0, sequences=188.0), allocation(), KNOWN)
    assert found.is_off
    assert found.words.endswith("vLLM says 188; predicted 16.00 GiB of weights, 24.00 loaded")
    # A prediction that is off is ours to learn from; the server does what was asked.
    assert memory_check(found).status is CheckStatus.PASSED


def test_of_a_cache_whose_size_is_given_only_a_sequence_is_predicted() -> None:
    said = replace(SAID, cache_given=True, cache_gib=1.0, sequences=4.0)
    found = compared(said, allocation(), KNOWN)
    assert (found.predicted_sequences, found.predicted_cache_gib) == (4.0, None)
    assert found.words == "predicted 4.0 sequences of 4,096 tokens, vLLM says 4.0"


@pytest.mark.parametrize(
    ("asked_context", "asked_sequences", "missing"),
    [
        (0, 0, ""),
        (4096, 220, ""),
        # Of shorter requests, more fit.
        (2048, 400, ""),
        (8192, 0, "8,192 tokens of context were requested"),
        (4096, 256, "256 requests of 4,096 tokens at a time were requested"),
    ],
)
def test_what_was_asked_for_and_is_not_there_degrades(
    asked_context: int, asked_sequences: int, missing: str
) -> None:
    known = replace(KNOWN, asked_context=asked_context, asked_sequences=asked_sequences)
    check = memory_check(compared(SAID, allocation(), known))
    assert check.status is (CheckStatus.DEGRADED if missing else CheckStatus.PASSED)
    assert check.detail.endswith(missing)


@pytest.mark.parametrize(
    ("said", "planned", "why"),
    [
        (SAID, None, "the model's configuration is not known"),
        (replace(SAID, unpredicted="--enable-lora is set"), allocation(), "--enable-lora is set"),
        (SAID, allocation(refusal="10 KV heads on 4 GPUs"), "10 KV heads on 4 GPUs"),
    ],
)
def test_without_a_prediction_it_says_why(
    said: ServerMemory, planned: Allocation | None, why: str
) -> None:
    known = replace(KNOWN, unpredicted="the model's configuration is not known")
    found = compared(said, planned, known if planned is None else KNOWN)
    assert found.cache_difference is None and not found.is_off
    assert found.words == f"vLLM says 220 sequences of 4,096 tokens (not predicted: {why})"


def test_a_reduced_context_is_said() -> None:
    found = compared(told(ON_GPU), allocation(kv_bytes=12 * 2**30, longest=99_840), KNOWN)
    assert found.words.startswith(
        "context reduced from 131,072 to 98,304 tokens, predicted 99,840; predicted 4.6 sequences"
    )


def test_the_track_record_counts_each_kind_of_server_once() -> None:
    good = compared(SAID, allocation(), KNOWN)
    bad = compared(replace(SAID, sequences=150.0), allocation(), replace(KNOWN, model="c/d"))
    assert track_record([]) == ("", True)
    assert track_record([good, good]) == ("1 model seen, KV cache within 5% in 1", True)
    said, reliable = track_record([good, bad, good])
    assert said == (
        "2 models seen, KV cache within 5% in 1; worst: c/d on 1 x NVIDIA H100 with vLLM 0.32.0: "
        "predicted 222 sequences of 4,096 tokens, vLLM says 150"
    )
    assert reliable
    assert not track_record([bad])[1]
    # What has been put right since does not count for ever.
    assert track_record([replace(good, model="c/d"), bad])[1]


async def test_comparisons_are_kept_once_for_each_server(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "j.sqlite")
    first = compared(SAID, allocation(), KNOWN)
    later = replace(first, sequences=210.0)
    await memory.add(journal, first, "d1", 1, NOW, simulated=False)
    await memory.add(journal, later, "d1", 1, NOW + timedelta(minutes=1), simulated=False)
    await memory.add(journal, first, "d1", 2, NOW, simulated=False)
    await memory.add(journal, first, "d2", 1, NOW, simulated=True)
    assert await memory.kept(journal) == [later, first]
    assert await memory.kept(journal, simulated=True) == [first]
    await journal.aclose()


async def test_a_journal_from_before_takes_comparisons(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as old, old:
        old.executescript((DATA / "journal" / "before-memory.sql").read_text("utf-8"))
    journal = await Journal.open(path)
    assert await memory.kept(journal) == []
    checked = [r.event for r in await journal.events("d1") if isinstance(r.event, ev.Checked)]
    assert [(e.check.name, e.check.status) for e in checked] == [("models", CheckStatus.PASSED)]
    await memory.add(journal, compared(SAID, allocation(), KNOWN), "d1", 1, NOW, simulated=False)
    assert len(await memory.kept(journal)) == 1
    assert [r.id for r in await journal.deployments()] == ["d1"]
    await journal.aclose()


async def test_doctor_says_how_good_the_sizing_has_been(tmp_path: Path) -> None:
    wanted = load(backend="local", data_dir=tmp_path)
    async with open_orchestrator(wanted) as orchestrator:
        assert "sizing" not in {finding.name for finding in await orchestrator.support.doctor()}
    journal = await Journal.open(tmp_path / "journal.sqlite")
    for number, sequences in enumerate((220.0, 222.0, 150.0)):
        one = replace(compared(SAID, allocation(), KNOWN), model=f"a/{number}", sequences=sequences)
        await memory.add(journal, one, f"d{number}", 1, NOW, simulated=False)
    # What a simulated server makes up says nothing of real ones.
    await memory.add(journal, replace(one, model="s", sequences=1.0), "d", 1, NOW, simulated=True)
    await journal.aclose()
    async with open_orchestrator(wanted) as orchestrator:
        (found,) = [f for f in await orchestrator.support.doctor() if f.name == "sizing"]
    assert found.status == "ok"
    assert found.detail.startswith("3 models seen, KV cache within 5% in 2; worst: a/2 on 1 x")
