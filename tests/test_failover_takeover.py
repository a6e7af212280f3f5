"""Machines that outlive a process, an outage, or the service that rented them out.

The shopper is the simulated service, the machines are real SSH hosts with a simulated GPU.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from deployment_support import Simulation, last, of_type, spec, told, until
from gdl.domain import events as ev
from gdl.domain.decisions import AfterServing
from gdl.domain.errors import ReleaseUnconfirmed, UsageError
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing, Phase
from market_support import (
    OFFERS,
    forgotten,
    held,
    journal_of,
    kept,
    market,
)
from shopper_support import FakeShopper
from waiting import wait_until

pytestmark = pytest.mark.long


async def test_a_machine_whose_process_was_killed_while_serving_is_taken_over(
    sim: Simulation,
) -> None:
    async with market(sim) as (shopper, _):
        await forgotten(sim, await kept(sim))
        async with sim.orchestrator() as orchestrator:
            events = await told(
                orchestrator, await orchestrator.deployments.deploy(spec("shopper"))
            )
        end = last(events)
        assert (end.outcome, len(end.attempts), end.error) == ("released", 1, None)
        notes = [n.text for n in of_type(events, ev.Noted)]
        assert any("taking it over" in text for text in notes)
        assert any("ending an earlier engine" in text for text in notes)
        assert len(shopper.sessions) == 1 and shopper.billing() == []
    assert list((sim.folder / "data" / "keys").glob("*")) == []


async def test_a_machine_kept_serving_after_attaching_is_not_taken_over(sim: Simulation) -> None:
    async with market(sim) as (shopper, _):
        first = await kept(sim)
        await forgotten(sim, first)
        (session,) = shopper.billing()
        async with sim.orchestrator() as orchestrator:
            attached = await orchestrator.deployments.attach(session)
            await held(orchestrator, attached)
            await orchestrator.deployments.decide(attached, AfterServing.KEEP)
            end = last(await told(orchestrator, attached))
            assert (end.outcome, end.attempts[0].gpu_name) == ("serving", OFFERS[0].gpu.name)
            alone = OfferQuery(offer_id=OFFERS[0].id)
            end = last(
                await told(
                    orchestrator,
                    await orchestrator.deployments.deploy(spec("shopper", query=alone)),
                )
            )
            # The offer is in use: nothing was done to its machine.
            assert (end.kind, end.billing) == ("session_exists", Billing.NONE)
            assert shopper.billing() == [session]
            assert [
                r.session.id for r in await orchestrator.sessions.rows() if r.billing == "active"
            ] == [session]
            await orchestrator.sessions.destroy(session)
        assert shopper.billing() == []


async def test_a_serving_machine_survives_a_long_outage_of_our_network(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.flags["timeouts"] = {"start": 20, "install": 20, "session": 10, "release": 3, "away": 0.3}
    monkeypatch.setattr("gdl.orchestrator.machine.engine_process._LOOK_AGAIN_S", 0.1)
    async with market(sim) as (shopper, cable), sim.orchestrator() as orchestrator:
        ident = await orchestrator.deployments.deploy(spec("shopper", after="hold"))
        await held(orchestrator, ident)
        await cable.pull()
        await until(
            orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "cannot be watched" in e.text
        )
        await cable.plug()

        async def is_well() -> bool:
            return (await orchestrator.endpoints.health(ident))[-1].status == "passed"

        await wait_until(is_well)
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        end = last(await told(orchestrator, ident))
        assert (end.outcome, end.error, len(end.attempts)) == ("released", None, 1)
        assert shopper.billing() == []


async def test_another_service_has_no_say_about_a_session(sim: Simulation) -> None:
    """Its 404 is no proof that the machine is gone."""
    async with market(sim) as (shopper, _):
        await kept(sim)
        (session,) = shopper.billing()
        keys = sorted(path.name for path in (sim.folder / "data" / "keys").iterdir())
        async with FakeShopper(offers=OFFERS) as other:
            async with sim.orchestrator(shopper_url=other.url) as orchestrator:
                with pytest.raises(UsageError) as caught:
                    await orchestrator.sessions.destroy(session)
                assert shopper.url in caught.value.message
                assert await orchestrator.sessions.rows() == []
            assert other.seen("DELETE", "/api/v1/sessions/") == []
        assert keys == sorted(path.name for path in (sim.folder / "data" / "keys").iterdir())
        async with sim.orchestrator() as orchestrator:
            assert (await orchestrator.sessions.destroy(session)).billing == "released"
        assert shopper.billing() == []


async def test_an_end_that_did_not_come_leaves_the_journal_as_it_was(sim: Simulation) -> None:
    async with market(sim) as (shopper, _):
        ident = await kept(sim)
        (session,) = shopper.billing()
        shopper.inject("delete", "unverified", None)
        async with sim.orchestrator(timeouts={"release": 0.5, "http": 1}) as orchestrator:
            with pytest.raises(ReleaseUnconfirmed):
                await orchestrator.sessions.destroy(session)
        async with journal_of(sim) as journal:
            (rental,) = await journal.rentals()
            assert (rental.deployment_id, rental.billing) == (ident, Billing.ACTIVE)
            assert Path(rental.key_file).is_file()


async def test_destroying_while_attaching_gives_the_machine_back(sim: Simulation) -> None:
    async with market(sim) as (shopper, _):
        await kept(sim)
        (session,) = shopper.billing()
        async with sim.orchestrator() as orchestrator:
            ident = await orchestrator.deployments.attach(session)
            await until(
                orchestrator,
                ident,
                lambda e: isinstance(e, ev.PhaseChanged) and e.phase is Phase.CONNECTING,
            )
            assert (await orchestrator.sessions.destroy(session)).billing == "released"
        assert shopper.billing() == []


async def test_an_answer_without_a_key_destroys_the_session_it_names(sim: Simulation) -> None:
    async with market(sim) as (shopper, _):
        shopper.inject("create", "no_key")
        async with sim.orchestrator() as orchestrator:
            end = last(
                await told(orchestrator, await orchestrator.deployments.deploy(spec("shopper")))
            )
        assert [a.offer_id for a in end.attempts] == ["vastai-101", "vastai-102"]
        # What it cost until it was destroyed is part of its events.
        assert end.attempts[0].session_id is not None and end.outcome == "released"
        assert shopper.billing() == []
