"""An offer is waited for on the offers screen: told when it appears, or rented as was agreed to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from gdl.domain import events as ev
from gdl.domain.events import DeploymentFinished
from gdl.domain.phase import Billing
from gdl.tui.app import GdlApp
from gdl.tui.screens.deployment import DeploymentScreen
from gdl.tui.screens.offers import OffersScreen
from gdl.tui.screens.sessions import SessionsScreen
from gdl.tui.screens.watch_dialog import WatchDialog
from gdl.tui.widgets.check_box import CheckBox
from test_tui_snapshots import LARGE, SMALL, Compare, picture, settle
from tui_pilot import SIZE, app_of, choose, loaded, screen_text, shows, until
from tui_support import OFFERS, ScriptedOrchestrator, make_app, offer, to_installing

__all__ = ["picture"]

LATER = offer("new-1", "NVIDIA RTX 5090", 32, 0.39, "vastai")
DEARER = replace(LATER, id="new-2", price_per_hour=0.8)


class Looks:
    """What comes between two looks at the market: nothing, until the test lets it be."""

    def __init__(self, app: GdlApp) -> None:
        assert isinstance(app.screen, OffersScreen)
        self.screen = app.screen
        self.waiting = False
        self._next = asyncio.Event()
        self.screen.watching.pause = self._pause

    async def _pause(self, _seconds: float) -> None:
        self.waiting = True
        await self._next.wait()
        self._next.clear()

    async def again(self, pilot: Pilot[Any], *, finds: bool) -> None:
        """Another look; returns before what it finds, and after it has found nothing."""
        await until(pilot, lambda: self.waiting)
        self.waiting = False
        self._next.set()
        if not finds:
            await until(pilot, lambda: self.waiting)


async def narrowed(pilot: Pilot[Any], words: str) -> Looks:
    """On the offers screen, with this filter, which nothing passes yet."""
    app = app_of(pilot)
    await loaded(pilot)
    looks = Looks(app)
    await pilot.press("slash")
    await until(pilot, lambda: isinstance(app.focused, Input))
    app.screen.query_one("#filter", Input).value = words
    await pilot.press("enter")
    await until(pilot, lambda: app.focused is None)
    return looks


async def agreed(pilot: Pilot[Any], most: str = "", *, rents: bool = False) -> None:
    """Open the dialog, fill it in, and begin."""
    app = app_of(pilot)
    await pilot.press("w")
    await until(pilot, lambda: isinstance(app.screen, WatchDialog))
    app.screen.query_one(Input).value = most
    if rents:
        app.screen.query_one(CheckBox).value = True
        await until(pilot, shows(app, "on the first machine that appears"))
    await pilot.press("enter")


async def test_what_appears_is_told_wherever_one_is() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        looks = await narrowed(pilot, "5090")
        await agreed(pilot)
        await until(pilot, shows(app, "▶ Watching 0:00 (w ends it) · 5090 · only tells"))
        assert "Esc clears it" in screen_text(app) and "waits for one" not in screen_text(app)
        await pilot.press("4")
        await until(pilot, lambda: isinstance(app.screen, SessionsScreen))
        await looks.again(pilot, finds=False)
        orchestrator.listed = [*OFFERS, LATER, DEARER]
        await looks.again(pilot, finds=True)
        await until(pilot, shows(app, "2 offers now:"))
        await pilot.press("1")
        await until(pilot, shows(app, "and 1 more: $0.390/h"))
        await until(pilot, lambda: app.screen.query_one("#offers").display)
        assert looks.screen.watching.watch is None and orchestrator.specs == []


async def test_what_appears_is_rented_for_what_was_agreed_to() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await loaded(pilot)
        await choose(pilot, "smollm2")
        looks = await narrowed(pilot, "5090 price<0.5")
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, WatchDialog))
        assert app.screen.query_one(Input).value == "0.5", "what the filter says"
        await pilot.press("tab", "space")
        await until(pilot, shows(app, "$1.00 for 2 hours"))
        assert app.screen.query_one(CheckBox).has_focus, "Enter begins there, too"
        await pilot.press("enter")
        await until(pilot, shows(app, "rents it for $0.500/h at most"))
        await until(pilot, lambda: looks.waiting)
        orchestrator.listed = [*OFFERS, DEARER]
        await looks.again(pilot, finds=False)
        assert orchestrator.specs == [], "that one is too dear"
        orchestrator.listed = [*OFFERS, DEARER, LATER]
        await looks.again(pilot, finds=True)
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
        (spec,) = orchestrator.specs
        assert spec.query.offer_ids == ("new-1",) and spec.query.max_price == 0.5
        assert spec.model == "smollm2-135m" and spec.hours == 2 and spec.after == "hold"
        assert not spec.ask_on_failure, "nobody may be there to be asked"
        assert looks.screen.watching.watch is not None, "nothing is rented yet"
        to_installing(orchestrator, "d-1")
        await until(pilot, lambda: looks.screen.watching.watch is None)


async def test_when_others_were_quicker_it_goes_on() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await loaded(pilot)
        await choose(pilot, "smollm2")
        looks = await narrowed(pilot, "5090")
        orchestrator.listed = [*OFFERS, LATER]
        await agreed(pilot, "0.4", rents=True)
        await until(pilot, lambda: len(orchestrator.specs) == 1)
        over = DeploymentFinished(
            "failed", None, "m", None, Billing.NONE, (), error="taken", kind="offer_taken"
        )
        orchestrator.push("d-1", 5, ev.AutoFailoverSet(True), over)
        await until(pilot, shows(app, "others were quicker; still watching"))
        orchestrator.listed = list(OFFERS)
        await looks.again(pilot, finds=False)
        orchestrator.listed = [*OFFERS, LATER]
        await looks.again(pilot, finds=True)
        await until(pilot, lambda: len(orchestrator.specs) == 2)
        await pilot.press("1")
        await until(pilot, lambda: app.screen is looks.screen)
        await pilot.press("w")
        await until(pilot, shows(app, "the watch has ended"))
        await until(pilot, lambda: looks.screen.watching.watch is None)


@pytest.mark.parametrize("rented_by_then", [False, True])
async def test_a_watch_that_ends_while_it_rents_rents_nothing(rented_by_then: bool) -> None:
    """What is rented by then is no longer the watch's."""
    app, orchestrator = make_app()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await loaded(pilot)
        await choose(pilot, "smollm2")
        looks = await narrowed(pilot, "5090")
        orchestrator.listed = [*OFFERS, LATER]
        await agreed(pilot, "0.4", rents=True)
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
        await pilot.press("1")
        await until(pilot, lambda: app.screen is looks.screen)
        if rented_by_then:
            to_installing(orchestrator, "d-1")
            await until(pilot, lambda: looks.screen.watching.watch is None)
            looks.screen.workers.cancel_group(looks.screen, "watch")
        else:
            await pilot.press("w")
            await until(pilot, shows(app, "the watch has ended"))
            await until(pilot, lambda: orchestrator.calls != [])
        await pilot.pause()
        assert orchestrator.calls == ([] if rented_by_then else [("cancel", "d-1")])


async def test_renting_needs_a_price_a_model_and_leave() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        looks = await narrowed(pilot, "5090")
        await pilot.press("w")
        await until(pilot, shows(app, "choose the model first (m)"))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is looks.screen)
        await _model(pilot)
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, WatchDialog))
        app.screen.query_one(CheckBox).value = True
        await until(pilot, shows(app, "say what the machine may cost an hour"))
        await pilot.press("enter")
        assert isinstance(app.screen, WatchDialog), "no price, no watch"
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is looks.screen)
        assert looks.screen.watching.watch is None and orchestrator.specs == []
    app, orchestrator = make_app(read_only=True)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await narrowed(pilot, "5090")
        await pilot.press("w")
        await until(pilot, shows(app, "This run is read-only: nothing is rented."))
        assert not app.screen.query(CheckBox)


async def _model(pilot: Pilot[Any]) -> None:
    from gdl.tui.screens.model_dialog import ModelDialog

    await pilot.press("m")
    await until(pilot, lambda: isinstance(pilot.app.screen, ModelDialog))
    pilot.app.screen.query_one(Input).value = "smollm2"
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, OffersScreen))


async def test_a_filter_that_is_wrong_is_not_watched_for() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await narrowed(pilot, "5090 pri<1")
        await pilot.press("w")
        await until(pilot, shows(app, "the filter: "))
        assert isinstance(app.screen, OffersScreen)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_it_looks_like_this(picture: Compare, size: tuple[int, int]) -> None:
    """The question on a small screen, the watch on a large one."""
    app, _ = make_app(ScriptedOrchestrator())

    async def before(pilot: Pilot[Any]) -> None:
        await loaded(pilot)
        await choose(pilot, "smollm2")
        await narrowed(pilot, "5090 price<0.5")
        await pilot.press("w")
        await until(pilot, lambda: isinstance(pilot.app.screen, WatchDialog))
        pilot.app.screen.query_one(CheckBox).value = True
        await until(pilot, shows(app, "It costs that much every hour"))
        if size == LARGE:
            await pilot.press("enter")
            await until(pilot, shows(app, "none of 9"))
        await settle(pilot)

    assert picture(app, terminal_size=size, run_before=before)
