"""Many deployments, each on a simulated market of its own, with the faults of its machines: what
the randomized runs share, whatever the market is. Machines are a word each."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from failover_support import QuickAttempt, WordMachine
from gdl.domain import events as ev
from gdl.domain.errors import DeployError, SshError, VerificationError
from gdl.domain.phase import Phase
from gdl.domain.session import Session
from gdl.domain.spec import DeploymentSpec
from gdl.orchestrator.service import Orchestrator

_STEPS = (
    (Phase.CONNECTING, ""),
    (Phase.PREFLIGHT, ""),
    (Phase.INSTALLING, "installing"),
    (Phase.STARTING, ""),
    (Phase.LOADING, "loading"),
    (Phase.VERIFYING, "serving"),
)
"""Phases, and the marks that a machine reaches in them."""


class FaultyAttempt(QuickAttempt):
    """Goes wrong as the faults of its machine say. hang_s: for how long a deployment may last."""

    hang_s: float
    step_s: float = 0.01

    def rented(self, session: Session) -> tuple[object, Sequence[Any]]:
        """The machine, and those of its faults that go wrong on it."""
        raise NotImplementedError

    async def set_up(self, session: Session) -> None:
        machine, faults = self.rented(session)
        dep = self._deployment
        for phase, mark in _STEPS:
            await dep.enter(phase)
            if not isinstance(machine, WordMachine):
                raise SshError("nothing answers", "the machine may be gone")
            if mark:
                machine.mark(mark).set()
            falls = any(f.kind in ("falls", "dies") and mark and f.at == mark for f in faults)
            await self._step(machine, self.hang_s if falls else self.step_s)
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
            case Phase.CONNECTING, "ssh-dead":
                raise SshError("nothing answers", "take the next offer")
            case Phase.CONNECTING, "key-late" if fault.after == 0:
                raise SshError("the machine does not take our key", "take the next offer")
            case Phase.PREFLIGHT, "no-driver":
                raise DeployError("no usable GPU: nvidia-smi: not found", "take the next offer")
            case Phase.PREFLIGHT, "driver":
                raise DeployError("driver 440.118 is too old for vLLM 0.32.0", "another machine")
            case Phase.INSTALLING, "program" if fault.times == 0:
                await self._diagnosed(fault.log or "unknown", "the step failed")
            case Phase.VERIFYING, "server" if fault.at in ("request", "sick", "template"):
                raise VerificationError("check inference failed: HTTP 500", "see the log")
            case Phase.LOADING, "server":
                log = fault.logs[0] if fault.logs else "unknown"
                await self._diagnosed(log, "the server ended")


@dataclass
class Tally:
    """What came of them. left, twice, hung, nameless: must be empty; they begin with the seed."""

    runs: int = 0
    served: int = 0
    attempts: int = 0
    left: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    hung: list[int] = field(default_factory=list)
    nameless: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def wrong(self) -> bool:
        return bool(self.left or self.twice or self.hung or self.nameless)

    def count(self, seed: int, end: ev.DeploymentFinished) -> bool:
        """Whether it served. One that served and was released has, though an earlier machine is in
        doubt."""
        self.runs += 1
        self.attempts += len(end.attempts)
        last = end.attempts[-1] if end.attempts else None
        served = last is not None and last.ended == "released" and last.phase_reached == "SERVING"
        self.served += served
        self.ends["served" if served else end.kind or "nameless"] += 1
        if not served and (not end.kind or not end.error or "internal" in end.error):
            self.nameless.append(f"{seed}: {end.error}")
        return served

    def look_for_two_at_once(
        self,
        seed: int,
        end: ev.DeploymentFinished,
        machines: Iterable[tuple[datetime, datetime]],
    ) -> None:
        """machines: when each was rented and ended."""
        if any(ended > later for (_, ended), (later, _) in itertools.pairwise(sorted(machines))):
            self.twice.append(f"{seed}: {[a.offer_id for a in end.attempts]}")

    def __str__(self) -> str:
        bad = f"{len(self.left)} left, {len(self.twice)} twice, {len(self.hung)} hung"
        return f"{self.runs} done, {self.served} served, {bad}"


async def deployed(
    orchestrator: Orchestrator, spec: DeploymentSpec, hang_s: float, seed: int, tally: Tally
) -> ev.DeploymentFinished | None:
    """How it ended; None: it hung."""
    begun = time.monotonic()
    ident = await orchestrator.deployments.deploy(spec)
    try:
        async with asyncio.timeout(hang_s):
            end = await orchestrator.deployments.wait(ident)
    except TimeoutError:
        tally.hung.append(seed)
        return None
    tally.seconds.append(time.monotonic() - begun)
    return end


async def run_all(
    seeds: Iterable[int], at_once: int, tally: Tally, one: Callable[[int], Awaitable[None]]
) -> None:
    """All of them, some at once."""
    waiting = iter(seeds)

    async def worker() -> None:
        for seed in waiting:
            try:
                await one(seed)
            except Exception:
                traceback.print_exc()
                tally.nameless.append(f"{seed}: {sys.exc_info()[1]!r}")
            if tally.runs % 50 == 0:
                print(tally, file=sys.stderr, flush=True)

    await asyncio.gather(*(worker() for _ in range(at_once)))
