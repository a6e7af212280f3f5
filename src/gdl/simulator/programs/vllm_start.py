"""How the simulated vLLM server starts: its log, its progress, and what goes wrong on the way.

Log lines are worded as by vLLM 0.32.
Standard library only: it runs on the simulated machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from .vllm_api import LABEL, Api, Served
from .vllm_engine import LOADING, STARTING, EngineFault
from .vllm_host import Host
from .vllm_longest import USUAL, at_most, own_longest, shortened, too_long
from .vllm_parsers import CALLS, WORDS, Parsers
from .vllm_script import Script

INSTALLED = Path("venv/installed")

USUAL_PARAMETERS_B = 7.0
USUAL_TOKENS = 1024
DEAD_S = 0.3
"""How long a server whose engine is gone still answers, as measured on a real one."""


def installed(name: str, otherwise: str) -> str:
    """The version of a package that was "installed" last."""
    found = otherwise
    with contextlib.suppress(OSError):
        for line in INSTALLED.read_text().splitlines():
            package, _, version = line.partition("==")
            if package == name and version:
                found = version
    return found


VERSION = installed("vllm", "0.32.0")


# -- what it says ------------------------------------------------------------------------------


def say(text: str, process: str = "APIServer", place: str = "api_server.py:1") -> None:
    stamp = time.strftime("%m-%d %H:%M:%S")
    print(f"({process} pid={os.getpid()}) INFO {stamp} [{place}] {text}", flush=True)


def plain(text: str) -> None:
    print(text, flush=True)


def progress(text: str, last: bool = False) -> None:
    """A progress bar's state, over the one before, as tqdm writes it."""
    sys.stdout.flush()
    sys.stderr.write(f"\r{text}" + ("\n" if last else ""))
    sys.stderr.flush()


# -- what goes wrong ---------------------------------------------------------------------------


def fail(fault: dict[str, Any]) -> None:
    """Say what the fault says, and end."""
    for line in fault["text"].splitlines():
        plain(line)
    sys.stderr.flush()
    os._exit(fault["status"])


# -- start -------------------------------------------------------------------------------------


def parameters_b(model: str) -> float:
    """10^9 parameters, as the model's name tells them."""
    found = re.search(r"(\d+(?:\.\d+)?)\s*([bm])\b", model.lower().replace("_", "-"))
    if not found:
        return USUAL_PARAMETERS_B
    return float(found[1]) * (1.0 if found[2] == "b" else 0.001)


class Start:
    """The way from the first import to a server that listens."""

    def __init__(self, options: argparse.Namespace, host: Host, usual: argparse.Namespace) -> None:
        self.options, self.usual = options, vars(usual)
        self.host = host
        self.fault = host.fault()
        self.weights_gib = parameters_b(options.model) * 2 / 1.0737
        self.gpus = max(options.tensor_parallel_size, 1)
        self.seats = 1
        asked = options.max_model_len
        self.longest: int = asked if asked > 0 else own_longest(options.model) or USUAL
        self.engine_fault = EngineFault(self.fault, host)

    def run(self, verify: bool) -> socket.socket:
        at = self.fault.get("at")
        if verify:
            self.host.pause("imports", 0.3)
            if at == "import":
                self.fault["status"] = 86
                fail(self.fault)
            plain("[gdl] verified numpy 2.3.5")
            self.host.pause("imports", 0.4)
            torch = installed("torch", "2.13.0+cu130")
            build = torch.partition("+cu")[2]
            plain(f"[gdl] verified torch {torch} (CUDA: {build[:-1]}.{build[-1:]})")
            self.host.pause("imports", 0.3)
            plain(f"[gdl] verified vllm {VERSION}")
        plain("[sandbox] simulated vLLM server on a simulated GPU: every answer is made up")
        self._arguments()
        if at == "arguments":
            fail(self.fault)
        listener = self._bind()
        self._load(at)
        self._memory(at)
        return listener

    def _arguments(self) -> None:
        options = self.options
        say("       █     █     █▄   ▄█", place="api_utils.py:347")
        say(f" ▄▄ ▄█ █     █     █ ▀▄▀ █  version {VERSION} {LABEL}", place="api_utils.py:347")
        say(f"  █▄█▀ █     █     █     █  model   {options.model}", place="api_utils.py:347")
        shown = {
            name: value
            for name, value in vars(options).items()
            if value != self.usual.get(name) and name != "verify"
        }
        say(f"non-default args: {shown}", place="api_utils.py:286")
        say("Resolved architecture: LlamaForCausalLM", place="model.py:733")
        if words := too_long(self.longest, at_most(self.options.model, self.host)):
            plain(f"(APIServer pid={os.getpid()})   Value error, {words}")
            sys.stderr.flush()
            os._exit(1)
        say(f"Using max model len {self.longest}", place="model.py:2152")

    def _bind(self) -> socket.socket:
        """The port is taken before the model is loaded, so that a busy one is told early."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.host.facts["address"], self.options.port))
        except OSError as error:
            plain(f"(APIServer pid={os.getpid()}) OSError: [Errno {error.errno}] {error.strerror}")
            os._exit(1)
        return listener

    def _load(self, at: str | None) -> None:
        engine = "EngineCore"
        say(
            f"Initializing a V1 LLM engine (v{VERSION}) with config: model='{self.options.model}', "
            f"device_config=simulated, tensor_parallel_size={self.gpus}",
            engine,
            "core.py:133",
        )
        say(f"Starting to load model {self.options.model}...", engine, "gpu_model_runner.py:2602")
        self.engine_fault.begin(self._memory_mib())
        self.engine_fault.now(STARTING)
        self.host.mark("loading")
        if at in ("silent", "loading", "loop"):
            self.host.pause("weights", 0.3)
            if at == "silent" and self.fault["text"]:
                plain(self.fault["text"])
            while at == "silent" and self.host.owner_lives():
                time.sleep(0.5)
            fail(self.fault)
        self.engine_fault.now(LOADING)
        parts = max(1, min(round(self.weights_gib / 4.5), 12))
        seconds = self.host.seconds("weights")
        for part in range(parts + 1):
            if part:
                self.host.pause("weights", 1 / parts)
            done = 100 * part // parts
            progress(
                f"Loading safetensors checkpoint shards: {done:3d}% Completed | {part}/{parts} "
                f"[00:{round(seconds * part / parts):02d}<00:00,  1.31it/s]",
                last=part == parts,
            )
        say(f"Loading weights took {seconds:.2f} seconds", engine, "default_loader.py:501")
        say(
            f"Model loading took {self.weights_gib / self.gpus:.2f} GiB memory and "
            f"{seconds + 0.3:.2f} seconds",
            engine,
            "gpu_model_runner.py:2653",
        )
        self.host.pause("compile")
        seconds = self.host.seconds("compile")
        say(f"torch.compile took {seconds:.2f} s in total", engine, "mon.py:34")

    def _memory(self, at: str | None) -> None:
        engine = "EngineCore"
        if at == "memory":
            fail(self.fault)
        total = self.host.facts["memory_mib"] / 1024
        free = max(0.9 * total - self.weights_gib / self.gpus - 0.7, 0.5)
        tokens = int(free * self.gpus * 2**30 / max(16_000 * self.weights_gib, 8_000))
        if self.options.max_model_len < 0 and 0 < tokens < self.longest:
            say(shortened(self.longest, tokens, free), engine, "kv_cache_utils.py:9")
            self.longest = tokens
        longest = self.longest
        # As many at a time as the KV cache holds, at the length that requests usually have.
        self.seats = max(1, min(self.options.max_num_seqs, tokens // min(longest, USUAL_TOKENS)))
        say(f"Available KV cache memory: {free:.2f} GiB", engine, "gpu_worker.py:298")
        say(
            f"GPU KV cache size: {tokens:,} tokens, Maximum concurrency for {longest:,} tokens per "
            f"request: {tokens / longest:.2f}x",
            engine,
            "kv_cache_utils.py:2327",
        )
        for done in range(0, 68, 17):
            progress(f"Capturing CUDA graphs (PIECEWISE): {100 * done // 51:3d}%| {done}/51")
            self.host.pause("graphs", 0.25)
        progress("Capturing CUDA graphs (PIECEWISE): 100%| 51/51", last=True)
        seconds = self.host.seconds("graphs")
        say(f"Graph capturing finished in {seconds:.0f} secs, took 0.31 GiB", engine, "gpu.py:3")
        took = f"took {seconds + 1:.2f} s"
        say(f"init engine (profile, create kv cache, warmup model) {took}", engine, "core.py:402")
        self.host.mark("memory", f"{self._memory_mib()}\n")

    def _memory_mib(self) -> int:
        """What it takes of each GPU."""
        return int(self.host.facts["memory_mib"] * 0.9)


async def watch_owner(host: Host) -> None:
    """Until the machine ends, which is the server's end."""
    while host.owner_lives():  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.5)


def restart_for_ever(options: argparse.Namespace, host: Host) -> None:
    """A supervisor that starts the server again and again, each in a process of its own."""
    while host.owner_lives():
        child = os.fork()
        if child == 0:
            Start(options, host, options).run(options.verify)
            os._exit(1)
        os.waitpid(child, 0)
        time.sleep(0.2)


def served(start: Start) -> Served:
    """A token needs all weights once; reading them takes as long as the memory's bandwidth lets
    it, of which about 55 % is reached."""
    options, fault, facts = start.options, start.fault, start.host.facts
    weights = max(parameters_b(options.model) * 2e9, 2e8)
    bandwidth = facts["bandwidth"] * 1e9 * max(options.tensor_parallel_size, 1)
    return Served(
        model=options.served_model_name or options.model,
        longest=start.longest,
        key=os.environ.get("VLLM_API_KEY", ""),
        token_s=max(weights / (0.55 * bandwidth), 1 / 400),
        speed=float(facts["speed"]),
        version=VERSION,
        trouble=fault.get("at", ""),
        trouble_text=fault.get("text", ""),
        die=lambda: fail(fault),
        seats=start.seats,
        parsers=Parsers(
            options.tool_call_parser, options.enable_auto_tool_choice, options.reasoning_parser
        ),
    )


async def serve(listener: socket.socket, start: Start) -> None:
    """Until the machine ends, or the fault wants it."""
    able = start.fault.get("at") != "unable"
    thinks = f"{LABEL} first this, then that." if able and start.options.reasoning_parser else ""
    script = Script(thinks=thinks, tool_habit=CALLS if able else WORDS)
    api, fault = Api(served(start), script), start.fault
    server = await asyncio.start_server(api.accept, sock=listener, limit=2**20)
    port = listener.getsockname()[1]
    say(f"Starting vLLM server on http://127.0.0.1:{port}", place="entry.py:140")
    plain(f"INFO:     Started server process [{os.getpid()}]")
    plain("INFO:     Waiting for application startup.")
    plain("INFO:     Application startup complete.")
    start.host.mark("serving")
    if fault.get("at") == "serving":
        await asyncio.sleep(fault["after"])
        fail(fault)
    if start.engine_fault.at_work():
        await engine_goes(start, api, script, server)
    await watch_owner(start.host)
    server.close()


async def engine_goes(start: Start, api: Api, script: Script, server: asyncio.Server) -> None:
    """The engine is killed while it serves, or left behind: some time after its first answer,
    which is the proof that it serves, however slow the way to it was."""
    fault = start.engine_fault
    await api.answered.wait()
    await asyncio.sleep(fault.after_s)
    if not fault.kills:
        fault.orphan()
    fault.dies_at_work()
    script.health_status = 503
    await asyncio.sleep(DEAD_S)
    plain("INFO:     Shutting down")
    server.close()
    await asyncio.sleep(start.host.seconds("shutdown"))
    plain(f"INFO:     Finished server process [{os.getpid()}]")
    os._exit(0)


def _length(word: str) -> int:
    """A context length; -1 for `auto`, which takes what fits."""
    return -1 if word == "auto" else int(word)


def main(host: Host) -> None:
    parser = argparse.ArgumentParser(prog="api_server.py")
    parser.add_argument("--verify", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--model", default="simulated")
    parser.add_argument("--served-model-name", default="")
    parser.add_argument("--host", default="")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-model-len", type=_length, default=0)
    parser.add_argument("--max-num-seqs", type=int, default=256)
    parser.add_argument("--tool-call-parser", default="")
    parser.add_argument("--enable-auto-tool-choice", action="store_true")
    parser.add_argument("--reasoning-parser", default="")
    parser.add_argument("--tensor-parallel-size", "-tp", type=int, default=1)
    options, _ = parser.parse_known_args()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: os._exit(0))
    # Whoever started the simulator may ignore it (nohup does), and programs inherit that.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    start = Start(options, host, parser.parse_args([]))
    if start.fault.get("at") == "loop":
        restart_for_ever(options, host)
        return
    listener = start.run(options.verify)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(listener, start))
