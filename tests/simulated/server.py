"""A simulated vLLM server: real process, real port, real log lines, made-up answers.

SIM_SERVER decides what happens: "" serves; "import" fails to import torchvision until the repair
has run; "oom" runs out of memory while loading; "silent" never listens; "sick" answers 500 to
every generation; "mortal" dies at its first generation; "long" takes no context over 2048;
"crash" ends by signal 11; "orphan" starts a worker that outlives it; "idle" does nothing after its
first lines; "loop" begins again and again; "mismatch" runs with the second build
that is installed; "headers" misses Python's; "keyless" asks nobody for a key.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from openai_server import OpenAIServer

ANSWERS = {
    "capital of France": "The capital of France is Paris.",
    "": "A simulated answer of a few words.",
}
BEGIN = (
    "[gdl] verified numpy 2.3.5",
    "[gdl] verified torch 2.13.0+cpu (CUDA: none)",
    "[gdl] verified vllm 0.32.0",
    "(APIServer pid=1) INFO 01-01 00:00:00 [api_utils.py:286] non-default args: {'port': 8000}",
    "(EngineCore pid=2) INFO 01-01 00:00:00 [core.py:133] Initializing a V1 LLM engine (v0.32.0)",
    "(Worker pid=3) INFO 01-01 00:00:00 [cpu_model_runner.py:68] Starting to load model tiny...",
    "Loading safetensors checkpoint shards: 100% Completed | 1/1 [00:01<00:00,  1.76s/it]",
)
BROKEN_IMPORT = (
    "[gdl] import failed: torchvision: RuntimeError: operator torchvision::nms does not exist"
)
TOO_LONG = (
    "pydantic_core.ValidationError: Value error, User-specified max_model_len (4096) is greater"
    " than the derived max_model_len (max_position_embeddings=2048 or model_max_length=None)"
)
MISMATCH = (
    "[gdl] import failed: vllm: ImportError: libcudart.so.12: cannot open shared object file: No"
    " such file or directory"
)
OOM = (
    "(EngineCore pid=2) ERROR 01-01 00:00:01 torch.OutOfMemoryError: CUDA out of memory. Tried to"
    " allocate 2.00 GiB",
    "RuntimeError: Engine core initialization failed. See root cause above.",
)


def say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)


async def serve(port: int, model: str, mode: str) -> None:
    key = "" if mode == "keyless" else os.environ["VLLM_API_KEY"]
    server = OpenAIServer(model=model, api_key=key, port=port)
    server.answers.update(ANSWERS)
    if mode == "sick":
        server.fail_next = 10**9
    if mode == "mortal":
        server.stall_after = 0
    async with server:
        say(
            f"(APIServer pid=1) INFO 01-01 00:00:02 Starting vLLM server on http://127.0.0.1:{port}",
            "INFO:     Application startup complete.",
        )
        while True:
            await asyncio.sleep(0.02)
            if mode == "mortal" and any("completions" in r.path for r in server.requests):
                say("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.")
                os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--max-model-len", type=int, default=0)
    options, _ = parser.parse_known_args()
    mode = os.environ.get("SIM_SERVER", "")
    if mode == "import" and not Path("uninstalled").exists():
        say(BROKEN_IMPORT)
        Path("uninstalled").touch()
        sys.exit(86)
    if mode == "mismatch" and not Path("installed-before").exists():
        say(MISMATCH)
        sys.exit(86)
    if mode == "headers":
        say("main.c:5:10: fatal error: Python.h: No such file or directory")
        sys.exit(1)
    if mode == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if mode == "long" and options.max_model_len > 2048:
        say(TOO_LONG)
        sys.exit(1)
    say(*BEGIN)
    if mode == "oom":
        say(*OOM)
        sys.exit(1)
    if mode == "orphan":
        subprocess.Popen(["sleep", "60"], start_new_session=True)
    if mode == "loop":
        for _ in range(20):
            say(*OOM, *BEGIN)
            time.sleep(0.2)
    if mode in ("silent", "idle"):
        time.sleep(600)
    time.sleep(0.3)  # long enough for its log to be read before it serves
    asyncio.run(serve(options.port, options.served_model_name, mode))


if __name__ == "__main__":
    main()
