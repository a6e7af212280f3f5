"""A hundred fleets of five on markets full of flaws: does each serve, or say why not, and is
nothing left rented?

    .venv/bin/python bench/fleets.py [--runs 100] [--replicas 5] [--seed 1] [--json FILE]

Every fleet has a simulated market of its own (the sandbox's real HTTP service, scenario `chaos`,
its faults drawn from the seed), its own journal, and the real orchestrator. The machines are
reduced to a word each, as in bench/failover.py, and the router to a list. Once a fleet serves, or
says why it does not, replicas die, cannot be reached, or are asked to be fewer or more, as the seed
has it; then it is to serve again, and is released.

Prints one line for each figure and exits 1 when a machine is left rented, an offer is rented twice
at once, more machines are rented than were wished, a fleet hangs, or one that is short does not say
why. Takes about 10 minutes on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import asyncssh
from failover import MODEL, MarketAttempt

from failover_support import WordMachine
from fleet_support import ListRouter, Servers, fleet_orchestrator
from gdl.backends.sandbox.backend import SandboxBackend
from gdl.domain import events as ev
from gdl.domain.errors import DeployError
from gdl.domain.fleet import FleetState
from gdl.domain.fleet_orders import End, Scale
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.health import Condition, HealthSample
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing, Phase
from gdl.domain.session import Session
from gdl.domain.spec import DeploymentSpec
from gdl.orchestrator.service import Orchestrator
from gdl.settings import load
from gdl.simulator import key_pool, simulated_machine

HANG_S = 240.0
_TROUBLES = 3
_PORTS = count(20_000)
_GONE = HealthSample(Condition.DEAD, "nothing listens on the server's port")
_CUT = HealthSample(Condition.UNREACHABLE, "the SSH connection is being made again")
_WELL = HealthSample(Condition.HEALTHY)


class ServedAttempt(MarketAttempt):
    """Has a tunnel's end, and a health that the run decides."""

    async def _suffer(self, phase: Phase, fault: Any) -> None:
        await super()._suffer(phase, fault)

    async def set_up(self, session: Session) -> None:
        dep = self._deployment
        url = f"http://127.0.0.1:{next(_PORTS)}/v1"
        await dep.emit(ev.TunnelOpened(dep.attempt, url, "forward"))
        await super().set_up(session)

    async def _watch_health(self) -> None:
        """What the run says of its health stays."""

    async def revive(self) -> None:
        raise DeployError("the server ended while serving", "its log says why")


@dataclass
class FleetTally:
    """What came of them. left, twice, many, hung, nameless: must be empty; they begin with the
    seed."""

    runs: int = 0
    full: int = 0
    short: int = 0
    failed: int = 0
    replicas: int = 0
    died: int = 0
    cut: int = 0
    taken_out_s: list[float] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    many: list[str] = field(default_factory=list)
    hung: list[int] = field(default_factory=list)
    nameless: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def wrong(self) -> bool:
        return bool(self.left or self.twice or self.many or self.hung or self.nameless)


async def settled(orchestrator: Orchestrator, ident: str) -> FleetState:
    """Until the wished number serves, or nothing more is tried, or it is over."""
    while True:
        state = orchestrator.fleets.state(ident)
        there = len(state.serving) == len(state.live) == state.wanted and state.reached
        on_the_way = any(r.counts and not r.taken_in for r in state.live)
        given_up = state.short is not None and not on_the_way
        if state.finished is not None or there or given_up:
            return state
        await asyncio.sleep(0.05)


async def trouble(
    orchestrator: Orchestrator, ident: str, chance: random.Random, tally: FleetTally
) -> None:
    """A replica dies or is cut off, or another number is wished."""
    state = orchestrator.fleets.state(ident)
    serving = state.serving
    match chance.choice(("dies", "dies", "cut", "fewer", "more")):
        case "dies" if serving:
            await _dies(orchestrator, ident, chance.choice(serving).id, tally)
        case "cut" if serving:
            one = chance.choice(serving)
            attempt = orchestrator.deployments.attempt(one.id)
            if attempt is None:
                return
            tally.cut += 1
            attempt._deployment.readings.health = _CUT
            await _out(orchestrator, ident, one.id)
            attempt._deployment.readings.health = _WELL
        case "fewer" if state.wanted > 1:
            await orchestrator.fleets.order(ident, Scale(state.wanted - 1))
            await _ordered(orchestrator, ident, state.wanted - 1)
        case "more":
            await orchestrator.fleets.order(ident, Scale(state.wanted + 1))
            await _ordered(orchestrator, ident, state.wanted + 1)


async def _dies(orchestrator: Orchestrator, ident: str, one: str, tally: FleetTally) -> None:
    attempt = orchestrator.deployments.attempt(one)
    if attempt is None:
        return
    tally.died += 1
    attempt._deployment.readings.health = _GONE
    began = time.monotonic()
    attempt.server.over.set()
    await _out(orchestrator, ident, one)
    tally.taken_out_s.append(time.monotonic() - began)


async def _out(orchestrator: Orchestrator, ident: str, one: str) -> None:
    while orchestrator.fleets.state(ident).replicas[one].taken_in:
        await asyncio.sleep(0.02)


async def _ordered(orchestrator: Orchestrator, ident: str, wanted: int) -> None:
    while orchestrator.fleets.state(ident).wanted != wanted:
        await asyncio.sleep(0.02)


async def one(seed: int, args: argparse.Namespace, tally: FleetTally) -> None:
    """One fleet on a market of its own."""
    with tempfile.TemporaryDirectory(prefix="fleets-") as folder:
        flags: dict[str, Any] = {
            "backend": "sandbox",
            "sandbox": {"scenario": "chaos", "seed": seed, "speed": args.speed},
            "timeouts": {"http": 20, "rent": 20, "session": 60, "release": 60},
        }
        backend = SandboxBackend(load(data_dir=Path(folder), **flags), "tester")
        kind = type("OnMarket", (ServedAttempt,), {"backend": backend})
        chance = random.Random(seed)
        async with fleet_orchestrator(
            Path(folder),
            backend,
            attempt=kind,
            router=ListRouter(),
            servers=Servers(model=MODEL),
            **flags,
        ) as orchestrator:
            replica = DeploymentSpec(
                MODEL, "sandbox", OfferQuery(model=MODEL), bench=False, max_attempts=args.attempts
            )
            ident = await orchestrator.fleets.deploy(FleetSpec(replica, args.replicas))
            try:
                async with asyncio.timeout(HANG_S):
                    state = await settled(orchestrator, ident)
                    most = state.wanted
                    for _ in range(_TROUBLES):
                        if state.finished is not None:
                            break
                        await trouble(orchestrator, ident, chance, tally)
                        state = await settled(orchestrator, ident)
                        most = max(most, state.wanted)
                    _count(tally, seed, state)
                    if state.finished is None:
                        await orchestrator.fleets.order(ident, End())
                        await orchestrator.fleets.ended(ident)
            except TimeoutError:
                tally.hung.append(seed)
                return
            _check(tally, seed, orchestrator.fleets.state(ident), backend, most)


def _count(tally: FleetTally, seed: int, state: FleetState) -> None:
    tally.runs += 1
    tally.replicas += len(state.replicas)
    finished = state.finished
    if finished is not None:
        tally.failed += 1
        tally.reasons[finished.kind or "nameless"] += 1
        if not finished.kind or not finished.error or "internal" in finished.error:
            tally.nameless.append(f"{seed}: {finished.error}")
    elif len(state.serving) == state.wanted:
        tally.full += 1
    else:
        tally.short += 1
        short = state.short
        tally.reasons[short.kind if short is not None else "nameless"] += 1
        if short is None or not short.reason:
            tally.nameless.append(f"{seed}: {len(state.serving)} of {state.wanted}")


def _check(
    tally: FleetTally, seed: int, state: FleetState, backend: SandboxBackend, most: int
) -> None:
    assert backend.service is not None
    market, end = backend.service.market, state.finished
    assert end is not None
    if market.rented() and end.billing in (Billing.NONE, Billing.RELEASED):
        tally.left.append(f"{seed}: {market.rented()}")
    by_offer: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    for session in market.sessions.values():
        if session.ssh_user and session.ended:
            by_offer[session.offer.id].append((session.created, session.ended))
    for offer, spans in by_offer.items():
        if _at_once(spans) > 1:
            tally.twice.append(f"{seed}: {offer}")
    every = [span for spans in by_offer.values() for span in spans]
    if _at_once(every) > most and not state.doubts:
        tally.many.append(f"{seed}: {_at_once(every)} rented, {most} wished")


def _at_once(spans: Sequence[tuple[datetime, datetime]]) -> int:
    """The most that overlap at any time."""
    changes = sorted([(began, 1) for began, _ in spans] + [(ended, -1) for _, ended in spans])
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


async def run(args: argparse.Namespace) -> FleetTally:
    key = asyncssh.generate_private_key("ssh-ed25519")
    pem = key.export_private_key("pkcs8-pem").decode()
    key_pool._make = lambda: key_pool.Key(pem, key)
    patch.object(simulated_machine, "Machine", WordMachine).start()
    tally, waiting = FleetTally(), iter(range(args.seed, args.seed + args.runs))

    async def worker() -> None:
        for seed in waiting:
            await one(seed, args, tally)
            if tally.runs % 10 == 0:
                print(f"{tally.runs} done, {tally.full} full", file=sys.stderr, flush=True)

    await asyncio.gather(*(worker() for _ in range(args.at_once)))
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--replicas", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--attempts", type=int, default=6)
    parser.add_argument("--speed", type=float, default=100.0)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    begun = time.monotonic()
    tally = asyncio.run(run(args))
    out = sorted(tally.taken_out_s)
    figures = {
        "fleets": tally.runs,
        "seconds": round(time.monotonic() - begun, 1),
        "all_serve": tally.full,
        "short_with_reason": tally.short,
        "failed_with_reason": tally.failed,
        "reasons": dict(tally.reasons.most_common()),
        "replicas": tally.replicas,
        "died": tally.died,
        "cut_off": tally.cut,
        "taken_out_s": {"median": out[len(out) // 2], "most": out[-1]} if out else {},
        "left_rented": tally.left,
        "rented_twice": tally.twice,
        "too_many_rented": tally.many,
        "hung": tally.hung,
        "without_a_name": tally.nameless,
    }
    for name, value in figures.items():
        print(f"{name:>18}  {value}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
