"""Orders to release or keep that come while something else happens: each is heard and obeyed, or
refused; none is accepted and then forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from deployment_support import Simulation, last, spec, told, until
from gdl.bootstrap import open_orchestrator
from gdl.domain import events as ev
from gdl.domain.benchmark import BenchReport
from gdl.domain.decisions import AfterServing
from gdl.domain.errors import SpendLimitReached, VerificationError
from gdl.domain.phase import Billing, Phase
from gdl.engines.base import Plan
from gdl.orchestrator.endpoint import served_endpoint
from gdl.orchestrator.machine.engine_process import EngineProcess
from interrupted_support import interrupted, served_by_a_machine_that_is_dark, tries_again
from local_processes import processes_naming
from shopper_support import FakeShopper, listing


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulation:
    return Simulation(monkeypatch, tmp_path)


@asynccontextmanager
async def two_on_offer(sim: Simulation) -> AsyncIterator[FakeShopper]:
    sim.with_gpu()
    async with sim.machine() as (ssh, key):
        offers = [listing("vastai-101", price=0.10), listing("vastai-102", price=0.12)]
        async with FakeShopper(offers=offers, ssh=ssh, private_key=key) as shopper:
            sim.flags |= {"backend": "shopper", "shopper_url": shopper.url}
            yield shopper


def failed(event: ev.Event) -> bool:
    return isinstance(event, ev.AttemptFailed)


def serves(event: ev.Event) -> bool:
    return isinstance(event, ev.PhaseChanged) and event.phase is Phase.SERVING


@pytest.mark.parametrize("decision", list(AfterServing))
async def test_what_is_decided_as_its_measurement_fails_is_obeyed(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch, decision: AfterServing
) -> None:
    """No other machine is rented then."""

    async def fails(*_: object) -> BenchReport:
        raise VerificationError("no answer", "look at it")

    monkeypatch.setattr(served_endpoint, "benchmark", fails)
    async with two_on_offer(sim) as shopper, sim.orchestrator() as orchestrator:
        wanted = spec("shopper", bench=True, after="hold", max_attempts=2)
        ident = await orchestrator.deployments.deploy(wanted)
        await until(orchestrator, ident, failed)
        await orchestrator.deployments.decide(ident, decision)
        end = last(await told(orchestrator, ident))
        assert len(shopper.seen("POST", "/api/v1/sessions")) == 1
        kept = decision is AfterServing.KEEP
        expected = ("serving", Billing.ACTIVE, 1) if kept else ("released", Billing.RELEASED, 0)
        assert (end.outcome, end.billing, len(shopper.billing())) == expected


async def test_what_is_left_before_its_backend_has_answered_is_named(sim: Simulation) -> None:
    """Or nobody could say by which id to release it."""
    async with served_by_a_machine_that_is_dark(sim, "hold") as (shopper, _):
        (session,) = shopper.billing()
        async with sim.orchestrator() as orchestrator:
            shopper.inject("session", "hang")
            ident = await orchestrator.deployments.attach(session)
            await orchestrator.deployments.decide(ident, AfterServing.KEEP)
            await orchestrator.deployments.cancel(ident)
            end = last(await told(orchestrator, ident))
        assert (end.outcome, end.reached) == ("serving", False)
        assert (end.session_id, end.billing) == (session, Billing.ACTIVE)


async def test_what_another_process_destroys_while_it_is_attached_to_is_told_as_released(
    sim: Simulation,
) -> None:
    async with served_by_a_machine_that_is_dark(sim, "hold") as (shopper, _):
        (session,) = shopper.billing()
        async with sim.orchestrator() as orchestrator, sim.orchestrator() as other:
            ident = await orchestrator.deployments.attach(session)
            await until(orchestrator, ident, tries_again)
            await other.sessions.destroy(session)
            end = last(await told(orchestrator, ident))
        assert (end.outcome, end.kind, end.billing) == ("failed", "cancelled", Billing.RELEASED)
        assert "destroyed by another gdl-tui" in str(end.error)


@pytest.mark.parametrize("ordered", list(AfterServing))
async def test_a_limit_that_is_reached_as_its_user_decides_ends_what_is_not_kept(
    sim: Simulation, ordered: AfterServing
) -> None:
    async with served_by_a_machine_that_is_dark(sim, "hold") as (shopper, ident):
        async with sim.orchestrator() as orchestrator:
            await orchestrator.deployments.resume(ident)
            await orchestrator.deployments.decide(ident, ordered)
            deployment = orchestrator.deployments.get(ident)
            assert deployment is not None and deployment.task is not None
            deployment.over_limit = SpendLimitReached("the limit is reached", "allow more")
            deployment.task.cancel()
            end = last(await told(orchestrator, ident))
        kept = ordered is AfterServing.KEEP
        assert end.billing is (Billing.ACTIVE if kept else Billing.RELEASED)
        assert len(shopper.billing()) == int(kept)


@pytest.mark.parametrize("first", [None, AfterServing.KEEP])
async def test_destroying_what_is_being_attached_to_ends_it_on_a_machine_of_ones_own(
    sim: Simulation, first: AfterServing | None
) -> None:
    async with sim.own_machine() as (host, identity):
        sim.flags |= {"backend": "ssh"}
        await interrupted(sim, Phase.SERVING, after="hold", host=host, identity=str(identity))
        async with sim.orchestrator() as orchestrator:
            (row,) = await orchestrator.sessions.rows()
            ident = await orchestrator.deployments.attach(row.session.id)
            if first is not None:
                await orchestrator.deployments.decide(ident, first)
            await orchestrator.sessions.destroy(row.session.id)
        assert processes_naming(str(sim.folder)) == []


@pytest.mark.parametrize("after", ["keep", "destroy"])
@pytest.mark.parametrize("decision", list(AfterServing))
async def test_what_is_measured_is_ended_as_its_user_says_whatever_was_meant_to_follow(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch, after: str, decision: AfterServing
) -> None:
    """The terminal UI offers both as soon as it serves."""

    async def goes_on(*_: object) -> BenchReport:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(served_endpoint, "benchmark", goes_on)
    async with two_on_offer(sim) as shopper, sim.orchestrator() as orchestrator:
        wanted = spec("shopper", bench=True, after=after)
        ident = await orchestrator.deployments.deploy(wanted)
        await until(orchestrator, ident, serves)
        await orchestrator.deployments.decide(ident, decision)
        end = last(await told(orchestrator, ident))
        kept = decision is AfterServing.KEEP
        assert end.outcome == ("serving" if kept else "released")
        assert len(shopper.billing()) == int(kept)


async def test_what_another_process_ends_before_its_server_is_started_does_not_serve(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine of one's own, where nothing fails for it."""
    begun, destroyed = asyncio.Event(), asyncio.Event()
    start = EngineProcess.start

    async def waits(process: EngineProcess, plan: Plan) -> None:
        begun.set()
        await destroyed.wait()
        await start(process, plan)

    monkeypatch.setattr(EngineProcess, "start", waits)
    async with sim.own_machine() as (host, identity):
        sim.flags |= {"backend": "ssh"}
        options = {"host": host, "identity": str(identity)}
        async with (
            open_orchestrator(sim.settings(), options=options) as orchestrator,
            open_orchestrator(sim.settings(), options=options) as other,
        ):
            ident = await orchestrator.deployments.deploy(spec("ssh", after="keep"))
            await begun.wait()
            (row,) = await other.sessions.rows()
            await other.sessions.destroy(row.session.id)
            destroyed.set()
            end = last(await told(orchestrator, ident))
        assert (end.outcome, end.kind) == ("failed", "cancelled")
        assert "destroyed by another gdl-tui" in str(end.error)
        assert processes_naming(str(sim.folder)) == []


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("at_key", ["before", "after"])
async def test_what_an_unanswered_request_has_made_is_released_with_its_deployment(
    sim: Simulation, at_key: str, answers: bool
) -> None:
    """Or it is said that a machine may have been rented."""
    async with two_on_offer(sim) as shopper:
        ident = await interrupted(sim, at_key=at_key, after="hold")
        assert len(shopper.billing()) == 1
        async with sim.orchestrator() as orchestrator:
            await orchestrator.deployments.resume(ident)
            if not answers:
                shopper.inject("sessions", "hang", None)
            await orchestrator.deployments.cancel(ident)
            end = last(await told(orchestrator, ident))
        assert end.outcome == "cancelled"
        if answers:
            assert (end.billing, shopper.billing()) == (Billing.RELEASED, [])
        else:
            assert (end.billing, end.kind) == (Billing.UNKNOWN, "release_unconfirmed")


async def test_what_is_cancelled_as_it_begins_is_no_defect(sim: Simulation) -> None:
    """While it is told which engine was chosen, too."""
    async with sim.orchestrator() as orchestrator:
        ident = await orchestrator.deployments.deploy(replace(spec(), engine="auto"))
        await orchestrator.deployments.cancel(ident)
        assert last(await told(orchestrator, ident)).outcome == "cancelled"
