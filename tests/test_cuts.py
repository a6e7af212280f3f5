"""A machine that is out of reach for seconds or minutes, in every phase: that is no end, and of its
logs nothing is lost and nothing comes twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

import sandbox_support as support
from deployment_support import last, of_type, told
from gdl.domain import events as ev
from gdl.domain.decisions import AfterServing
from gdl.domain.phase import Phase
from gdl.domain.session import SshAddress
from gdl.domain.spec import DeploymentSpec
from gdl.ssh.connection import Connection
from gdl.ssh.dial import Target
from relay import Relay, relayed
from rushing_clock import RushingClock, in_rushing_time
from waiting import wait_until

LEAST_S, RATE = 1.5, 100.0
"""A cut lasts so long by the world's clock, and a longer one passes so many times as fast."""
MEASURING = (
    "machine.connection",
    "machine.engine_process",
    "machine.install",
    "endpoint.health_watch",
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> RushingClock:
    made = RushingClock()
    for module in MEASURING:
        monkeypatch.setattr(f"gdl.orchestrator.{module}.time", made)
    return made


class Lines:
    """All SSH connections go through relays, which can be cut: nothing gets through, and nobody is
    told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stack: contextlib.AsyncExitStack) -> None:
        self._relays: dict[SshAddress, Relay] = {}
        self._stack = stack
        self._open = Connection.open
        monkeypatch.setattr(Connection, "open", self.open)

    async def open(self, target: Target) -> Connection:
        there = target.address
        if there not in self._relays:
            relay = relayed(there.port, there.host)
            self._relays[there] = await self._stack.enter_async_context(relay)
        relayed_to = SshAddress("127.0.0.1", self._relays[there].port, there.user)
        return await self._open(replace(target, address=relayed_to))

    async def cut(self, clock: RushingClock, seconds: float) -> None:
        for relay in self._relays.values():
            relay.cut()
        with clock.rushing(min(seconds / LEAST_S, RATE)):
            await asyncio.sleep(seconds)
        for relay in self._relays.values():
            relay.restore()


@contextlib.asynccontextmanager
async def lines(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lines]:
    async with contextlib.AsyncExitStack() as stack:
        yield Lines(monkeypatch, stack)


def logs_here(folder: Path, source: str) -> bytes:
    return b"".join(log.read_bytes() for log in folder.rglob(f"attempt-1-{source}.log"))


def logs_there(folder: Path, job: str) -> bytes:
    (jobs,) = {found.parent for found in folder.rglob(f"jobs/{job}/token")}
    named = jobs / "logpath"
    log = Path(named.read_text().strip()) if named.exists() else jobs / "log"
    return log.read_bytes()


PHASES = [
    Phase.PREFLIGHT,
    Phase.INSTALLING,
    Phase.STARTING,
    Phase.LOADING,
    Phase.VERIFYING,
    Phase.SERVING,
]


CUTS = [
    # Ten minutes are the same as one to most phases, and take long.
    pytest.param(
        seconds,
        phase,
        id=f"{seconds:.0f}-{phase}",
        marks=[pytest.mark.soak]
        * (seconds > 60 and phase not in (Phase.INSTALLING, Phase.SERVING)),
    )
    for seconds in (5.0, 60.0, 600.0)
    for phase in PHASES
]


@pytest.mark.parametrize(("seconds", "phase"), CUTS)
@in_rushing_time
async def test_a_cut_ends_no_deployment(
    seconds: float,
    phase: Phase,
    clock: RushingClock,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    support.isolate(monkeypatch, tmp_path)
    wanted = support.settings(
        tmp_path,
        "calm",
        speed=20.0,
        timeouts={"install": 60_000, "start": 60_000},
        engine={"log": str(tmp_path / "engine.log")},
    )
    async with (
        support.sandbox(wanted) as (orchestrator, backend),
        lines(monkeypatch) as connections,
    ):
        spec = DeploymentSpec("tinyllama", "sandbox", bench=False, after="hold", max_attempts=1)
        ident = await orchestrator.deployments.deploy(spec)
        cut = False
        async for recorded in orchestrator.deployments.events(ident):
            event = recorded.event
            if isinstance(event, ev.PhaseChanged) and event.phase is phase and not cut:
                cut = True
                await asyncio.sleep(0.1)
                await connections.cut(clock, seconds)
            if isinstance(event, ev.AttemptFailed | ev.DeploymentFinished):
                pytest.fail(f"it ended: {event}")
            if isinstance(event, ev.Noted) and event.text.startswith("holding"):
                break

        def logs_are_here() -> bool:
            kinds = ("install", "engine")
            return all(logs_here(tmp_path, kind) == logs_there(tmp_path, kind) for kind in kinds)

        await wait_until(logs_are_here)
        assert logs_here(tmp_path, "engine")

        async def is_well() -> bool:
            return (await orchestrator.endpoints.health(ident))[-1].status == "passed"

        await wait_until(is_well)
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        events = await told(orchestrator, ident)
        assert support.service_of(backend).market.rented() == []
    assert cut
    end = last(events)
    assert (end.outcome, len(end.attempts)) == ("released", 1), end.error
    assert not of_type(events, ev.AttemptFailed) and not of_type(events, ev.ExclusionSet)
    assert not [n.text for n in of_type(events, ev.Noted) if "log" in n.text and "read" in n.text]
