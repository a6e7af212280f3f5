"""A machine whose SSH goes away for a while and comes back, in every phase: that is no end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import sandbox_support as support
from deployment_support import last, of_type, told
from gdl.domain import events as ev
from gdl.domain.decisions import AfterServing
from gdl.domain.phase import Phase
from gdl.domain.spec import DeploymentSpec
from gdl.simulator.service import Service
from gdl.simulator.simulated_machine import Machine

AWAY_S = 2.0


async def ssh_goes_away(service: Service, seconds: float) -> None:
    """The machine's SSH server ends with all connections, and is started again."""
    (ident,) = service.market.rented()
    machine = service.market.sessions[ident].machine
    assert isinstance(machine, Machine) and machine._server is not None
    server, port = machine._server, machine.port
    assert server._acceptor is not None
    server._acceptor.close()
    for conn in list(server.connections):
        conn.abort()
    await asyncio.sleep(seconds)
    server._acceptor = await server._listen(port)


@pytest.mark.parametrize(
    "phase",
    [
        Phase.PREFLIGHT,
        Phase.INSTALLING,
        Phase.STARTING,
        Phase.LOADING,
        Phase.VERIFYING,
        Phase.SERVING,
    ],
)
@pytest.mark.parametrize("seconds", [0.0, AWAY_S])
async def test_a_cut_ends_no_deployment(
    seconds: float, phase: Phase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    support.isolate(monkeypatch, tmp_path)
    async with support.sandbox(support.settings(tmp_path, "calm", speed=20.0)) as (
        orchestrator,
        backend,
    ):
        spec = DeploymentSpec("tinyllama", "sandbox", bench=False, after="hold", max_attempts=1)
        ident = await orchestrator.deployments.deploy(spec)
        cut = False
        async for recorded in orchestrator.deployments.events(ident):
            event = recorded.event
            if isinstance(event, ev.PhaseChanged) and event.phase is phase and not cut:
                cut = True
                await asyncio.sleep(0.1)
                await ssh_goes_away(support.service_of(backend), seconds)
            if isinstance(event, ev.Noted) and event.text.startswith("holding"):
                await asyncio.sleep(seconds)
                await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        events = await told(orchestrator, ident)
        assert support.service_of(backend).market.rented() == []
    assert cut
    end = last(events)
    assert (end.outcome, len(end.attempts)) == ("released", 1), end.error
    assert not of_type(events, ev.AttemptFailed) and not of_type(events, ev.ExclusionSet)
