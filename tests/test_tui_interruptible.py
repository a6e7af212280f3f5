"""Interruptible machines on the offers screen: asked for with a bid, and shown by themselves."""

from __future__ import annotations

from dataclasses import replace

from textual.widgets import Input

from gdl.domain.offers import OfferTerms
from gdl.tui.screens.bid_dialog import BidDialog
from gdl.tui.screens.offers import OffersScreen
from tui_pilot import SIZE, choose, loaded, open_plan, screen_text, until
from tui_support import OFFERS, ScriptedOrchestrator, make_app

BIDS = tuple(
    replace(
        offer,
        id=f"{offer.id}-bid",
        interruptible=True,
        terms=OfferTerms(offer.price_per_hour, bid=offer.price_per_hour),
    )
    for offer in OFFERS
)


async def test_they_are_asked_for_with_a_bid_and_are_never_among_the_others() -> None:
    app, orchestrator = make_app(ScriptedOrchestrator(offers=(*OFFERS, *BIDS)))
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await choose(pilot, "qwen2.5-0.5b")
        assert "Interruptible" not in screen_text(app).splitlines()[1]
        await pilot.press("i")
        await until(pilot, lambda: isinstance(app.screen, BidDialog))
        line = app.screen.query_one(Input)
        line.value = "0"
        await pilot.press("enter")
        await until(pilot, lambda: "a number above 0" in screen_text(app))
        line.value = "0.30"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        await until(pilot, lambda: "Interruptible, bid up to $0.300/h" in screen_text(app))
        await until(pilot, lambda: orchestrator.queries[-1].bid == 0.3)
        await loaded(pilot)
        # A tenth over the least that it goes for.
        await until(pilot, lambda: "$0.068" in screen_text(app))
        await open_plan(pilot)
        assert "somebody bids more: what is on it is lost then" in screen_text(app)
        await pilot.press("y")
        await until(pilot, lambda: bool(orchestrator.specs))
    (spec,) = orchestrator.specs
    assert spec.query.interruptible and spec.query.bid == 0.3


async def test_back_to_machines_on_demand() -> None:
    app, orchestrator = make_app(ScriptedOrchestrator(offers=(*OFFERS, *BIDS)))
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("i")
        await until(pilot, lambda: isinstance(app.screen, BidDialog))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        assert not orchestrator.queries[-1].interruptible
        await pilot.press("i")
        await until(pilot, lambda: isinstance(app.screen, BidDialog))
        await pilot.press("enter")
        await until(pilot, lambda: orchestrator.queries[-1].interruptible)
        await until(pilot, lambda: "Interruptible, bid up to $0.500/h" in screen_text(app))
        await pilot.press("i")
        await until(pilot, lambda: not orchestrator.queries[-1].interruptible)
        await until(pilot, lambda: "Interruptible, $" not in screen_text(app))
