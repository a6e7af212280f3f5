from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdl.engines.registry import get

START = Path(__file__).parent / "data" / "engine" / "start-cpu.log"
NEWER_GPU = """\
[gdl] verified numpy 2.3.5
[gdl] verified torch 2.13.0+cu130 (CUDA: 13.0)
[gdl] verified vllm 0.32.0
(APIServer pid=3) INFO 11-23 15:39:00 [api_utils.py:286] non-default args: {'port': 8000}
(EngineCore pid=12) INFO 11-23 15:39:12 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with
(EngineCore pid=12) INFO 11-23 [gpu_model_runner.py:2602] Starting to load model org/name...
Loading safetensors checkpoint shards:   0% Completed | 0/2 [00:00<?, ?it/s]
Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01,  1.00s/it]
Loading safetensors checkpoint shards: 100% Completed | 2/2 [00:02<00:00,  1.00s/it]
(EngineCore pid=12) INFO 11-23 [default_loader.py:308] Loading weights took 3.11 seconds
(EngineCore pid=12) INFO 11-23 [x.py:1] Model loading took 14.2 GiB memory and 4.1 seconds
(EngineCore pid=12) INFO 11-23 [monitor.py:34] torch.compile took 21.51 s in total
(EngineCore pid=12) INFO 11-23 [gpu_worker.py:298] Available KV cache memory: 5.31 GiB
(EngineCore pid=12) INFO 11-23 [kv.py:1] GPU KV cache size: 43,488 tokens, Maximum concurrency
Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  45%|####5     | 30/67
(EngineCore pid=12) INFO 11-23 [x.py:1] Graph capturing finished in 12 secs, took 0.55 GiB
(EngineCore pid=12) INFO 11-23 [core.py:2] init engine (profile, create kv cache) took 44.1 s
(APIServer pid=3) INFO 11-23 [x.py:1] Starting vLLM server on http://127.0.0.1:8000
INFO:     Application startup complete.
"""
OLDER = """\
INFO 03-02 10:00:00 llm_engine.py:74] Initializing an LLM engine (v0.4.0) with config: model='x'
INFO 03-02 10:00:09 model_runner.py:104] Loading model weights took 13.49 GB
INFO 03-02 10:00:12 gpu_executor.py:94] # GPU blocks: 3419, # CPU blocks: 512
INFO 03-02 10:00:14 model_runner.py:791] Capturing the model for CUDA graphs. This may lead to
INFO 03-02 10:00:33 model_runner.py:867] Graph capturing finished in 19 secs.
INFO 03-02 10:00:34 api_server.py:232] Starting vLLM API server 0 on http://127.0.0.1:8000
INFO:     Application startup complete.
"""


@pytest.mark.parametrize("text", [START.read_text(), NEWER_GPU, OLDER], ids=["cpu", "gpu", "old"])
def test_a_start_only_moves_forward_and_ends_ready(text: str) -> None:
    marks = [m for m in map(get("vllm").read_line, text.splitlines()) if m is not None]
    fractions = [m.fraction for m in marks if m.fraction is not None]
    assert fractions == sorted(fractions)
    assert marks[-1].stage == "ready" and marks[-1].fraction == 1.0
    assert [m.stage for m in marks].count("ready") == 1
    order = ["verified", "starting", "loading", "ready"]
    stages = [order.index(m.stage) for m in marks]
    assert stages == sorted(stages)


@pytest.mark.parametrize("text", [NEWER_GPU, OLDER], ids=["gpu", "old"])
def test_every_line_of_interest_makes_a_mark(text: str) -> None:
    unmarked = [line for line in text.splitlines() if get("vllm").read_line(line) is None]
    assert unmarked == []


def test_the_real_start_shows_what_matters() -> None:
    texts = [m.text for m in map(get("vllm").read_line, START.read_text().splitlines()) if m]
    assert "vLLM 0.32.0 imports" in texts
    assert "torch 2.13.0+cpu imports (CUDA: none)" in texts
    assert "shard 1/1" in texts
    assert "KV cache: 46,592 tokens" in texts


@pytest.mark.parametrize(
    "line",
    ["", "INFO: 127.0.0.1 - GET /health 200", "Application is complete", "x" * 100_000],
)
def test_other_lines_make_none(line: str) -> None:
    assert get("vllm").read_line(line) is None


@given(st.text(max_size=200))
def test_no_line_breaks_the_reader(line: str) -> None:
    mark = get("vllm").read_line("checkpoint shards: 999% Completed | 9/9 {x} " + line)
    assert mark is not None and mark.fraction is not None and mark.fraction <= 1.0
