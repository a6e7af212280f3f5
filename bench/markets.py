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
import itertools
import json
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from pydantic import SecretStr

from failover_support import Flags, QuickAttempt, WordMachine, quick_orchestrator
from gdl.backends import registry
from gdl.backends.base import BackendContext
from gdl.domain import events as ev
from gdl.domain.errors import DeployError, SshError, VerificationError
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Phase
from gdl.domain.session import Session
from gdl.domain.spec import DeploymentSpec
from gdl.settings import load
from gdl.simulator import markets
from gdl.simulator.fault_models import Falls
from gdl.simulator.markets import MarketStandIn
from gdl.simulator.scenario import load as load_scenario

MODEL = "qwen2-1.5b"
HANG_S = 120.0
_ENDS_S = 3.0
"""Until a machine whose end was accepted is gone."""

_OUTBID = [
    Falls(to="outbid", at=at, share=0.12, after=0.0)
    for at in ("provisioning", "installing", "loading")
]
"""What becomes of a third of the interruptible machines besides."""


class MarketAttempt(QuickAttempt):
    """Goes wrong as the faults of its machine say. `market` is set for each run."""

    market: MarketStandIn
    step_s: float = 0.01

    async def set_up(self, session: Session) -> None:
        contract = self.market.contracts[session.id]
        machine = contract.machine
        faults = list(contract.faults)
        dep = self._deployment
        for phase, mark in (
            (Phase.CONNECTING, ""),
            (Phase.PREFLIGHT, ""),
            (Phase.INSTALLING, "installing"),
            (Phase.STARTING, ""),
            (Phase.LOADING, "loading"),
            (Phase.VERIFYING, "serving"),
        ):
            await dep.enter(phase)
            if not isinstance(machine, WordMachine):
                raise SshError("nothing answers", "the machine may be gone")
            if mark:
                machine.mark(mark).set()
            falls = any(f.kind in ("falls", "dies") and mark and f.at == mark for f in faults)
            await self._step(machine, HANG_S if falls else self.step_s)
            for fault in faults:
                await self._suffer(phase, fault)
        await dep.enter(Phase.SERVING, "http://127.0.0.1:1/v1")

    async def _step(self, machine: WordMachine, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await machine.gone.wait()
        except TimeoutError:
            return
        raise SshError("the connection was lost", "the machine may be gone")

    async def _suffer(self, phase: Phase, fault: Any) -> None:
        match phase, fault.kind:
            case Phase.CONNECTING, "ssh-dead" if self._both_dead(fault):
                raise SshError("nothing answers", "take the next offer")
            case Phase.CONNECTING, "key-late" if fault.after == 0:
                raise SshError("the machine does not take our key", "take the next offer")
            case Phase.PREFLIGHT, "no-driver":
                raise DeployError("no usable GPU: nvidia-smi: not found", "take the next offer")
            case Phase.INSTALLING, "program" if fault.times == 0:
                await self._diagnosed(fault.log or "unknown", "the step failed")
            case Phase.VERIFYING, "server" if fault.at in ("request", "sick", "template"):
                raise VerificationError("check inference failed: HTTP 500", "see the log")
            case Phase.LOADING, "server":
                log = fault.logs[0] if fault.logs else "unknown"
                await self._diagnosed(log, "the server ended")

    def _both_dead(self, fault: Any) -> bool:
        """RunPod's other way cannot carry what is needed."""
        return bool(fault.way == "both" or self.market.name == "runpod")


@dataclass
class Tally:
    runs: int = 0
    served: int = 0
    attempts: int = 0
    rented: int = 0
    requests: int = 0
    left: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    hung: list[int] = field(default_factory=list)
    nameless: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)


async def one(seed: int, args: argparse.Namespace, tally: Tally) -> None:
    """One deployment on a marketplace of its own."""
    scenario = load_scenario(args.scenario)
    if args.bid is not None:
        scenario = scenario.model_copy(update={"fault": (*scenario.fault, *_OUTBID)})
    with tempfile.TemporaryDirectory(prefix="markets-") as folder:
        async with MarketStandIn(
            args.market,
            scenario,
            root=Path(folder) / "machines",
            seed=seed,
            speed=args.speed,
            offers=args.hosts,
        ) as market:
            flags: Flags = {
                "backend": args.market,
                "timeouts": {"http": 5, "rent": 10, "session": 4, "release": 30},
            }
            end = await _deployed(seed, args, market, Path(folder), flags, tally)
            if end is None:
                return
            await _count(tally, seed, end, market)


async def _deployed(
    seed: int,
    args: argparse.Namespace,
    market: MarketStandIn,
    folder: Path,
    flags: Flags,
    tally: Tally,
) -> ev.DeploymentFinished | None:
    own = {"url": market.url, "key": SecretStr(market.key)}
    values: dict[str, Any] = {**flags, args.market: own}
    settings = load(data_dir=folder, **values)
    backend = registry.create(args.market, BackendContext(settings, "tester"))
    kind = type("OnMarket", (MarketAttempt,), {"market": market})
    async with quick_orchestrator(folder, on=backend, attempt=kind, **flags) as orchestrator:
        begun = time.monotonic()
        spec = DeploymentSpec(
            MODEL,
            args.market,
            OfferQuery(interruptible=args.bid is not None, bid=args.bid),
            bench=False,
            after="destroy",
            max_attempts=args.attempts,
        )
        ident = await orchestrator.deployments.deploy(spec)
        try:
            async with asyncio.timeout(HANG_S):
                end = await orchestrator.deployments.wait(ident)
        except TimeoutError:
            tally.hung.append(seed)
            return None
        tally.seconds.append(time.monotonic() - begun)
        return end


async def _count(
    tally: Tally, seed: int, end: ev.DeploymentFinished, market: MarketStandIn
) -> None:
    tally.runs += 1
    tally.attempts += len(end.attempts)
    tally.rented += len(market.contracts)
    tally.requests += len(market.received)
    last = end.attempts[-1] if end.attempts else None
    served = last is not None and last.ended == "released" and last.phase_reached == "SERVING"
    tally.served += served
    tally.ends["served" if served else end.kind or "nameless"] += 1
    if not served:
        tally.failed.append(f"{seed}: {len(end.attempts)} attempts, {end.kind}: {end.error}")
    if not served and (not end.kind or not end.error or "internal" in end.error):
        tally.nameless.append(f"{seed}: {end.error}")
    for contract in market.contracts.values():
        tally.faults.update(fault.kind for fault in contract.faults)
    until = time.monotonic() + _ENDS_S
    while market.rented() and time.monotonic() < until:
        await asyncio.sleep(0.02)
    for ident in market.rented():
        faults = ", ".join(fault.kind for fault in market.contracts[ident].faults)
        tally.left.append(f"{seed}: {ident} ({faults or 'no fault'}; said: {end.billing})")
    spans = sorted((c.made, c.disk.ended or c.made) for c in market.contracts.values())
    if any(ended > later for (_, ended), (later, _) in itertools.pairwise(spans)):
        tally.twice.append(f"{seed}: {[a.offer_id for a in end.attempts]}")


async def run(args: argparse.Namespace) -> Tally:
    patch.object(markets, "Machine", WordMachine).start()
    tally = Tally()
    waiting = iter(range(args.seed, args.seed + args.runs))

    async def worker() -> None:
        for seed in waiting:
            try:
                await one(seed, args, tally)
            except Exception:
                traceback.print_exc()
                tally.nameless.append(f"{seed}: {sys.exc_info()[1]!r}")
            if tally.runs % 50 == 0:
                bad = f"{len(tally.left)} left, {len(tally.twice)} twice, {len(tally.hung)} hung"
                words = f"{tally.runs} done, {tally.served} served, {bad}; {tally.failed[-1:]}"
                print(words, file=sys.stderr, flush=True)

    await asyncio.gather(*(worker() for _ in range(args.at_once)))
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("market", choices=markets.NAMES)
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
    tally = asyncio.run(run(args))
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
    return 1 if tally.left or tally.twice or tally.hung or tally.nameless else 0


if __name__ == "__main__":
    sys.exit(main())
