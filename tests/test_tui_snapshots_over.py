"""Pictures of what is over a screen or a window: the letters of jump mode, and help. Renew with
`pytest --snapshot-update`."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from gdl.tui.screens.help import HelpScreen
from gdl.tui.screens.jump import JumpScreen
from gdl.tui.screens.model_dialog import ModelDialog
from gdl.tui.screens.spending import SpendingScreen
from test_tui_snapshots import LARGE, SMALL, Compare, at, open_deployment, picture, settle
from tui_pilot import loaded
from tui_support import ScriptedOrchestrator, make_app, to_installing

__all__ = ["picture"]

sizes = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])


async def over(pilot: Pilot[Any], key: str, shown: type[object]) -> None:
    """Press the key, and wait for the screen or window it opens."""
    await pilot.press(key)
    await settle(pilot, lambda: isinstance(pilot.app.screen, shown))


@sizes
def test_jump_over_a_deployment(picture: Compare, size: tuple[int, int]) -> None:
    """The screens, the steps, each tab and the log have a letter."""
    app, orchestrator = make_app(ScriptedOrchestrator(at(100)))

    async def before(pilot: Pilot[Any]) -> None:
        await open_deployment(pilot, orchestrator, to_installing)
        await over(pilot, "ctrl+g", JumpScreen)

    assert picture(app, terminal_size=size, run_before=before)


@sizes
def test_jump_over_a_window(picture: Compare, size: tuple[int, int]) -> None:
    """Fields and buttons of the window have one, and nothing behind it."""
    app, _ = make_app()

    async def before(pilot: Pilot[Any]) -> None:
        await loaded(pilot)
        await over(pilot, "m", ModelDialog)
        await over(pilot, "ctrl+g", JumpScreen)

    assert picture(app, terminal_size=size, run_before=before)


@sizes
@pytest.mark.parametrize("window", ["spending", "model"])
def test_help_over_a_window(picture: Compare, window: str, size: tuple[int, int]) -> None:
    """Its own keys come first, then those of the focused field."""
    app, _ = make_app()
    opened = {"spending": ("f8", SpendingScreen), "model": ("m", ModelDialog)}

    async def before(pilot: Pilot[Any]) -> None:
        await loaded(pilot)
        await over(pilot, *opened[window])
        await over(pilot, "f1", HelpScreen)

    assert picture(app, terminal_size=size, run_before=before)
