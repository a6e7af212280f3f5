"""Machines of the marketplaces that nobody can enter: one that stops meanwhile is not waited for,
and whoever tries the program on the stand-ins is served all the same."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deployment_support import deployed, last, of_type, phases, spec, told, until
from gdl.bootstrap import open_orchestrator
from gdl.domain import events as ev
from gdl.domain.phase import Billing, Phase
from gdl.orchestrator.service import Orchestrator
from gdl.settings import load
from gdl.simulator.fault_models import NeverReady, SshDead
from gdl.simulator.hosting import NOWHERE
from gdl.simulator.markets import MarketStandIn
from gdl.simulator.scenario import load as load_scenario
from market_stand_in import MARKETS
from sandbox_support import isolate

SOON_S = 20.0
"""A backend is asked every five seconds at the latest; SSH alone is waited for two minutes."""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@contextlib.asynccontextmanager
async def market(
    folder: Path, name: str, scenario: str = "calm"
) -> AsyncIterator[tuple[Orchestrator, MarketStandIn]]:
    async with MarketStandIn(
        name, load_scenario(scenario), root=folder / "market", speed=100.0
    ) as there:
        where: dict[str, Any] = {name: {"url": there.url, "key": there.key}}
        settings = load(
            backend=name,
            data_dir=folder / "data",
            timeouts={"install": 30, "start": 30, "session": 30, "http": 5, "release": 40},
            **where,
        )
        async with open_orchestrator(settings) as orchestrator:
            yield orchestrator, there
        assert there.rented() == []


def connecting(event: ev.Event) -> bool:
    return isinstance(event, ev.PhaseChanged) and event.phase is Phase.CONNECTING


@pytest.mark.parametrize("name", MARKETS)
@pytest.mark.parametrize("to", ["exited", "stopped", "outbid"])
async def test_a_machine_that_stops_while_it_is_entered_is_given_up_at_once(
    tmp_path: Path, name: str, to: str
) -> None:
    async with market(tmp_path, name) as (orchestrator, there):
        there.draws.inject(SshDead(way="both"), 1)
        ident = await orchestrator.deployments.deploy(spec(name))
        await until(orchestrator, ident, connecting)
        (dead,) = there.contracts.values()
        began = time.monotonic()
        await there.hosting.fall(dead, to)
        await until(orchestrator, ident, lambda event: isinstance(event, ev.AttemptFailed))
        assert time.monotonic() - began < SOON_S
        events = await told(orchestrator, ident)
    failed = [(one.phase, one.message) for one in of_type(events, ev.AttemptFailed)]
    assert len(failed) == 1 and failed[0][0] is Phase.CONNECTING, failed
    assert "the machine is gone" in failed[0][1]
    end = last(events)
    assert (end.outcome, end.billing) == ("released", Billing.RELEASED)
    assert [a.ended for a in end.attempts] == ["failed", "released"]


@pytest.mark.parametrize("name", MARKETS)
async def test_one_that_is_entered_again_is_not_waited_for_either(
    tmp_path: Path, name: str
) -> None:
    async with market(tmp_path, name) as (orchestrator, there):
        kept = last(await deployed(orchestrator, spec(name, after="keep")))
        assert kept.outcome == "serving"
        (machine,) = there.contracts.values()
        machine.direct = machine.proxy = NOWHERE
        ident = await orchestrator.deployments.attach(machine.id)
        await until(orchestrator, ident, connecting)
        began = time.monotonic()
        await there.hosting.fall(machine, "exited")
        end = last(await told(orchestrator, ident))
        assert time.monotonic() - began < SOON_S
        assert end.outcome == "failed" and "the machine is gone" in (end.error or "")
        await orchestrator.sessions.destroy(machine.id)


@pytest.mark.parametrize("name", MARKETS)
async def test_a_machine_that_never_gets_ready_stops_by_itself(tmp_path: Path, name: str) -> None:
    async with market(tmp_path, name) as (orchestrator, there):
        there.draws.inject(NeverReady(after=50.0), 1)
        began = time.monotonic()
        end = last(await deployed(orchestrator, spec(name)))
        assert time.monotonic() - began < 2 * SOON_S
    assert [a.ended for a in end.attempts] == ["failed", "released"]


@pytest.mark.parametrize("name", MARKETS)
async def test_whoever_tries_the_stand_in_as_it_comes_is_served(tmp_path: Path, name: str) -> None:
    async with market(tmp_path, name, "demo") as (orchestrator, _):
        events = await deployed(orchestrator, spec(name))
    end = last(events)
    assert (end.outcome, end.billing) == ("released", Billing.RELEASED), end.attempts
    assert Phase.SERVING in phases(events) and len(end.attempts) <= 3
