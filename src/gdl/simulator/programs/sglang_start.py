"""How the simulated SGLang server starts, and what it answers otherwise than vLLM.

Log lines are worded as by SGLang 0.5.23, whose start on a machine without a GPU was recorded
(tests/data/engine/sglang-*.log). Standard library only: it runs on the simulated machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import time
from typing import Any

from .vllm_api import LABEL, Api, Served
from .vllm_host import Host
from .vllm_http import Request, respond
from .vllm_longest import USUAL, at_most, own_longest
from .vllm_metrics import Metrics
from .vllm_parsers import Parsers
from .vllm_script import Script
from .vllm_start import fail, installed, parameters_b, plain, progress, watch_owner

VERSION = installed("sglang", "0.5.23")
_TOKENS = 200_000
_HEALTH_S = 1.0
"""`/health` lets the model generate, and looks once a second whether it has."""


def say(text: str) -> None:
    print(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {text}", flush=True)


class SglangApi(Api):
    """What differs: where it is asked whether it serves, its metrics, and that any name of a model
    is answered."""

    def __init__(self, served: Served, script: Script) -> None:
        super().__init__(served, script)
        self.ready = False
        """Whether its first request to itself is through."""

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        path = request.path.partition("?")[0]
        if path == "/ready":
            return respond(writer, 200 if self.ready else 503, "")
        if path == "/health":
            await asyncio.sleep(_HEALTH_S)
            return respond(writer, 200 if self.ready else 503, "")
        if path == "/metrics":
            text = metrics(self._metrics, self._served.model, self._served.seats)
            return respond(writer, 200, text, "text/plain; version=0.0.4")
        return await super()._answer(request, writer)

    def _refusal(self, body: Any, chat: bool) -> tuple[int, str] | None:
        named = {**body, "model": self._served.model} if isinstance(body, dict) else body
        return super()._refusal(named, chat)


def metrics(told: Metrics, model: str, seats: int) -> str:
    """As its text is, in the figures that are the same everywhere."""
    label = f'engine_type="unified",model_name="{model}"'
    rank = f'{label},moe_ep_rank="0",pp_rank="0",tp_rank="0"'
    lines = ["# A simulated server: these figures are made up."]
    for name, value in (
        ("num_running_reqs", float(told.running)),
        ("num_queue_reqs", float(told.waiting)),
        ("token_usage", min(told.running / max(seats, 1), 1.0)),
        ("fwd_occupancy", "NaN"),
    ):
        lines += [f"# TYPE sglang:{name} gauge", f"sglang:{name}{{{rank}}} {value}"]
    requests = told.counts["stop"] + told.counts["length"]
    for name, count in (
        ("prompt_tokens_total", told.counts["prompt"]),
        ("generation_tokens_total", told.counts["generation"]),
        ("num_requests_total", requests),
    ):
        one = f'{label},is_streaming="false"'
        lines += [f"# TYPE sglang:{name} counter", f"sglang:{name}{{{one}}} {float(count)}"]
    return "\n".join(lines) + "\n"


def load(options: argparse.Namespace, host: Host) -> None:
    """The way from the first import to the memory that is allotted."""
    fault = host.fault()
    host.pause("imports", 1.0)
    if fault.get("at") == "import":
        fail({**fault, "status": 86})
    plain("[gdl] verified numpy 2.3.5")
    plain(f"[gdl] verified torch {installed('torch', '2.14.1+cu130')} (CUDA: 13.0)")
    plain(f"[gdl] verified sglang {VERSION}")
    plain("[sandbox] simulated SGLang server on a simulated GPU: every answer is made up")
    shown = dict(vars(options))
    say(f"server_args={shown}")
    if fault.get("at") == "arguments":
        fail(fault)
    if words := too_long(options.context_length, at_most(options.model_path, host)):
        plain(f"ValueError: {words}")
        os._exit(1)
    gpus = max(options.tp_size, 1)
    total = host.facts["memory_mib"] / 1024
    weights = parameters_b(options.model_path) * 2 / 1.0737 / gpus
    say("Init parallel begin.")
    say("Init parallel ends. elapsed=0.41 s")
    host.mark("loading")
    say(f"Load weight begin. avail mem={total:.2f} GB")
    if fault.get("at") in ("loading", "silent"):
        fail(fault)
    for done in (0, 1):
        progress(
            f"Multi-thread loading shards: {100 * done:3d}% Completed | {done}/1 "
            "[00:00<00:00,  1.09s/it]",
            last=done == 1,
        )
        if not done:
            host.pause("weights")
    say(
        f"Load weight end. elapsed={host.seconds('weights'):.2f} s, type=LlamaForCausalLM, "
        f"avail mem={total - weights:.2f} GB, mem usage={weights:.2f} GB."
    )
    if fault.get("at") == "memory":
        fail(fault)
    half = max(0.88 * total - weights, 0.5) / 2
    say(
        f"KV Cache is allocated. dtype: torch.bfloat16, #tokens: {_TOKENS}, "
        f"K size: {half:.2f} GB, V size: {half:.2f} GB"
    )
    say(f"Memory pool end. avail mem={0.12 * total:.2f} GB")
    say("Capture decode CUDA graph begin. This can take up to several minutes.")
    for done in range(0, 5, 2):
        progress(
            f"Capturing batches (bs=1 avail_mem=2.1 GB): {25 * done:3d}%|##| {done}/4", done == 4
        )
        host.pause("graphs", 1 / 3)
    say(f"Capture decode CUDA graph end. Time elapsed: {host.seconds('graphs'):.2f} s.")
    say(
        f"max_total_num_tokens={_TOKENS}, chunked_prefill_size=8192, max_prefill_tokens=16384, "
        f"max_running_requests={options.max_running_requests}, "
        f"context_len={_longest(options)}, available_gpu_mem=2.11 GB"
    )
    host.mark("memory", f"{int(host.facts['memory_mib'] * 0.9)}\n")


def too_long(asked: int, own: int | None) -> str:
    """Why SGLang 0.5 does not start with that context; "" where it does."""
    allowed = os.environ.get("SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN") in ("1", "true")
    if own is None or asked <= own or allowed:
        return ""
    return (
        f"Warning: User-specified context_length ({asked}) is greater than the derived "
        f"context_length ({own}). This may lead to incorrect model outputs or CUDA errors. To allow"
        " overriding this maximum, set the env var SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN=1"
    )


def _longest(options: argparse.Namespace) -> int:
    return options.context_length or own_longest(options.model_path) or USUAL


def served(options: argparse.Namespace, host: Host) -> Served:
    weights = max(parameters_b(options.model_path) * 2e9, 2e8)
    bandwidth = host.facts["bandwidth"] * 1e9 * max(options.tp_size, 1)
    fault = host.fault()
    return Served(
        model=options.served_model_name or options.model_path,
        longest=_longest(options),
        key=os.environ.get("SGLANG_API_KEY", ""),
        token_s=max(weights / (0.55 * bandwidth), 1 / 400),
        speed=float(host.facts["speed"]),
        version=VERSION,
        trouble=fault.get("at", ""),
        trouble_text=fault.get("text", ""),
        die=lambda: fail(fault),
        seats=options.max_running_requests,
        parsers=Parsers(
            options.tool_call_parser, bool(options.tool_call_parser), options.reasoning_parser
        ),
    )


async def serve(options: argparse.Namespace, host: Host) -> None:
    """Until the machine ends. The port is taken once everything is loaded, as by the real one."""
    thinks = f"{LABEL} first this, then that." if options.reasoning_parser else ""
    api = SglangApi(served(options, host), Script(thinks=thinks))
    plain(f"INFO:     Started server process [{os.getpid()}]")
    plain("INFO:     Application startup complete.")
    address = host.facts["address"]
    try:
        server = await asyncio.start_server(
            api.accept, address, options.port, family=socket.AF_INET, limit=2**20
        )
    except OSError as error:
        plain(
            f"ERROR:    [Errno {error.errno}] error while attempting to bind on address "
            f"('{address}', {options.port}): address already in use"
        )
        os._exit(1)
    plain(f"INFO:     Uvicorn running on http://{address}:{options.port} (Press CTRL+C to quit)")
    host.pause("graphs", 0.2)
    api.ready = True
    say("The server is fired up and ready to roll!")
    host.mark("serving")
    fault = host.fault()
    if fault.get("at") == "serving":
        await asyncio.sleep(fault["after"])
        fail(fault)
    await watch_owner(host)
    server.close()


def main(host: Host) -> None:
    parser = argparse.ArgumentParser(prog="sglang serve")
    parser.add_argument("--model-path", default="simulated")
    parser.add_argument("--served-model-name", default="")
    parser.add_argument("--host", default="")
    parser.add_argument("--port", type=int, default=30000)
    parser.add_argument("--context-length", type=int, default=0)
    parser.add_argument("--max-running-requests", type=int, default=256)
    parser.add_argument("--tool-call-parser", default="")
    parser.add_argument("--reasoning-parser", default="")
    parser.add_argument("--tp-size", type=int, default=1)
    options, _ = parser.parse_known_args()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: os._exit(0))
    # Whoever started the simulator may ignore it (nohup does), and programs inherit that.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    load(options, host)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options, host))
