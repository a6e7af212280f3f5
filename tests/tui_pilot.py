"""Driving the terminal UI in tests: wait for what is to come, read what is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input

from gdl.domain.spec import DeploymentSpec
from gdl.tui.app import GdlApp
from gdl.tui.screens.deploy_dialog import DeployDialog
from gdl.tui.screens.deployment import DeploymentScreen
from gdl.tui.screens.model_dialog import ModelDialog
from gdl.tui.screens.offers import OffersScreen
from gdl.tui.widgets.keyed_table import KeyedTable
from tui_support import SPEC, ScriptedOrchestrator
from waiting import code_of, wait_until

SIZE = (80, 24)


def app_of(pilot: Pilot[Any]) -> GdlApp:
    """The app, as what it is."""
    assert isinstance(pilot.app, GdlApp)
    return pilot.app


def selected(app: GdlApp) -> str:
    """The id of the offer under the cursor."""
    assert isinstance(app.screen, OffersScreen)
    assert app.screen.selected is not None
    return app.screen.selected.offer.id


def shows(app: GdlApp, text: str) -> Callable[[], bool]:
    """Whether it is on the screen, to be waited for."""
    return lambda: text in screen_text(app)


async def until(pilot: Pilot[Any], holds: Callable[[], bool]) -> None:
    app = app_of(pilot)

    def shown() -> bool:
        return (
            holds() and not app.feed.repaint_due and getattr(app.screen, "drawn_at", 0) is not None
        )

    await wait_until(shown, code_of(holds), pause=pilot.pause)
    await pilot.pause()


async def ended(app: GdlApp) -> None:
    await wait_until(lambda: app._exit, "the app ends")


def screen_text(app: GdlApp) -> str:
    """What the terminal shows, as lines."""
    width, height = app.size
    lines = app.screen._compositor.render_strips(app.size) if height else []
    return "\n".join(strip.text[:width] for strip in lines)


async def loaded(pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: pilot.app.screen.query_one(KeyedTable).row_count > 0)


async def choose(pilot: Pilot[Any], name: str) -> None:
    await pilot.press("m")
    await until(pilot, lambda: isinstance(pilot.app.screen, ModelDialog))
    pilot.app.screen.query_one(Input).value = name
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, OffersScreen))
    await loaded(pilot)


async def open_plan(pilot: Pilot[Any]) -> None:
    """Of the selected offer, as a model is chosen."""
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, DeployDialog))


async def show(
    pilot: Pilot[Any],
    orchestrator: ScriptedOrchestrator,
    script: Callable[[ScriptedOrchestrator, str], None],
    spec: DeploymentSpec = SPEC,
) -> str:
    ident = orchestrator.begin(spec)
    script(orchestrator, ident)
    app_of(pilot).open_deployment(ident)
    await until(pilot, lambda: isinstance(pilot.app.screen, DeploymentScreen))
    await caught_up(pilot, orchestrator, ident)
    return ident


async def caught_up(pilot: Pilot[Any], orchestrator: ScriptedOrchestrator, ident: str) -> None:
    followed = app_of(pilot).store.deployments[ident]
    finished = orchestrator.deployments.state(ident)
    await until(pilot, lambda: followed.state.last_seq >= finished.last_seq)
