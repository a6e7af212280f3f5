"""What the terminal UI offers at the start when a deployment was interrupted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from gdl.domain.phase import Phase
from gdl.orchestrator.api.views import ResumableDeployment
from gdl.tui.screens.deployment import DeploymentScreen
from gdl.tui.screens.dialogs import Confirm
from tui_pilot import SIZE, loaded, screen_text, until
from tui_support import START, make_app

INTERRUPTED = ResumableDeployment(
    deployment_id="20260101-115953-abcdef",
    model="qwen2.5-0.5b",
    asked_for="qwen2.5-0.5b",
    phase=Phase.INSTALLING,
    session_id="vast-1",
    provider="vastai",
    gpu_name="RTX 3060",
    gpu_count=1,
    price_per_hour=0.06,
    since=START - timedelta(seconds=7),
    cost=0.02,
)


async def test_an_interrupted_deployment_is_offered_at_the_start() -> None:
    app, orchestrator = make_app()
    orchestrator.resumable = [INTERRUPTED]
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        text = screen_text(app)
        for words in ("the machine that you have", "0:07", "$0.02", "RTX 3060", "INSTALLING"):
            assert words in text
        assert app.focused is not None and app.focused.id == "cancel"
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
    assert ("resume", INTERRUPTED.deployment_id) in orchestrator.calls


async def test_nothing_is_resumed_without_a_word() -> None:
    app, orchestrator = make_app()
    orchestrator.resumable = [INTERRUPTED]
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("escape")
        await loaded(pilot)
    orchestrator.resumable = [INTERRUPTED, replace(INTERRUPTED, deployment_id="another")]
    async with make_app()[0].run_test(size=SIZE) as pilot:
        await loaded(pilot)
        assert not isinstance(pilot.app.screen, Confirm)
    assert all(call[0] != "resume" for call in orchestrator.calls)
