"""A thousand deployments on a stand-in marketplace: does each end well, is nothing left rented?

    .venv/bin/python bench/markets.py vastai|runpod [--runs 1000] [--seed 1] [--attempts 12]
        [--hosts 600] [--bid USD] [--json FILE]

Every deployment has a marketplace of its own, which speaks the real protocol (scenario `hosts`, its
faults drawn from the seed), its own journal, and the real backend and orchestrator. The machines
are reduced to a word each: what would go wrong on one goes wrong here without SSH and shell.

Prints one line for each figure and exits 1 when a machine is left rented, two are rented at once, a
deployment hangs or ends without a name. A thousand take about 10 minutes on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from gdl.simulator.markets import NAMES
from market_rounds import Rounds, run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("market", choices=NAMES)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--attempts", type=int, default=12)
    parser.add_argument("--bid", type=float, help="on interruptible machines, so much at most")
    parser.add_argument("--hosts", type=int, default=600)
    parser.add_argument("--scenario", default="hosts")
    parser.add_argument("--speed", type=float, default=100.0)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    begun = time.monotonic()
    tally = asyncio.run(
        run(
            Rounds(
                args.market,
                args.runs,
                args.seed,
                args.attempts,
                args.hosts,
                args.scenario,
                args.speed,
                args.at_once,
                args.bid,
            )
        )
    )
    seconds = sorted(tally.seconds) or [0.0]
    figures = {
        "market": args.market,
        "runs": tally.runs + len(tally.hung),
        "seconds": round(time.monotonic() - begun, 1),
        "served": tally.served,
        "attempts": tally.attempts,
        "machines_rented": tally.rented,
        "requests": tally.requests,
        "median_s": round(seconds[len(seconds) // 2], 2),
        "longest_s": round(seconds[-1], 2),
        "ends": dict(tally.ends.most_common()),
        "faults_met": dict(tally.faults.most_common()),
        "left_rented": tally.left,
        "rented_twice": tally.twice,
        "hung": tally.hung,
        "without_a_name": tally.nameless,
        "not_served": tally.failed,
    }
    for name, value in figures.items():
        print(f"{name:>18}  {value}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
