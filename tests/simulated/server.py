"""The simulated vLLM server on a simulated machine of the tests.

SIM_SERVER decides what happens: "" serves; "import" fails to import torchvision until the repair
has run; "oom" runs out of memory while loading; "silent" never listens; "sick" answers 500 to
every generation; "mortal" dies at its first generation; "long" takes no context over 2048;
"crash" ends by signal 11; "orphan" starts a worker that outlives it; "loop" begins again and
again; "mismatch" runs with the second build that is installed; "headers" misses Python's;
"keyless" asks nobody for a key.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gdl.simulator.programs.vllm_host import Host
from gdl.simulator.programs.vllm_start import main

OOM = (
    "(EngineCore pid=2) ERROR 01-01 00:00:01 torch.OutOfMemoryError: CUDA out of memory. Tried to"
    " allocate 2.00 GiB\n"
    "RuntimeError: Engine core initialization failed. See root cause above."
)
FAULTS: dict[str, tuple[str, str]] = {
    "import": (
        "import",
        "[gdl] import failed: torchvision: RuntimeError: operator torchvision::nms does not exist",
    ),
    "mismatch": (
        "import",
        "[gdl] import failed: vllm: ImportError: libcudart.so.12: cannot open shared object file:"
        " No such file or directory",
    ),
    "headers": ("arguments", "main.c:5:10: fatal error: Python.h: No such file or directory"),
    "long": (
        "arguments",
        "pydantic_core.ValidationError: Value error, User-specified max_model_len (4096) is greater"
        " than the derived max_model_len (max_position_embeddings=2048 or model_max_length=None)",
    ),
    "oom": ("loading", OOM),
    "loop": ("loop", OOM),
    "silent": (
        "silent",
        "Loading safetensors checkpoint shards: 100% Completed | 1/1 [00:01<00:00,  1.76s/it]",
    ),
    "sick": ("sick", ""),
    "mortal": (
        "request",
        "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.",
    ),
}
"""Where it happens, as of the simulator's server faults, and what it says."""
QUICK = {"imports": 0.0, "weights": 0.3, "compile": 0.0, "graphs": 0.0}
"""Seconds; long enough for its log to be read before it serves."""


def spared(mode: str) -> bool:
    """Whether what would go wrong does not, this time."""
    if mode == "import":
        repaired = Path("uninstalled").exists()
        Path("uninstalled").touch()
        return repaired
    if mode == "mismatch":
        return Path("installed-before").exists()
    given = re.findall(r"--max-model-len[ =](\d+)", " ".join(sys.argv))
    return mode == "long" and (not given or int(given[-1]) <= 2048)


def fault(mode: str) -> dict[str, Any] | None:
    if mode not in FAULTS or spared(mode):
        return None
    at, text = FAULTS[mode]
    return {"at": at, "text": text, "status": 1, "cured_by": "", "after": 0.0}


def born() -> int:
    """When this process began, as Linux tells it; 0 elsewhere."""
    try:
        return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return 0


def headless() -> None:
    """Another rank's part of a model: works until the file `worker-killed` is in its folder."""
    print("[gdl] verified vllm 0.32.0", flush=True)
    print("(Worker pid=7) INFO 01-01 00:00:01 world_size=2 rank=1 local_rank=0", flush=True)
    while not Path("worker-killed").exists():
        time.sleep(0.05)
    print(
        "(MainProcess pid=6) ERROR 01-01 00:00:09 [multiproc_executor.py:315] Worker proc"
        " VllmWorker-1 died unexpectedly (exit code: -9), shutting down executor.",
        flush=True,
    )


def start() -> None:
    if "--headless" in sys.argv:
        headless()
        return
    mode = os.environ.get("SIM_SERVER", "")
    if mode == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if mode == "orphan":
        subprocess.Popen(["sleep", "60"], start_new_session=True)
    if mode == "keyless":
        del os.environ["VLLM_API_KEY"]
    facts = {
        "times": QUICK,
        "server": fault(mode),
        "address": "127.0.0.1",
        "memory_mib": 24576,
        "bandwidth": 936,
        "speed": 1000,
        # Nobody's end is its end.
        "owner": os.getpid(),
        "owner_born": born(),
    }
    sys.argv.append("--verify")
    main(Host(facts))


if __name__ == "__main__":
    start()
