"""Deployments rented from RunPod: from the catalogue to a served model and a proven release, and
what money may do when things go wrong. The marketplace is the stand-in, with real SSH machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployment_support import last, of_type
from gdl.domain import events as ev
from gdl.domain.phase import Billing
from gdl.simulator.fault_models import (
    ContainerFails,
    DestroyFails,
    Falls,
    Http,
    NoAddress,
    OfferFault,
    Stale,
)
from gdl.simulator.markets import MarketStandIn
from marketplace_support import deployed, market, words
from sandbox_support import isolate


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def rents(runpod: MarketStandIn) -> int:
    return sum(r.method == "POST" and r.path == "/v2/pods" for r in runpod.received)


async def test_from_the_catalogue_to_a_served_model_and_a_proven_release(tmp_path: Path) -> None:
    async with market("runpod", tmp_path) as (orchestrator, runpod):
        events = await deployed(orchestrator, "runpod", bench=True)
        end = last(events)
        assert (end.outcome, end.billing) == ("released", Billing.RELEASED), words(events)
        (rented,) = of_type(events, ev.SessionRented)
        pod = runpod.contracts[rented.session_id]
        assert pod.gone and rents(runpod) == 1
        # It had the key that we made, and the label of the request.
        assert pod.label.startswith("gdl-")
        assert await orchestrator.sessions.rows() == []


@pytest.mark.parametrize(
    "answer",
    [
        Http(on="create", answer="cut", made=True),
        Http(on="create", answer="502", made=True),
        Http(on="create", answer="truncated", made=True),
        Http(on="create", answer="500", made=True),
    ],
)
async def test_a_pod_whose_rent_answer_did_not_arrive_is_used(tmp_path: Path, answer: Http) -> None:
    async with market("runpod", tmp_path) as (orchestrator, runpod):
        runpod.draws.inject(answer, 1)
        events = await deployed(orchestrator, "runpod")
        assert last(events).outcome == "released", words(events)
        # One pod, found by its label, served; nothing was rented twice.
        assert rents(runpod) == 1 and len(runpod.contracts) == 1


async def test_a_kind_that_is_sold_out_is_passed_over(tmp_path: Path) -> None:
    async with market("runpod", tmp_path) as (orchestrator, runpod):
        runpod.draws.inject(Stale(), 1)
        events = await deployed(orchestrator, "runpod")
        assert last(events).outcome == "released", words(events)
        assert rents(runpod) == 2 and len(runpod.contracts) == 1


@pytest.mark.parametrize(
    "fault",
    [
        NoAddress(),
        ContainerFails(),
        Falls(to="exited", at="provisioning"),
        Falls(to="unknown", at="loading"),
        DestroyFails(seconds=1, cheapest=(1,)),
    ],
    ids=lambda fault: f"{fault.kind}-{getattr(fault, 'at', '')}",
)
async def test_a_pod_that_is_no_use_is_released_and_the_next_one_serves(
    tmp_path: Path, fault: OfferFault
) -> None:
    limits = {"session": 3, "connect": 1, "command": 5, "stall": 5}
    async with market("runpod", tmp_path, timeouts=limits) as (orchestrator, runpod):
        runpod.draws.inject(fault, 1)
        events = await deployed(orchestrator, "runpod")
        end = last(events)
        assert (end.outcome, end.billing) == ("released", Billing.RELEASED), words(events)
        # Each was released before the next was rented, and none is listed any more.
        assert all(pod.gone for pod in runpod.contracts.values())
        assert len(runpod.contracts) == (1 if isinstance(fault, DestroyFails) else 2)


async def test_without_credit_nothing_is_tried_twice(tmp_path: Path) -> None:
    async with market("runpod", tmp_path) as (orchestrator, runpod):
        runpod.account.credit = 0.0
        events = await deployed(orchestrator, "runpod")
        end = last(events)
        assert end.outcome == "failed" and end.billing in (Billing.NONE, None)
        assert "not enough credit" in words(events)
        assert rents(runpod) == 1 and runpod.contracts == {}


async def test_a_key_that_is_refused_says_so(tmp_path: Path) -> None:
    async with market("runpod", tmp_path) as (orchestrator, runpod):
        runpod.account.expired = True
        events = await deployed(orchestrator, "runpod")
        assert last(events).outcome == "failed"
        assert "HTTP 401" in words(events) and rents(runpod) == 0
