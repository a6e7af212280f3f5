"""Engines side by side on this computer: llama.cpp and vLLM with the same small model.

    .venv/bin/python bench/engines.py quick [--rounds 1] [--json FILE]
    .venv/bin/python bench/engines.py timings [--requests 12] [--concurrency 1 2 4] [--json FILE]

quick: the README's quick try on a fresh machine, in turns with the same by vLLM: a new environment,
`pip install .`, `gdl-tui deploy smollm2-135m`, all package caches empty, to the model's first
answer. Goal: at most 0.25x of the vLLM run. Where others use the processors too, the processor time
of all that was started tells more than the clock: both are printed. timings: the load generator's
figures beside those that llama.cpp's server keeps itself, for one and for several requests at a
time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from real_support import environment, first, is_phase, started  # noqa: E402 - a part of the tests

ENGINES = ("llamacpp", "vllm")
GOAL = 0.25
MODEL = "smollm2-135m"
TOKENS = 32
KEY_NAME = "OPENAI_API_KEY"
COUNTERS = ("prompt_tokens", "prompt_seconds", "tokens_predicted", "tokens_predicted_seconds")
MILESTONES = ("environment", "installed gdl-tui", "installed engine", "serving", "answer")
INSTALL = ("pip", "install", "-q")
"""As the README has it."""


class Processors:
    """Adds up the processor time of all processes that a folder is known to: by their environment,
    their command or where they work. What lives shorter than EVERY_S is not seen."""

    EVERY_S = 0.25

    def __init__(self, folder: Path) -> None:
        self._mark = os.fsencode(folder)
        self._seen: dict[tuple[str, str], float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        return sum(self._seen.values())

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self.EVERY_S):
            for path in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    told = (path / "environ").read_bytes() + (path / "cmdline").read_bytes()
                    if self._mark in told + os.fsencode((path / "cwd").readlink()):
                        words = (path / "stat").read_text().rpartition(")")[2].split()
                        used = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
                        self._seen[path.name, words[19]] = used


def quick_try(engine: str) -> dict[str, float]:
    """Seconds since the first command to each of MILESTONES, and the model's answer."""
    folder = Path(tempfile.mkdtemp(prefix=f"quick-{engine}-"))
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    places = ("UV_CACHE_DIR", "PIP_CACHE_DIR", "XDG_CACHE_HOME", "GDL_DATA_DIR")
    env |= {name: str(folder / name) for name in places}
    processors = Processors(folder)
    try:
        begun = time.monotonic()
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        times = {MILESTONES[0]: time.monotonic() - begun}
        pip = [str(folder / "venv/bin" / INSTALL[0]), *INSTALL[1:], str(ROOT)]
        subprocess.run(pip, env=env, check=True, stderr=subprocess.DEVNULL)
        times[MILESTONES[1]] = time.monotonic() - begun
        times["processor, installed gdl-tui"] = processors.seconds
        words = ["deploy", MODEL, "--backend", "local", "--engine", engine]
        words += ["--no-bench", "--destroy", "--json"]
        run = subprocess.Popen(
            [folder / "venv/bin/gdl-tui", *words],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert run.stdout is not None
        for line in run.stdout:
            event, now = json.loads(line), time.monotonic() - begun
            if is_phase(event, "STARTING"):
                times[MILESTONES[2]] = now
            elif is_phase(event, "VERIFYING"):
                times[MILESTONES[3]] = now
            elif event["type"] == "checked" and event["check"]["name"] == "inference":
                times[MILESTONES[4]] = now
                times["processor"] = processors.seconds
                print(f"  {engine}: {now:.1f} s, {event['check']['detail']}", file=sys.stderr)
        if run.wait() != 0 or MILESTONES[4] not in times:
            raise SystemExit(f"the run with {engine} ended with {run.returncode}")
        return times
    finally:
        processors.end()
        shutil.rmtree(folder, ignore_errors=True)


def quick(options: argparse.Namespace) -> dict[str, Any]:
    rounds: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES}
    for number in range(options.rounds):
        chosen = options.engines if number % 2 == 0 else options.engines[::-1]
        for engine in chosen:
            load = os.getloadavg()[0]
            print(f"round {number + 1}, {engine}, load {load:.1f}", file=sys.stderr)
            rounds[engine].append(quick_try(engine) | {"load": load})
            print(json.dumps(rounds[engine][-1]), file=sys.stderr)
    if set(options.engines) != set(ENGINES):
        return {"rounds": rounds}
    middle = {
        engine: {name: statistics.median(r[name] for r in found) for name in found[0]}
        for engine, found in rounds.items()
    }
    since = {name: times["answer"] - times["environment"] for name, times in middle.items()}
    ratio = since["llamacpp"] / since["vllm"]
    whole = middle["llamacpp"]["answer"] / middle["vllm"]["answer"]
    for name in middle["vllm"]:
        print(f"{name:30}" + "".join(f"{middle[engine][name]:10.1f}" for engine in ENGINES))
    share = middle["llamacpp"]["processor"] / middle["vllm"]["processor"]
    print(
        f"llama.cpp beside vLLM, from `pip install` to the answer: {ratio:.2f}x; goal {GOAL}x\n"
        f"with the environment: {whole:.2f}x; of the processor: {share:.2f}x"
    )
    return {"rounds": rounds, "ratio": ratio, "with_environment": whole}


@contextlib.contextmanager
def served() -> Iterator[tuple[str, str]]:
    """(address, key) of llama.cpp's server on this computer, past the tunnel."""
    with tempfile.TemporaryDirectory() as name:
        place = environment(Path(name))
        job = ("deploy", MODEL, "--backend", "local", "--engine", "llamacpp", "--no-bench")
        with started(place, *job) as run:
            run.until(lambda event: is_phase(event, "SERVING"))
            tunnel = first(run, lambda event: event["type"] == "tunnel_opened")
            try:
                key = Path(tunnel["api_key_file"]).read_text().strip()
                yield f"http://127.0.0.1:{place['GDL_ENGINE__PORT']}", key
            finally:
                run.process.terminate()
                run.finish()


def counted(url: str, key: str) -> dict[str, float]:
    request = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        rows = (line.split() for line in answer.read().decode().splitlines() if line[0] != "#")
        told = {row[0]: float(row[1]) for row in rows}
    return {name: told[f"llamacpp:{name}_total"] for name in COUNTERS}


def compared(url: str, key: str, concurrency: int, requests: int) -> dict[str, float]:
    """One run of the load generator, and what the server counted meanwhile. It counts a request's
    first token with those behind it, whose time it tells: intervals are one less than tokens."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        before = counted(url, key)
        words = ["bench", "--url", url, "--api-key-env", KEY_NAME, "--model", MODEL, "--json"]
        words += [
            "--completions",
            "--ignore-eos",
            "--dataset",
            "random",
            "--input-len",
            "64",
            "--output-len",
            str(TOKENS),
        ]
        words += ["--concurrency", str(concurrency), "--requests", str(requests)]
        words += ["--warmup", "1", "--save-result", file.name]
        env = {**os.environ, KEY_NAME: key}
        subprocess.run([sys.executable, "-m", "gdl", *words], env=env, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        ours = json.loads(Path(file.name).read_text())
    theirs = {name: value - before[name] for name, value in counted(url, key).items()}
    requests += 1  # the warm-up
    intervals = theirs["tokens_predicted"] - requests
    return {
        "tokens": ours["total_output_tokens"] + TOKENS,
        "server_tokens": theirs["tokens_predicted"],
        "tpot_ms": ours["mean_tpot_ms"],
        "server_tpot_ms": theirs["tokens_predicted_seconds"] / intervals * 1000,
        "ttft_ms": ours["mean_ttft_ms"],
        "server_prompt_ms": theirs["prompt_seconds"] / requests * 1000,
    }


def timings(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with served() as (url, key):
        compared(url, key, 1, 2)  # what a server does at its first requests is nobody's figure
        for concurrency in options.concurrency:
            row = found[str(concurrency)] = compared(url, key, concurrency, options.requests)
            off = row["tpot_ms"] / row["server_tpot_ms"] - 1
            later = row["ttft_ms"] - row["server_prompt_ms"]
            print(
                f"{concurrency} at a time: tokens {row['tokens']:.0f} / {row['server_tokens']:.0f}"
            )
            print(f"  ms a token {row['tpot_ms']:.2f} / {row['server_tpot_ms']:.2f} ({off:+.1%})")
            print(f"  ms to the first {row['ttft_ms']:.1f}, the prompt alone by the server "
                  f"{row['server_prompt_ms']:.1f} ({later:+.1f})")  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("what", choices=("quick", "timings"))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--requests", type=int, default=12)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = quick(options) if options.what == "quick" else timings(options)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
