"""Deployments rented through the shopper: what money may do when things go wrong.

The shopper is the simulated service, the machine a real SSH host with a simulated GPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Unpack

import pytest

from deployment_support import (
    Simulation,
    SpecFields,
    deployed,
    last,
    of_type,
    phases,
    told,
    until,
    until_after,
)
from deployment_support import spec as any_spec
from gdl.domain import events as ev
from gdl.domain.change import Change
from gdl.domain.decisions import AfterFailure, AfterServing
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing, Phase
from gdl.domain.spec import DeploymentSpec
from gdl.journal.store import Journal
from gdl.orchestrator.service import Orchestrator
from shopper_support import FakeShopper, listing

OFFERS = [
    listing("vastai-101", price=0.10),
    listing("vastai-102", price=0.11),
    listing("tensordock-301", price=0.20),
]


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulation:
    simulation = Simulation(monkeypatch, tmp_path)
    simulation.with_gpu()
    return simulation


@contextlib.asynccontextmanager
async def market(
    sim: Simulation, **flags: object
) -> AsyncIterator[tuple[Orchestrator, FakeShopper]]:
    """An orchestrator, and the shopper it rents from."""
    async with (
        sim.machine() as (ssh, key),
        FakeShopper(offers=OFFERS, ssh=ssh, private_key=key) as shopper,
    ):
        sim.flags |= {"backend": "shopper", "shopper_url": shopper.url}
        async with sim.orchestrator(**flags) as orchestrator:
            yield orchestrator, shopper


def spec(**more: Unpack[SpecFields]) -> DeploymentSpec:
    return any_spec("shopper", **more)


def reasons(events: list[ev.Recorded]) -> list[tuple[str, str]]:
    return [(a.offer_id, a.ended) for a in last(events).attempts]


async def test_rent_serve_and_give_back_with_every_cent_accounted_for(sim: Simulation) -> None:
    async with market(sim) as (orchestrator, shopper):
        events = await deployed(orchestrator, spec(bench=True))
        end = last(events)
        assert (end.outcome, end.billing) == ("released", Billing.RELEASED)
        assert [b.billing for b in of_type(events, ev.BillingChanged)] == [
            Billing.REQUESTED,
            Billing.ACTIVE,
            Billing.RELEASED,
        ]
        assert end.benchmark is not None and end.benchmark.cost_per_million is not None
        assert 0 < end.attempts[0].cost < 0.01
        assert shopper.billing() == []
        creates = shopper.seen("POST", "/api/v1/sessions")
        assert len(creates) == 1 and "auto_retry" not in creates[0].body
    assert list((sim.folder / "data" / "keys").glob("*")) == []


async def test_what_serves_is_given_back_while_it_is_still_measured(sim: Simulation) -> None:
    async with market(sim) as (orchestrator, shopper):
        ident = await orchestrator.deployments.deploy(spec(bench=True, after="hold"))
        serves = lambda e: isinstance(e, ev.PhaseChanged) and e.phase is Phase.SERVING  # noqa: E731
        await until(orchestrator, ident, serves)
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        events = await told(orchestrator, ident)
        assert last(events).outcome == "released" and last(events).billing is Billing.RELEASED
        assert not of_type(events, ev.BenchFinished) and shopper.billing() == []


async def test_the_intent_is_on_disk_before_the_request_and_the_key_right_after(
    sim: Simulation,
) -> None:
    async with market(sim) as (orchestrator, shopper):
        shopper.inject("create", "hang", None)
        ident = await orchestrator.deployments.deploy(spec())
        await until(
            orchestrator,
            ident,
            lambda e: isinstance(e, ev.BillingChanged) and e.billing == "requested",
        )
        journal = await Journal.open(sim.folder / "data" / "journal.sqlite")
        rental = (await journal.rentals())[0]
        assert (rental.billing, rental.session_id) == (Billing.REQUESTED, None)
        await journal.aclose()
        shopper.heal()
        await shopper.aclose()


TWO_AT_A_TIME = Change(concurrency=2)


async def test_a_rented_machine_is_kept_for_what_its_user_changes(sim: Simulation) -> None:
    sim.server("oom")
    async with market(sim) as (orchestrator, shopper):
        ident = await orchestrator.deployments.deploy(
            spec(ask_on_failure=True, auto_failover=False)
        )
        await until(orchestrator, ident, lambda e: isinstance(e, ev.ChoiceAwaited))
        state = orchestrator.deployments.state(ident)
        assert state.held and state.offered is None and len(shopper.billing()) == 1
        await orchestrator.deployments.decide(ident, AfterFailure.CHANGE, change=TWO_AT_A_TIME)
        # It is tried on the same machine, with what is there, and asked for again.
        after = orchestrator.deployments.state(ident).last_seq
        await until_after(orchestrator, ident, after, lambda e: isinstance(e, ev.ChoiceAwaited))
        assert len(shopper.billing()) == 1
        await orchestrator.deployments.cancel(ident)
        events = await told(orchestrator, ident)
        assert len(of_type(events, ev.SessionRented)) == 1
        assert len(of_type(events, ev.ServerPlanned)) == 2
        outcomes = [step.outcome for step in of_type(events, ev.StepFinished)]
        assert outcomes.count("skipped") == len(outcomes) / 2
        assert shopper.billing() == []


async def test_a_machine_that_was_given_back_is_rented_again_for_a_change(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.server("oom")
    monkeypatch.setattr("gdl.orchestrator.machine.remediation._HELD_S", 0.2)
    async with market(sim) as (orchestrator, shopper):
        ident = await orchestrator.deployments.deploy(
            spec(ask_on_failure=True, auto_failover=False)
        )
        first = await until(orchestrator, ident, lambda e: isinstance(e, ev.ChoiceAwaited))
        await until_after(orchestrator, ident, first.seq, lambda e: isinstance(e, ev.ChoiceAwaited))
        state = orchestrator.deployments.state(ident)
        assert not state.held and shopper.billing() == []
        await orchestrator.deployments.decide(
            ident, AfterFailure.CHANGE, change=TWO_AT_A_TIME, max_price=1.0
        )
        await until_after(
            orchestrator, ident, state.last_seq, lambda e: isinstance(e, ev.SessionRented)
        )
        again = orchestrator.deployments.state(ident)
        assert again.spec is not None and again.spec.query.concurrency == 2
        assert [a.offer_id for a in again.attempts] == ["vastai-101", "vastai-101"]
        await orchestrator.deployments.cancel(ident)
        await told(orchestrator, ident)
        assert shopper.billing() == []


@pytest.mark.parametrize("choice", ["fix", "next", "cancel"])
async def test_a_machine_kept_for_a_remedy_is_seen_to_bill_and_is_given_back(
    sim: Simulation, choice: str
) -> None:
    sim.server("long")
    async with market(sim) as (orchestrator, shopper):
        long = ("--max-model-len", "4096")
        ident = await orchestrator.deployments.deploy(spec(ask_on_failure=True, engine_args=long))
        await until(orchestrator, ident, lambda e: isinstance(e, ev.ChoiceAwaited))
        state = orchestrator.deployments.state(ident)
        assert state.waiting and state.offered is not None
        assert state.billing is Billing.ACTIVE and len(shopper.billing()) == 1
        if choice == "fix":
            await orchestrator.deployments.decide(ident, AfterFailure.FIX)
        elif choice == "next":
            seq = state.last_seq
            await orchestrator.deployments.decide(ident, AfterFailure.NEXT)
            # The next machine cannot do better, but it was asked for.
            await until_after(orchestrator, ident, seq, lambda e: isinstance(e, ev.ChoiceAwaited))
            assert [a.offer_id for a in orchestrator.deployments.state(ident).attempts] == [
                "vastai-101",
                "vastai-102",
            ]
            assert len(shopper.billing()) == 1
        if choice != "fix":
            await orchestrator.deployments.cancel(ident)
        events = await told(orchestrator, ident)
        outcome = "released" if choice == "fix" else "cancelled"
        assert (last(events).outcome, last(events).billing) == (outcome, Billing.RELEASED)
        assert shopper.billing() == []


async def test_a_stale_offer_costs_nothing_and_the_next_is_taken(sim: Simulation) -> None:
    async with market(sim) as (orchestrator, shopper):
        shopper.inject("create", "stale")
        events = await deployed(orchestrator, spec())
        assert reasons(events) == [("vastai-101", "failed"), ("vastai-102", "released")]
        assert last(events).billing is Billing.RELEASED
        assert shopper.billing() == []


async def test_an_ssh_failure_leaves_the_whole_provider_out(sim: Simulation) -> None:
    async with market(sim) as (orchestrator, shopper):
        shopper.never_ready("vastai-101", "SSH verification timeout")
        events = await deployed(orchestrator, spec())
        assert reasons(events) == [("vastai-101", "failed"), ("tensordock-301", "released")]
        assert "SSH verification timeout" in last(events).attempts[0].reason
        assert shopper.billing() == []


@pytest.mark.parametrize("fault", ["cut", "made_502", "made_truncated", "no_key"])
async def test_a_lost_answer_never_leaves_a_machine_billing(sim: Simulation, fault: str) -> None:
    async with market(sim) as (orchestrator, shopper):
        shopper.inject("create", fault)
        events = await deployed(orchestrator, spec())
        assert [ended for _, ended in reasons(events)] == ["failed", "released"]
        assert shopper.billing() == []
        assert len(shopper.seen("POST", "/api/v1/sessions")) == 2


async def test_a_disk_too_small_is_asked_again_bigger(sim: Simulation) -> None:
    async with market(sim) as (orchestrator, shopper):
        shopper.inject("create", "insufficient_disk")
        events = await deployed(orchestrator, spec())
        assert reasons(events) == [("vastai-101", "released")]
        bodies = [r.body for r in shopper.seen("POST", "/api/v1/sessions")]
        assert "disk_gb" not in bodies[0] and bodies[1]["disk_gb"] > 0
        assert shopper.billing() == []


@pytest.mark.parametrize("fault", ["unverified", "lies"])
async def test_a_release_that_is_not_confirmed_is_said_to_be_in_doubt(
    sim: Simulation, fault: str
) -> None:
    async with market(sim, timeouts={"release": 1.0, "http": 3}) as (orchestrator, shopper):
        shopper.inject("delete", fault, None)
        events = await deployed(orchestrator, spec())
        end = last(events)
        assert (end.outcome, end.billing) == ("failed", Billing.UNKNOWN)
        assert end.kind == "release_unconfirmed" and "gdl-tui destroy" in str(end.hint)
        assert len(shopper.billing()) == 1
        rows = await orchestrator.sessions.rows()
        assert [r.billing for r in rows] == ["unknown"]
        shopper.heal()
        await orchestrator.sessions.destroy(str(end.session_id))
        assert shopper.billing() == []


async def test_a_delete_that_fails_once_is_asked_again(sim: Simulation) -> None:
    async with market(sim) as (orchestrator, shopper):
        shopper.inject("delete", "unverified")
        assert last(await deployed(orchestrator, spec())).billing is Billing.RELEASED
        assert shopper.billing() == []


async def test_when_every_offer_fails_the_last_reason_is_told(sim: Simulation) -> None:
    async with market(sim) as (orchestrator, shopper):
        shopper.inject("create", "stale", None)
        events = await deployed(orchestrator, spec(max_attempts=5))
        end = last(events)
        assert (end.outcome, end.billing, end.kind) == ("failed", Billing.NONE, "offer_gone")
        assert len(end.attempts) == 3


async def test_no_suitable_offer_says_what_would_help(sim: Simulation) -> None:
    async with market(sim) as (orchestrator, _):
        events = await deployed(orchestrator, spec(query=OfferQuery(max_price=0.05)))
        end = last(events)
        assert end.kind == "no_suitable_offer" and "raise the price ceiling to $0.100/h" in str(
            end.hint
        )
        assert phases(events)[-1] is Phase.FAILED


async def test_a_shopper_that_is_away_ends_it_at_once(sim: Simulation) -> None:
    async with sim.orchestrator(
        backend="shopper", shopper_url="http://127.0.0.1:9"
    ) as orchestrator:
        end = last(await deployed(orchestrator, spec()))
        assert (end.outcome, end.kind, end.billing) == (
            "failed",
            "backend_unreachable",
            Billing.NONE,
        )


PHASES = [Phase.RENTING, Phase.CONNECTING, Phase.INSTALLING, Phase.LOADING, Phase.SERVING]


@pytest.mark.parametrize("phase", PHASES)
async def test_a_cancel_in_any_phase_ends_in_a_confirmed_release(
    sim: Simulation, phase: Phase
) -> None:
    async with market(sim) as (orchestrator, shopper):
        ident = await orchestrator.deployments.deploy(spec(after="hold"))
        await until(
            orchestrator, ident, lambda e: isinstance(e, ev.PhaseChanged) and e.phase is phase
        )
        await orchestrator.deployments.cancel(ident)
        end = last(await told(orchestrator, ident))
        assert end.outcome == "cancelled"
        assert end.billing in (Billing.NONE, Billing.RELEASED)
        assert shopper.billing() == []


async def test_a_machine_rented_by_nobody_we_know_is_shown_as_such(sim: Simulation) -> None:
    async with market(sim) as (orchestrator, shopper):
        shopper.inject("create", "cut")
        shopper.inject("delete", "unverified", None)
        ident = await orchestrator.deployments.deploy(spec(max_attempts=1))
        end = last(await told(orchestrator, ident))
        assert end.billing is Billing.UNKNOWN
        rows = await orchestrator.sessions.rows()
        assert len(rows) == 1 and not rows[0].ours and rows[0].billing == "unknown"
        shopper.heal()
        await orchestrator.sessions.destroy(rows[0].session.id)
        assert shopper.billing() == []
