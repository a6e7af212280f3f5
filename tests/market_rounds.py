"""Deployments on a stand-in marketplace of their own each, with the faults of real hosts, and
machines that are a word each: the real protocol, backend, orchestrator and journal."""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

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
HANG_S = 240.0
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
class Tally:
    """What came of them. left, twice, hung, nameless: must be empty."""

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


async def one(seed: int, how: Rounds, tally: Tally) -> None:
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
    tally: Tally,
) -> ev.DeploymentFinished | None:
    own = {"url": market.url, "key": SecretStr(market.key)}
    values: dict[str, Any] = {**flags, how.market: own}
    settings = load(data_dir=folder, **values)
    backend = registry.create(how.market, BackendContext(settings, "tester"))
    kind = type("OnMarket", (MarketAttempt,), {"market": market})
    async with quick_orchestrator(folder, on=backend, attempt=kind, **flags) as orchestrator:
        begun = time.monotonic()
        spec = DeploymentSpec(
            MODEL,
            how.market,
            OfferQuery(interruptible=how.bid is not None, bid=how.bid),
            bench=False,
            after="destroy",
            max_attempts=how.attempts,
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


async def run(how: Rounds) -> Tally:
    """All of them, some at once."""
    with patch.object(markets, "Machine", WordMachine):
        return await _run(how)


async def _run(how: Rounds) -> Tally:
    tally = Tally()
    waiting = iter(range(how.seed, how.seed + how.runs))

    async def worker() -> None:
        for seed in waiting:
            try:
                await one(seed, how, tally)
            except Exception:
                traceback.print_exc()
                tally.nameless.append(f"{seed}: {sys.exc_info()[1]!r}")
            if tally.runs % 50 == 0:
                bad = f"{len(tally.left)} left, {len(tally.twice)} twice, {len(tally.hung)} hung"
                words = f"{tally.runs} done, {tally.served} served, {bad}; {tally.failed[-1:]}"
                print(words, file=sys.stderr, flush=True)

    await asyncio.gather(*(worker() for _ in range(how.at_once)))
    return tally
