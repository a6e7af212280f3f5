"""Random deployments with random trouble, and after each a start that must find everything.

    .venv/bin/python bench/soak.py [--deployments 2000] [--kills 1000] [--seed 1] [--at-once 4]

Every round has a simulated market in a process of its own (scenario chaos, and ends and rents that
misbehave), a data folder, and programs that deploy, two at a time now and then. They are killed at
random moments, as is the market; it stops answering for 1 to 120 (scaled) seconds; clocks are off
by up to five hours; the disk is full. Then a new start lists and destroys what is rented. What must
hold is read from the market's own books:

no machine runs that nobody sees; none is said to be released that runs; none is rented twice for
one wish; no key is lost; no process is left; nothing hangs or crashes.

Machines are a word each; every `--real` rounds they have SSH, a shell and processes instead, and
their SSH servers end now and then.

Rounds go on until both numbers are reached. Prints the seed of each round with a violation, keeps
its folder, and exits 1. One round again: `--seed N --rounds 1`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import soak_processes
from soak_rounds import Round, Tally


def work(number: int, args: argparse.Namespace, folder: Path) -> None:
    """Rounds one after the other; one line of JSON each in a file of its own."""
    with (folder / f"worker-{number}.jsonl").open("w") as told:
        seed = args.seed + number
        while not _enough(args, folder):
            if args.rounds and seed >= args.seed + args.rounds:
                return
            place = folder / f"round-{seed}"
            place.mkdir()
            tally = Tally()
            try:
                real = args.real > 0 and seed % args.real == 0
                tally.counts["rounds on simulated machines"] += real
                Round(seed, place, tally, real=real).play()
            except Exception as error:
                tally.violations.append(f"seed {seed}: the soak itself: {error!r}")
            if not tally.violations:
                shutil.rmtree(place, ignore_errors=True)
            row = {"seed": seed, "counts": tally.counts, "violations": tally.violations}
            told.write(json.dumps(row) + "\n")
            told.flush()
            seed += args.at_once


def _told(folder: Path) -> tuple[Counter[str], list[str], list[int]]:
    counts: Counter[str] = Counter()
    violations, seeds = [], []
    for path in folder.glob("worker-*.jsonl"):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            counts.update(row["counts"])
            violations += row["violations"]
            seeds.append(row["seed"])
    return counts, violations, seeds


def kills(counts: Counter[str]) -> int:
    return counts["kills of programs"] + counts["kills of services"]


def _enough(args: argparse.Namespace, folder: Path) -> bool:
    if args.rounds:
        return False
    counts, _, _ = _told(folder)
    return bool(counts["deployments"] >= args.deployments and kills(counts) >= args.kills)


def soak(args: argparse.Namespace, folder: Path) -> tuple[Counter[str], list[str], list[int]]:
    """What was counted, the violations, and the seeds of the rounds."""
    soak_processes.prepare()
    workers = [
        soak_processes.fork(lambda n=n: work(n, args, folder), folder / "workers.txt")  # type: ignore[misc]
        for n in range(args.at_once)
    ]
    begun = time.monotonic()
    while workers:
        workers = [pid for pid in workers if soak_processes.over(pid, 0) is None]
        time.sleep(1)
        if args.watch and int(time.monotonic() - begun) % 30 == 0:
            counts, violations, _ = _told(folder)
            print(
                f"{counts['deployments']} deployments, {kills(counts)} kills,"
                f" {len(violations)} violations",
                file=sys.stderr,
                flush=True,
            )
    return _told(folder)


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deployments", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=0, help="so many rounds, whatever they do")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--real", type=int, default=20, help="every so many rounds; 0: none")
    parser.add_argument("--watch", action="store_true", help="tell how far it is")
    parser.add_argument("--json", action="store_true", help="the figures once more, as one line")
    return parser.parse_args(arguments)


def main() -> int:
    args = options()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    begun = time.monotonic()
    counts, violations, seeds = soak(args, folder)
    if (output := folder / "workers.txt").exists() and output.stat().st_size:
        violations.append(f"the soak itself: {output.read_text()[-500:]}")
    figures = {
        "rounds": len(seeds),
        "seeds": f"{min(seeds, default=0)} to {max(seeds, default=0)}",
        **dict(sorted(counts.items())),
        "kills": kills(counts),
        "seconds": round(time.monotonic() - begun),
        "violations": violations,
    }
    for name, figure in figures.items():
        shown = len(violations) if name == "violations" else figure
        print(f"{name:>30}  {shown}")
    for violation in violations:
        print(violation)
    if violations:
        print(f"what was left is in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    if args.json:
        print(json.dumps(figures))
    return 1 if violations else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
