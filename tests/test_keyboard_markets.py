"""By keyboard, on two marketplaces at once: through whatever hosts are like to a served model, and
to a release that is proven."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import OptionList

from deployment_support import until
from gdl.bootstrap import open_orchestrator
from gdl.cli.runtime import Cli, load_settings
from gdl.domain import events as ev
from gdl.domain.clock import now
from gdl.domain.deployment import DeploymentState
from gdl.domain.phase import Phase
from gdl.orchestrator.api.ports import OrchestratorApi
from gdl.settings import Settings
from gdl.simulator import fault_models as fm
from gdl.simulator.markets import KEY_VARIABLES, MarketStandIn
from gdl.simulator.scenario import load as scenario
from gdl.tui.boot import BootApp
from gdl.tui.screens.bid_dialog import BidDialog
from gdl.tui.screens.deploy_dialog import DeployDialog
from gdl.tui.screens.deployment import DeploymentScreen
from gdl.tui.screens.dialogs import Confirm
from gdl.tui.screens.model_dialog import ModelDialog
from gdl.tui.screens.offers import OffersScreen
from sandbox_support import isolate
from test_cli_markets import cheap_hosts
from tui_pilot import app_of, screen_text
from waiting import wait_until

pytestmark = pytest.mark.long

SERVED_WITHIN_S = 240.0
"""A machine whose SSH is dead both ways is waited for."""


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment in which nothing else is known."""
    isolate(monkeypatch, tmp_path)
    for name, folder in (("HOME", "home"), ("XDG_CONFIG_HOME", "config"), ("GDL_DATA_DIR", "data")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("GDL_MAX_ATTEMPTS", "12")
    return monkeypatch


@dataclass
class Terminal:
    """The program, started without an argument. orchestrator: the one behind it."""

    pilot: Pilot[Any]
    orchestrator: OrchestratorApi

    async def screen(self, screen: type[Screen[Any]], text: str = "") -> None:
        """Until that screen is shown, with this text on it."""
        await wait_until(lambda: isinstance(self.pilot.app.screen, screen), screen.__name__)
        await wait_until(lambda: text in screen_text(app_of(self.pilot)), text)
        await self.pilot.pause()

    async def deploy(self) -> DeploymentState:
        """From the offers to a served model, then to its release; how it ended."""
        await self.screen(OffersScreen, "✓ $")
        await self.pilot.press("enter")
        await self.screen(ModelDialog)
        await self.pilot.press(*"qwen3-0.6b")
        listed = self.pilot.app.screen.query_one(OptionList)
        await wait_until(lambda: _chosen(listed) == "qwen3-0.6b", "the model is listed")
        await self.pilot.press("enter")
        await self.screen(DeployDialog, "About $")
        await self.pilot.press("y")
        await self.screen(DeploymentScreen)
        deployments = self.orchestrator.deployments
        (ident,) = deployments.active
        await wait_until(
            lambda: deployments.state(ident).phase is Phase.SERVING,
            "it serves",
            limit_s=SERVED_WITHIN_S,
        )
        await until(
            self.orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text
        )
        await self.pilot.pause()
        await self.pilot.press("R")
        await self.screen(Confirm, "Release the machine?")
        await self.pilot.press("y")
        async with asyncio.timeout(SERVED_WITHIN_S):
            await deployments.wait(ident)
        return deployments.state(ident)


def _chosen(listed: OptionList) -> str | None:
    option = listed.highlighted_option
    return None if option is None else option.id


@asynccontextmanager
async def terminal(known: pytest.MonkeyPatch, *markets: MarketStandIn) -> AsyncIterator[Terminal]:
    for one in markets:
        known.setenv(f"GDL_{one.name.upper()}__URL", one.url)
        known.setenv(KEY_VARIABLES[one.name], one.key)
    async with AsyncExitStack() as stack:
        made: list[OrchestratorApi] = []

        async def connect(_b: str | None, _h: str | None) -> tuple[OrchestratorApi, Settings]:
            settings = load_settings(Cli(open_orchestrator))
            made.append(await stack.enter_async_context(open_orchestrator(settings)))
            return made[0], settings

        app = BootApp(connect, clock=now, version="0.1.0")
        async with app.run_test(size=(80, 24)) as pilot:
            await wait_until(lambda: isinstance(app.screen, OffersScreen), "offers")
            yield Terminal(pilot, made[0])


@pytest.mark.minute
async def test_through_stale_taken_dead_and_stopped_machines_of_two_markets(
    known: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calm = scenario("calm")
    # So cheap that they come first, all five of them, though their traffic costs.
    hosts = [replace(one, price=one.price / 20) for one in cheap_hosts(5)]
    async with (
        MarketStandIn("vastai", calm, root=tmp_path / "vastai", speed=50, listed=hosts) as vast,
        MarketStandIn("runpod", calm, root=tmp_path / "runpod", speed=50) as pods,
    ):
        for fault in (
            fm.SshDead(way="both"),
            fm.Refused(made=True),
            fm.Stale(),
            fm.Falls(to="stopped", at="installing"),
            fm.Falls(to="offline", at="loading"),
        ):
            vast.draws.inject(fault)
        for pod_fault in (fm.Stale(), fm.Falls(to="exited", at="installing")):
            pods.draws.inject(pod_fault)
        async with terminal(known, vast, pods) as shown:
            state = await shown.deploy()
        assert state.finished is not None and state.finished.outcome == "released"
        assert {attempt.backend for attempt in state.attempts} == {"vastai", "runpod"}
        assert any(one.faults.first(fm.SshDead) for one in vast.contracts.values())
        assert (vast.rented(), pods.rented()) == ([], [])


async def test_outbid_machine_is_replaced(known: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calm = scenario("calm")
    async with MarketStandIn("vastai", calm, root=tmp_path / "vastai", speed=50) as vast:
        vast.draws.inject(fm.Falls(to="outbid", at="loading"))
        async with terminal(known, vast) as shown:
            await shown.screen(OffersScreen, "✓ $")
            await shown.pilot.press("i")
            await shown.screen(BidDialog)
            await shown.pilot.press("enter")
            state = await shown.deploy()
        assert state.finished is not None and state.finished.outcome == "released"
        assert len(vast.contracts) == 2
        assert all(contract.bid is not None for contract in vast.contracts.values())
        assert vast.rented() == []
