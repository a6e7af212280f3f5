"""Deployments on a stand-in marketplace of their own each, with the faults of real hosts, and
machines that are a word each: the real protocol, backend, orchestrator and journal."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pydantic import SecretStr

from failover_support import Flags, WordMachine, quick_orchestrator
from gdl.backends import registry
from gdl.backends.base import BackendContext
from gdl.domain import events as ev
from gdl.domain.offers import OfferQuery
from gdl.domain.session import Session
from gdl.domain.spec import DeploymentSpec
from gdl.settings import load
from gdl.simulator import markets
from gdl.simulator.fault_models import Falls
from gdl.simulator.markets import MarketStandIn
from gdl.simulator.scenario import load as load_scenario
from rounds_support import FaultyAttempt, Tally, deployed, run_all

MODEL = "qwen2-1.5b"
HANG_S = 240.0
_ENDS_S = 3.0
"""Until a machine whose end was accepted is gone."""

_OUTBID = [
    Falls(to="outbid", at=at, share=0.12, after=0.0)
    for at in ("provisioning", "installing", "loading")
]
"""What becomes of a third of the interruptible machines besides."""


class MarketAttempt(FaultyAttempt):
    """`market` is set for each run."""

    market: MarketStandIn
    hang_s = HANG_S

    def rented(self, session: Session) -> tuple[object, Sequence[Any]]:
        contract = self.market.contracts[session.id]
        return contract.machine, [f for f in contract.faults if not self._has_a_way(f)]

    def _has_a_way(self, fault: Any) -> bool:
        """RunPod's other way cannot carry what is needed."""
        return bool(
            fault.kind == "ssh-dead" and fault.way != "both" and self.market.name != "runpod"
        )


@dataclass(frozen=True)
class Rounds:
    """How many deployments, and on what: see bench/markets.py. bid: dollars an hour at most, for
    interruptible machines; None: on demand."""

    market: str
    runs: int
    seed: int = 1
    attempts: int = 12
    hosts: int = 600
    scenario: str = "hosts"
    speed: float = 100.0
    at_once: int = 8
    bid: float | None = None


@dataclass
class MarketTally(Tally):
    rented: int = 0
    requests: int = 0
    failed: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return f"{super().__str__()}; {self.failed[-1:]}"


async def one(seed: int, how: Rounds, tally: MarketTally) -> None:
    """One deployment on a marketplace of its own."""
    scenario = load_scenario(how.scenario)
    if how.bid is not None:
        scenario = scenario.model_copy(update={"fault": (*scenario.fault, *_OUTBID)})
    with tempfile.TemporaryDirectory(prefix="markets-") as folder:
        async with MarketStandIn(
            how.market,
            scenario,
            root=Path(folder) / "machines",
            seed=seed,
            speed=how.speed,
            offers=how.hosts,
        ) as market:
            flags: Flags = {
                "backend": how.market,
                "timeouts": {"http": 5, "rent": 10, "session": 15, "release": 90},
            }
            end = await _deployed(seed, how, market, Path(folder), flags, tally)
            if end is None:
                return
            await _count(tally, seed, end, market)


async def _deployed(
    seed: int,
    how: Rounds,
    market: MarketStandIn,
    folder: Path,
    flags: Flags,
    tally: MarketTally,
) -> ev.DeploymentFinished | None:
    own = {"url": market.url, "key": SecretStr(market.key)}
    values: dict[str, Any] = {**flags, how.market: own}
    settings = load(data_dir=folder, **values)
    backend = registry.create(how.market, BackendContext(settings, "tester"))
    kind = type("OnMarket", (MarketAttempt,), {"market": market})
    async with quick_orchestrator(folder, on=backend, attempt=kind, **flags) as orchestrator:
        spec = DeploymentSpec(
            MODEL,
            how.market,
            OfferQuery(interruptible=how.bid is not None, bid=how.bid),
            bench=False,
            after="destroy",
            max_attempts=how.attempts,
        )
        return await deployed(orchestrator, spec, HANG_S, seed, tally)


async def _count(
    tally: MarketTally, seed: int, end: ev.DeploymentFinished, market: MarketStandIn
) -> None:
    tally.rented += len(market.contracts)
    tally.requests += len(market.received)
    if not tally.count(seed, end):
        tally.failed.append(f"{seed}: {len(end.attempts)} attempts, {end.kind}: {end.error}")
    for contract in market.contracts.values():
        tally.faults.update(fault.kind for fault in contract.faults)
    until = time.monotonic() + _ENDS_S
    while market.rented() and time.monotonic() < until:
        await asyncio.sleep(0.02)
    for ident in market.rented():
        faults = ", ".join(fault.kind for fault in market.contracts[ident].faults)
        tally.left.append(f"{seed}: {ident} ({faults or 'no fault'}; said: {end.billing})")
    spans = [(c.made, c.disk.ended or c.made) for c in market.contracts.values()]
    tally.look_for_two_at_once(seed, end, spans)


async def run(how: Rounds) -> MarketTally:
    """All of them, some at once."""
    tally = MarketTally()
    seeds = range(how.seed, how.seed + how.runs)
    with patch.object(markets, "Machine", WordMachine):
        await run_all(seeds, how.at_once, tally, lambda seed: one(seed, how, tally))
    return tally
