"""Ending a deployment that is being taken up: what its user ends is given back, whether or not its
machine has been reached again."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployment_support import Simulation, last, told, until
from gdl.domain import events as ev
from gdl.domain.decisions import AfterServing
from gdl.domain.phase import Billing, Phase
from interrupted_support import interrupted, served_by_a_machine_that_is_dark, tries_again
from local_processes import processes_naming


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulation:
    return Simulation(monkeypatch, tmp_path)


async def test_a_served_machine_that_stays_dark_is_released_when_its_user_says_so(
    sim: Simulation,
) -> None:
    async with (
        served_by_a_machine_that_is_dark(sim, "hold") as (shopper, ident),
        sim.orchestrator() as orchestrator,
    ):
        await orchestrator.deployments.resume(ident)
        await until(orchestrator, ident, tries_again)
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        end = last(await told(orchestrator, ident))
        assert (end.outcome, end.billing, end.error) == ("released", Billing.RELEASED, None)
        assert shopper.billing() == []


async def test_a_session_that_is_attached_to_and_stays_dark_is_released_when_its_user_says_so(
    sim: Simulation,
) -> None:
    async with served_by_a_machine_that_is_dark(sim, "hold") as (shopper, _):
        (session,) = shopper.billing()
        async with sim.orchestrator() as orchestrator:
            ident = await orchestrator.deployments.attach(session)
            await until(orchestrator, ident, tries_again)
            await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
            end = last(await told(orchestrator, ident))
        assert (end.outcome, end.billing) == ("released", Billing.RELEASED)
        assert shopper.billing() == []


@pytest.mark.parametrize("program_ends", [False, True])
async def test_a_served_machine_that_stays_dark_is_left_alone_when_its_user_says_so(
    sim: Simulation, program_ends: bool
) -> None:
    async with served_by_a_machine_that_is_dark(sim, "hold") as (shopper, ident):
        async with sim.orchestrator() as orchestrator:
            await orchestrator.deployments.resume(ident)
            await until(orchestrator, ident, tries_again)
            await orchestrator.deployments.decide(ident, AfterServing.KEEP)
            if program_ends:
                await orchestrator.deployments.cancel(ident)
            end = last(await told(orchestrator, ident))
        assert (end.outcome, end.billing, end.reached) == ("serving", Billing.ACTIVE, False)
        assert len(shopper.billing()) == 1


async def test_a_served_machine_that_stays_dark_is_released_by_a_cancellation(
    sim: Simulation,
) -> None:
    async with (
        served_by_a_machine_that_is_dark(sim, "destroy") as (shopper, ident),
        sim.orchestrator() as orchestrator,
    ):
        await orchestrator.deployments.resume(ident)
        await until(orchestrator, ident, tries_again)
        await orchestrator.deployments.cancel(ident)
        end = last(await told(orchestrator, ident))
        assert (end.outcome, end.billing) == ("cancelled", Billing.RELEASED)
        assert shopper.billing() == []


@pytest.mark.parametrize("phase", [Phase.LOADING, Phase.SERVING])
async def test_on_a_machine_of_ones_own_nothing_of_it_goes_on_after_a_cancellation(
    sim: Simulation, phase: Phase
) -> None:
    """Whatever its earlier process had begun, and this one had not found yet."""
    async with sim.own_machine() as (host, identity):
        sim.flags |= {"backend": "ssh"}
        ident = await interrupted(sim, phase, after="hold", host=host, identity=str(identity))
        async with sim.orchestrator() as orchestrator:
            await orchestrator.deployments.resume(ident)
            again = lambda e: isinstance(e, ev.Progressed) and "again" in e.text  # noqa: E731
            await until(orchestrator, ident, again)
            await orchestrator.deployments.cancel(ident)
            assert last(await told(orchestrator, ident)).outcome == "cancelled"
        assert processes_naming(str(sim.folder)) == []


async def test_what_served_on_a_machine_of_ones_own_ends_when_its_user_says_so(
    sim: Simulation,
) -> None:
    async with sim.own_machine() as (host, identity):
        sim.flags |= {"backend": "ssh"}
        ident = await interrupted(
            sim, Phase.SERVING, after="hold", host=host, identity=str(identity)
        )
        async with sim.orchestrator() as orchestrator:
            await orchestrator.deployments.resume(ident)
            await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
            assert last(await told(orchestrator, ident)).outcome == "released"
        assert processes_naming(str(sim.folder)) == []
