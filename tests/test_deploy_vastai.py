"""Deployments rented from Vast.ai: from the list of offers to a served model and a proven release,
and what money may do when things go wrong. The marketplace is the stand-in, with real SSH
machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployment_support import last, of_type
from gdl.domain import events as ev
from gdl.domain.phase import Billing
from gdl.simulator.fault_models import (
    ContainerFails,
    Falls,
    Http,
    NoAddress,
    OfferFault,
    Refused,
    SshDead,
    Stale,
)
from gdl.simulator.markets import MarketStandIn
from marketplace_support import deployed, market, words
from sandbox_support import isolate
from vastai_support import api


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def count(vastai: MarketStandIn, method: str, path: str) -> int:
    return sum(r.method == method and path in r.path for r in vastai.received)


def rents(vastai: MarketStandIn) -> int:
    return count(vastai, "PUT", "/asks/")


async def test_from_the_list_of_offers_to_a_served_model_and_a_proven_release(
    tmp_path: Path,
) -> None:
    async with market("vastai", tmp_path) as (orchestrator, vastai):
        events = await deployed(orchestrator, "vastai", bench=True)
        end = last(events)
        assert (end.outcome, end.billing) == ("released", Billing.RELEASED), words(events)
        (rented,) = of_type(events, ev.SessionRented)
        machine = vastai.contracts[rented.session_id]
        assert machine.gone and rents(vastai) == 1
        assert machine.label.startswith("gdl-") and machine.bid is None
        assert await orchestrator.sessions.rows() == []
        # One search for the list and one for the offer that was rented, whatever was looked at.
        assert count(vastai, "POST", "/bundles/") == 2


@pytest.mark.parametrize("answer", ["cut", "502", "truncated", "500", "timeout", "empty"])
async def test_a_machine_whose_rent_answer_did_not_arrive_is_used(
    tmp_path: Path, answer: str
) -> None:
    async with market("vastai", tmp_path, timeouts={"rent": 1}) as (orchestrator, vastai):
        fault = {"on": "create", "answer": answer, "made": True}
        vastai.draws.inject(Http.model_validate(fault), 1)
        events = await deployed(orchestrator, "vastai")
        assert last(events).outcome == "released", words(events)
        # One machine, found by its label, served; nothing was rented twice.
        assert rents(vastai) == 1 and len(vastai.contracts) == 1


@pytest.mark.parametrize(
    ("fault", "machines"),
    [
        (Stale(), 1),
        (Stale(form="nodes"), 1),
        (Refused(made=True), 2),
        (Refused(made=False, status=400), 1),
        (ContainerFails(), 2),
        (SshDead(way="direct"), 1),
        (SshDead(way="proxy"), 1),
        (Falls(to="exited", at="provisioning"), 2),
        (Falls(to="offline", at="installing"), 2),
        (Falls(to="frozen", at="installing"), 2),
        (Falls(to="stopped", at="provisioning"), 2),
    ],
)
async def test_a_machine_that_is_no_good_is_passed_over(
    tmp_path: Path, fault: OfferFault, machines: int
) -> None:
    async with market("vastai", tmp_path, timeouts={"connect": 2}) as (orchestrator, vastai):
        vastai.draws.inject(fault, 1)
        events = await deployed(orchestrator, "vastai")
        end = last(events)
        assert (end.outcome, end.billing) == ("released", Billing.RELEASED), words(events)
        assert len(vastai.contracts) == machines
        assert all(machine.gone for machine in vastai.contracts.values())


async def test_a_machine_without_a_way_in_is_passed_over(tmp_path: Path) -> None:
    async with market("vastai", tmp_path, timeouts={"session": 3}) as (orchestrator, vastai):
        vastai.draws.inject(NoAddress(), 1)
        events = await deployed(orchestrator, "vastai")
        assert last(events).outcome == "released", words(events)
        assert len(vastai.contracts) == 2


async def test_without_credit_nothing_is_tried_twice(tmp_path: Path) -> None:
    async with market("vastai", tmp_path) as (orchestrator, vastai):
        vastai.account.credit = 0.0
        events = await deployed(orchestrator, "vastai")
        end = last(events)
        assert end.outcome == "failed" and end.billing in (Billing.NONE, None)
        assert rents(vastai) <= 1 and vastai.contracts == {}
        assert "billing" in words(events) or "credit" in words(events)


async def test_a_redirect_is_no_marketplace(tmp_path: Path) -> None:
    async with market("vastai", tmp_path) as (orchestrator, vastai):
        vastai.draws.inject(Http(on="create", answer="301"), 1)
        events = await deployed(orchestrator, "vastai")
        assert last(events).outcome == "failed" and rents(vastai) == 1
        assert "HTTP 301" in words(events) and vastai.contracts == {}


async def test_out_of_searches_is_said_with_when_they_return(tmp_path: Path) -> None:
    async with market("vastai", tmp_path) as (orchestrator, vastai):
        api(vastai).search_quota = 0
        events = await deployed(orchestrator, "vastai")
        assert last(events).outcome == "failed"
        assert "they are available again at 00:00 UTC" in words(events)
        assert count(vastai, "POST", "/bundles/") == 1


async def test_a_session_of_two_factors_that_is_over_says_so(tmp_path: Path) -> None:
    async with market("vastai", tmp_path) as (orchestrator, vastai):
        vastai.account.expired = True
        events = await deployed(orchestrator, "vastai")
        assert last(events).outcome == "failed"
        assert "Session expired" in words(events) and rents(vastai) == 0
