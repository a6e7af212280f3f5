"""Nothing is set up but a marketplace's API key: its offers at once, the plan with the price of the
session after two keys, and a model served by one command."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gdl.bootstrap import open_orchestrator
from gdl.cli.app import run
from gdl.cli.runtime import Cli, load_settings
from gdl.domain.clock import now
from gdl.orchestrator.api.ports import OrchestratorApi
from gdl.settings import Settings
from gdl.simulator.markets import MarketStandIn
from gdl.simulator.scenario import load as load_scenario
from gdl.tui.boot import BootApp
from gdl.tui.screens.deploy_dialog import DeployDialog
from gdl.tui.screens.model_dialog import ModelDialog
from gdl.tui.screens.offers import OffersScreen
from sandbox_support import isolate
from tui_pilot import screen_text, until


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.fixture
async def vastai(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[MarketStandIn]:
    """The marketplace, and an environment in which nothing else is known."""
    isolate(monkeypatch, tmp_path)
    for name, folder in (("HOME", "home"), ("XDG_CONFIG_HOME", "config"), ("GDL_DATA_DIR", "data")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    for name in ("GDL_BACKEND", "GDL_SHOPPER_URL"):
        monkeypatch.delenv(name, raising=False)
    market = MarketStandIn("vastai", load_scenario("calm"), root=tmp_path / "market", speed=100.0)
    async with market:
        monkeypatch.setenv("GDL_VASTAI__URL", market.url)
        monkeypatch.setenv("VAST_API_KEY", market.key)
        yield market
        assert market.rented() == []


async def test_the_plan_with_its_price_is_two_keys_away(vastai: MarketStandIn) -> None:
    async with AsyncExitStack() as stack:

        async def connect(_b: str | None, _h: str | None) -> tuple[OrchestratorApi, Settings]:
            settings = load_settings(Cli(open_orchestrator))
            return await stack.enter_async_context(open_orchestrator(settings)), settings

        app = BootApp(connect, clock=now, version="0.1.0")
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: isinstance(app.screen, OffersScreen))
            await until(pilot, lambda: "vastai" in screen_text(app) and "✓ $" in screen_text(app))
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, ModelDialog))
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, DeployDialog))
            await until(pilot, lambda: "vastai has $25.00 left" in screen_text(app))
            text = screen_text(app)
            assert "About $" in text and "until the first token" in text
            # It is the cheapest for this model, whatever row was first before.
            assert "If it fails, try the next offer automatically" in text
            await pilot.press("escape")


async def test_one_command_serves_a_model(
    vastai: MarketStandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["deploy", "qwen3-0.6b", "--no-bench", "--destroy", "--yes"]
    assert await asyncio.to_thread(run, arguments, opener=open_orchestrator) == 0
    told = capsys.readouterr()
    assert "SERVING" in told.err + told.out
    assert len(vastai.contracts) == 1 and vastai.rented() == []
