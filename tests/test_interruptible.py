"""Interruptible machines: never rented by accident, and replaced when somebody bids more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deployment_support import deployed as deployed_by
from deployment_support import last, of_type, spec, told, until
from gdl.domain import events as ev
from gdl.domain.clock import now
from gdl.domain.errors import UsageError
from gdl.domain.money import hourly
from gdl.domain.offers import Offer, OfferQuery, OfferTerms
from gdl.domain.phase import Billing, Phase
from gdl.domain.ranking import rank, why_none
from gdl.domain.spec import DeploymentSpec
from gdl.orchestrator.leasing import session_monitor
from gdl.simulator.fault_models import Falls
from gdl.simulator.markets import MarketStandIn
from gdl.tui.widgets import session_rows
from marketplace_support import market
from sandbox_support import isolate

MODEL = "qwen3-0.6b"
QUERY = OfferQuery(model=MODEL, min_vram_gb=20, interruptible=True, bid=2.0)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def machine(name: str, bid: float | None = 0.2, *, interruptible: bool = True) -> Offer:
    gpu = bid if interruptible and bid is not None else 0.4
    terms = OfferTerms(gpu_per_hour=gpu, disk_per_gb_hour=0.001, disk_gb=10, bid=bid)
    return Offer(
        name, "vastai", "vastai", "RTX 4090", 1, 24, gpu + 0.01,
        interruptible=interruptible, terms=terms,
    )  # fmt: skip


def test_what_is_bid_is_what_it_costs() -> None:
    offer = machine("a").bidding(1.0)
    assert offer.terms is not None
    # A tenth over the least, and the disk beside it.
    assert (offer.terms.gpu_per_hour, round(offer.price_per_hour, 4)) == (0.22, 0.23)
    assert round(offer.with_disk(110).price_per_hour, 4) == 0.33
    # Never over the ceiling, whatever the disk is.
    capped = machine("a").bidding(0.21)
    assert capped.terms is not None and capped.terms.gpu_per_hour == 0.21
    on_demand = machine("b", interruptible=False)
    assert on_demand.bidding(1.0) is on_demand


def test_the_two_kinds_are_never_taken_for_each_other() -> None:
    offers = [machine("bid"), machine("demand", interruptible=False), machine("dear", 0.9)]
    usual = {r.offer.id: r.excluded for r in rank(offers, OfferQuery())}
    assert usual["demand"] is None and "can be lost to a higher bid" in str(usual["bid"])
    wanted = rank(offers, OfferQuery(interruptible=True, bid=0.5))
    reasons = {r.offer.id: r.excluded for r in wanted}
    assert reasons["bid"] is None and "demand" not in reasons
    none = why_none(rank(offers[1:2], QUERY), QUERY)
    assert none == (
        "no suitable offers: no interruptible machine is listed",
        "omit --interruptible",
    )
    assert reasons["dear"] == "costs more than your bid of $0.500/h"
    assert round(wanted[0].offer.price_per_hour, 4) == 0.23
    # Somebody else's market, that takes no bids.
    other = replace(machine("shop"), terms=None)
    assert rank([other], OfferQuery(interruptible=True, bid=1.0))[0].excluded == "takes no bids"


def bids(vastai: MarketStandIn) -> list[float | None]:
    return [contract.bid for contract in vastai.contracts.values()]


async def test_without_a_bid_nothing_is_rented(tmp_path: Path) -> None:
    async with market("vastai", tmp_path) as (orchestrator, vastai):
        query = replace(QUERY, bid=None)
        with pytest.raises(UsageError, match="whoever bids") as caught:
            await orchestrator.deployments.deploy(spec("vastai", model=MODEL, query=query))
        assert "--bid" in caught.value.hint and vastai.contracts == {}
        # On demand nothing is bid, though the market lists what would be.
        query = OfferQuery(model=MODEL, min_vram_gb=20)
        events = await deployed_by(orchestrator, spec("vastai", model=MODEL, query=query))
        assert last(events).outcome == "released", events
        assert bids(vastai) == [None]


async def test_outbid_while_it_is_set_up_the_next_one_is_taken(tmp_path: Path) -> None:
    async with market("vastai", tmp_path) as (orchestrator, vastai):
        vastai.draws.inject(Falls(to="outbid", at="loading"), 1)
        events = await deployed_by(orchestrator, spec("vastai", model=MODEL, query=QUERY))
        assert (last(events).outcome, last(events).billing) == ("released", Billing.RELEASED)
        (failed,) = of_type(events, ev.AttemptFailed)
        assert failed.kind == "outbid" and "outbid" in failed.message
        assert len(vastai.contracts) == 2 and all(0 < (bid or 0) <= 2.0 for bid in bids(vastai))


async def test_outbid_while_it_serves_it_moves_on_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_monitor, "_LOOK_S", 0.3)
    async with market("vastai", tmp_path) as (orchestrator, vastai):
        wanted = DeploymentSpec(
            MODEL, "vastai", QUERY, bench=False, after="hold", max_attempts=1, max_spend=5.0
        )
        ident = await orchestrator.deployments.deploy(wanted)
        served = 0

        def serves(event: ev.Event) -> bool:
            nonlocal served
            served += isinstance(event, ev.PhaseChanged) and event.phase is Phase.SERVING
            return served > 0 or isinstance(event, ev.DeploymentFinished)

        await until(orchestrator, ident, serves)
        (first,) = vastai.contracts.values()
        await vastai.hosting.fall(first, "outbid")
        await until(
            orchestrator,
            ident,
            lambda event: (
                isinstance(event, ev.DeploymentFinished)
                or (isinstance(event, ev.PhaseChanged) and event.attempt == 2
                    and event.phase is Phase.SERVING)
            ),
        )  # fmt: skip
        assert first.gone and len(vastai.contracts) == 2
        await orchestrator.deployments.cancel(ident)
        events = await told(orchestrator, ident)
        assert (last(events).outcome, last(events).billing) == ("cancelled", Billing.RELEASED)
        notes = [note.text for note in of_type(events, ev.Noted)]
        assert any("the next offer is taken" in text and "outbid" in text for text in notes), notes
        assert [a.kind for a in of_type(events, ev.AttemptFailed)] == ["outbid"]


async def test_a_kept_machine_that_is_lost_is_told_with_what_it_costs_on(tmp_path: Path) -> None:
    async with market("vastai", tmp_path) as (orchestrator, vastai):
        wanted = DeploymentSpec(MODEL, "vastai", QUERY, bench=False, after="keep", max_attempts=1)
        end = last(await told(orchestrator, await orchestrator.deployments.deploy(wanted)))
        assert end.outcome == "serving" and end.session_id is not None
        await vastai.hosting.fall(vastai.contracts[end.session_id], "outbid")
        (row,) = await orchestrator.sessions.rows()
        assert (row.status, row.billing, row.idle) == ("outbid", "active", True)
        # Its disk alone, which is less than the machine was.
        assert row.session.idle_price == row.price_per_hour < row.session.price_per_hour
        assert row.cost > 0
        assert hourly(row.price_per_hour) in session_rows.in_short(row, row.cost)
        shown = session_rows.session(row, row.cost, now(), marked=False)
        assert shown.cells["status"] == "! outbid" and shown.style == ""
        await orchestrator.sessions.destroy(end.session_id)
