"""A window that closes: nothing that was on its way looks for what it showed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from textual import work
from textual.app import ComposeResult
from textual.widgets import Static

from gdl.domain.fleet_view import FleetView
from gdl.tui.screens.modal import Modal
from gdl.tui.screens.offers import OffersScreen
from test_tui_fleet import fleet
from tui_pilot import SIZE, loaded, screen_text, until
from tui_support import make_app


class Window(Modal[None]):
    """It begins to look whenever it is told, as by a timer."""

    looked = 0

    def compose(self) -> ComposeResult:
        yield Static("looking", id="found")

    @work
    async def look(self) -> None:
        self.looked += 1


async def test_nothing_begins_in_a_window_that_closes() -> None:
    app, _orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        window = Window()
        await app.push_screen(window)
        window.look()
        await until(pilot, lambda: window.looked == 1)
        closed = window.dismiss()
        late = window.look()
        await closed
        await pilot.pause()
        assert late.is_cancelled and window.looked == 1


async def test_fleets_that_come_while_their_window_closes_are_for_nobody() -> None:
    app, orchestrator = make_app()

    async def rows(*, past: bool = False) -> Sequence[FleetView]:
        window = app.screen
        while window.query("#replicas"):
            await asyncio.sleep(0)
        return [fleet()]

    orchestrator.fleets.rows = rows  # type: ignore[method-assign]  # answers as it closes
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("f9")
        await until(pilot, lambda: "Asking" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
