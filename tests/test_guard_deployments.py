"""Guards on the machines of deployments: real shells on simulated machines of a marketplace, and on
an SSH host of one's own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deployment_support import Simulation, deployed, last, of_type, spec, told, until
from gdl.bootstrap import open_orchestrator
from gdl.domain import events as ev
from gdl.domain.errors import BackendUnreachable
from gdl.domain.ledger import accounts
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing
from gdl.domain.spec import DeploymentSpec
from gdl.journal import guards, ledger
from gdl.journal.store import Journal
from gdl.orchestrator.machine import guard as program
from gdl.orchestrator.service import Orchestrator
from gdl.settings import Settings, load
from gdl.simulator import fault_models as fm
from gdl.simulator.markets import MarketStandIn
from gdl.simulator.scenario import load as load_scenario
from sandbox_support import isolate
from waiting import wait_until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "TICK_S", 1)
    monkeypatch.setattr(program, "LOOK_EVERY_S", 0.3)


@contextlib.asynccontextmanager
async def market(
    folder: Path, name: str = "runpod"
) -> AsyncIterator[tuple[Settings, MarketStandIn]]:
    async with MarketStandIn(
        name, load_scenario("calm"), root=folder / "market", speed=100.0
    ) as market:
        account: dict[str, Any] = {name: {"url": market.url, "key": market.key}}
        yield (
            load(
                backend=name,
                data_dir=folder / "data",
                timeouts={"install": 30, "start": 30, "session": 30, "http": 5, "release": 40},
                **account,
            ),
            market,
        )


def wanted(name: str = "runpod", **more: Any) -> DeploymentSpec:
    query = OfferQuery(model="qwen3-0.6b", min_vram_gb=20)
    return spec(name, model="qwen3-0.6b", query=query, **more)


async def served(orchestrator: Orchestrator, **more: Any) -> list[ev.Recorded]:
    return await deployed(orchestrator, wanted(**more))


def notes(events: list[ev.Recorded]) -> list[str]:
    return [one.text for one in of_type(events, ev.Noted)]


async def test_a_kept_machine_that_nobody_sees_ends_itself_and_the_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    async with market(tmp_path) as (settings, runpod):
        async with open_orchestrator(settings) as orchestrator:
            events = await served(orchestrator, after="keep", unseen_hours=0.001)
            end = last(events)
            assert end.outcome == "serving", notes(events)
            assert [n for n in notes(events) if n.startswith("the guard on the machine: ends")]
            (row,) = await orchestrator.sessions.rows()
            assert row.guard == "ends after 0.001 h with nobody connected"
            assert not row.extends, "no hours are reserved there"
        # This computer is closed; the account's key was never on the machine.
        await wait_until(lambda: not runpod.rented(), "the machine has ended itself")
        async with open_orchestrator(settings) as orchestrator:
            (row,) = await orchestrator.sessions.rows()
            assert (row.session.status.value, row.billing) == ("stopped", str(Billing.RELEASED))
            assert row.guard.startswith("the guard ended it at ")
            assert "nobody connected for 0.001 h" in row.guard
            assert row.cost > 0
            with pytest.raises(Exception, match="is over: the guard ended it"):
                await orchestrator.deployments.attach(row.session.id)
    journal = await Journal.open(tmp_path / "data" / "journal.sqlite")
    (rental,) = await journal.rentals()
    guard = await guards.of_rental(journal, rental.intent_id)
    assert guard is not None and rental.released_at == guard.ended_at and not rental.open
    (account,) = accounts(await ledger.entries(journal), guard.ended_at or rental.requested_at)
    assert account.certain and account.until == guard.ended_at
    await journal.aclose()


def files_with(folder: Path, text: str) -> list[Path]:
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # of a program at work
            if path.is_file() and not path.is_symlink() and text.encode() in path.read_bytes():
                found.append(path)
    return found


async def test_the_machine_has_a_key_for_itself_alone_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    async with market(tmp_path, "vastai") as (settings, vast):
        assert vast.vastai is not None
        scoped = vast.vastai._keys.scoped
        async with open_orchestrator(settings) as orchestrator:
            ident = await orchestrator.deployments.deploy(
                wanted("vastai", after="hold", max_spend=50.0)
            )
            await until(
                orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "the guard on" in e.text
            )
            (key,) = scoped.values()
            (there,) = files_with(tmp_path / "market", key.key)
            assert (there.name, there.stat().st_mode & 0o777) == ("key", 0o600)
            assert files_with(tmp_path / "market", vast.key) == []
            assert files_with(tmp_path / "data", key.key) == [], "it is not kept here either"
            await until(
                orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text
            )
            (row,) = await orchestrator.sessions.rows()
            assert row.guard.startswith("ends at $50.00, about ")
            await orchestrator.sessions.destroy(row.session.id)
            assert last(await told(orchestrator, ident)).outcome == "released"
        assert scoped == {}, "revoked, once the machine was gone"
        assert vast.rented() == []


async def test_what_was_downloaded_counts_for_the_cap_of_the_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    async with market(tmp_path, "vastai") as (settings, vast):
        vast.draws.inject(fm.Listed(fields={"inet_down_cost": 0.05}), None)
        async with open_orchestrator(settings) as orchestrator:
            deploying = wanted("vastai", after="hold", max_spend=50.0)
            ident = await orchestrator.deployments.deploy(deploying)
            await until(
                orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text
            )
            state = orchestrator.deployments.state(ident)
            assert state.attempt is not None and state.attempt.expected is not None
            traffic = state.attempt.expected.traffic
            assert traffic > 0.3

            journal = await Journal.open(settings.data_dir / "journal.sqlite")

            async def counted() -> bool:
                (guard,) = (await guards.known(journal)).values()
                return guard.spent_before == pytest.approx(traffic, abs=1e-6)

            await wait_until(counted)
            fetched = [e.traffic for e in await ledger.entries(journal) if e.kind == "traffic"]
            assert fetched == [pytest.approx(traffic)], "a day's cap counts it, too"
            await journal.aclose()
            (row,) = await orchestrator.sessions.rows()
            await orchestrator.sessions.destroy(row.session.id)


async def test_a_key_that_could_not_be_revoked_is_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    async with market(tmp_path, "vastai") as (settings, vast):
        assert vast.vastai is not None

        async def refuse(ref: str) -> None:
            raise BackendUnreachable("the service is away", "")

        async with open_orchestrator(settings) as orchestrator:
            ident = await orchestrator.deployments.deploy(
                wanted("vastai", after="hold", max_spend=50.0)
            )
            await until(
                orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text
            )
            (row,) = await orchestrator.sessions.rows()
            for leasing in orchestrator._markets.all:
                monkeypatch.setattr(leasing.backend, "revoke", refuse)
            await orchestrator.sessions.destroy(row.session.id)
        assert len(vast.vastai._keys.scoped) == 1
        async with open_orchestrator(settings) as orchestrator:
            assert await orchestrator.sessions.rows() == []
        assert vast.vastai._keys.scoped == {}


async def test_without_a_limit_there_is_no_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    async with market(tmp_path) as (settings, _), open_orchestrator(settings) as orchestrator:
        events = await served(orchestrator)
        assert last(events).outcome == "released"
        assert not [n for n in notes(events) if "guard" in n]
    journal = await Journal.open(tmp_path / "data" / "journal.sqlite")
    assert await guards.known(journal) == {}
    await journal.aclose()


# -- a machine of one's own ----------------------------------------------------------------------


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulation:
    simulation = Simulation(monkeypatch, tmp_path)
    engine = {"port": simulation.settings().engine.port, "log": str(tmp_path / "vllm.log")}
    simulation.flags = {"backend": "ssh", "engine": engine}
    return simulation


async def test_a_server_that_nobody_asks_is_stopped_and_not_started_again(
    sim: Simulation, tmp_path: Path
) -> None:
    async with sim.own_machine() as (host, identity):
        where = {"host": host, "identity": str(identity)}
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            events = await deployed(orchestrator, spec("ssh", after="hold", idle_minutes=0.1))
    end = last(events)
    assert (end.outcome, end.kind, end.billing) == ("released", "guard_ended", Billing.NONE)
    assert str(end.error).startswith("the guard stopped the server at ")
    assert "no request for 0.1 min" in str(end.error)
    assert [n for n in notes(events) if "the guard ends the server at" in n]
    assert of_type(events, ev.StopAnnounced)
    work = tmp_path / "home" / ".gdl-tui"
    assert not (work / "guard").exists() and not (work / "jobs" / "guard").exists()
    assert not (work / "jobs" / "engine").exists()


async def test_a_deployment_that_is_refused_leaves_the_guard_of_the_first(
    sim: Simulation, tmp_path: Path
) -> None:
    async with sim.own_machine() as (host, identity):
        where = {"host": host, "identity": str(identity)}
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            first = await deployed(orchestrator, spec("ssh", after="keep", unseen_hours=5.0))
            assert last(first).outcome == "serving"
        settings = tmp_path / "home" / ".gdl-tui" / "guard" / "settings"
        before = settings.read_text()
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            second = await deployed(orchestrator, spec("ssh", unseen_hours=7.0))
            assert "earlier deployment still serves" in str(last(second).error)
            assert settings.read_text() == before
            await orchestrator.sessions.destroy(str(last(first).session_id))
        assert not settings.parent.exists()
