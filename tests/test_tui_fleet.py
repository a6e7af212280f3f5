"""A fleet in one window: its replicas, what they do and cost together, and what can be done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from textual.pilot import Pilot

from gdl.domain.errors import UsageError
from gdl.domain.fleet_orders import End, Scale
from gdl.domain.fleet_view import FleetView, ReplicaView
from gdl.domain.health import Condition, HealthSample
from gdl.domain.phase import Billing, Phase
from gdl.tui.screens.dialogs import Confirm
from gdl.tui.screens.fleet import FleetScreen
from gdl.tui.widgets import fleet_rows
from test_tui_snapshots import LARGE, SMALL, Compare, picture, settle
from tui_pilot import SIZE, loaded, screen_text, shows, until
from tui_support import START, Clock, ScriptedOrchestrator, make_app, session_row

__all__ = ["picture"]

BUSY = HealthSample(Condition.HEALTHY, "", 12.0, 14.0, 3.0, 0.6, 412.0)
QUIET = HealthSample(Condition.HEALTHY, "", 9.0, 2.0, 0.0, 0.1, 96.0)


def replica(n: int, **changes: Any) -> ReplicaView:
    about = ReplicaView(
        id=f"20260101-12000{n}-abcde{n}",
        generation=1,
        phase=Phase.SERVING,
        billing=Billing.ACTIVE,
        taken_in=True,
        why_out="",
        leaving="",
        health=BUSY if n == 1 else QUIET,
        backend="vastai",
        provider="vastai",
        gpu_name="NVIDIA GeForce RTX 4090",
        gpu_count=1,
        price_per_hour=0.41,
        cost=0.29,
        session_id=f"s-{n}",
        since=START,
    )
    return replace(about, **changes)


def fleet(**changes: Any) -> FleetView:
    replicas = (
        replica(1),
        replica(2, gpu_name="NVIDIA L40S", provider="tensordock", price_per_hour=0.62, cost=0.44),
        replica(
            3, phase=Phase.INSTALLING, taken_in=False, health=None, price_per_hour=0.2, cost=0.03,
            gpu_name="NVIDIA GeForce RTX 3090", backend="runpod", provider="runpod",
        ),
    )  # fmt: skip
    about = FleetView(
        id="fleet-20260101-120000-aaaa",
        model="qwen3-8b",
        wanted=3,
        serving=2,
        endpoint="http://127.0.0.1:8900/v1",
        api_key_file="/keys/fleet.api",
        routed=True,
        replicas=replicas,
        price_per_hour=1.23,
        cost=0.76,
        tokens_per_s=508.0,
        usd_per_million=0.67,
        short="",
        context=16384,
        generation=1,
        outcome="",
        since=START,
        here=True,
        runs=True,
    )
    return replace(about, **changes)


TROUBLE = fleet(
    serving=1,
    short="no offer at $0.62/h or less is left",
    replicas=(
        replica(1),
        replica(2, taken_in=False, why_out="nothing answers at its address", health=None),
        replica(3, leaving="one replica less is wished", health=QUIET),
    ),
    doubts=("s-0",),
)


def scripted(*views: FleetView) -> ScriptedOrchestrator:
    clock = Clock()
    clock.forward(2580)
    orchestrator = ScriptedOrchestrator(clock)
    orchestrator.fleets.known = list(views)
    return orchestrator


async def opened(pilot: Pilot[Any]) -> None:
    await loaded(pilot)
    await pilot.press("f9")
    await until(pilot, shows(pilot.app, "Fleet"))  # type: ignore[arg-type]


async def test_each_replica_and_all_together_are_seen_at_once() -> None:
    app, _ = make_app(scripted(fleet()))
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await opened(pilot)
        await until(pilot, shows(app, "2 of 3 serve"))
        text = screen_text(app)
    for part in (
        "Fleet of qwen3-8b", "$1.230/h", "$0.76 so far", "508 tokens/s", "$0.67 per 1M tokens",
        "http://127.0.0.1:8900/v1", "▶ serving", "… installing", "14+3", "412", "L40S", "$0.410",
    ):  # fmt: skip
        assert part in text, part


async def answered(pilot: Pilot[Any], key: str, answer: str) -> str:
    """The question that a key leads to, and how it is answered."""
    await pilot.press(key)
    await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
    asked = screen_text(pilot.app)  # type: ignore[arg-type]
    await pilot.press(answer)
    await until(pilot, lambda: isinstance(pilot.app.screen, FleetScreen))
    return asked


async def test_one_more_and_one_less_are_asked_for_with_their_price() -> None:
    orchestrator = scripted(fleet())
    app, _ = make_app(orchestrator)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await opened(pilot)
        await until(pilot, shows(app, "2 of 3 serve"))
        asked = await answered(pilot, "plus", "escape")
        assert "Add one replica?" in asked and "about $0.410/h" in asked
        assert orchestrator.fleets.ordered == []
        await answered(pilot, "plus", "y")
        await answered(pilot, "minus", "y")
        await until(pilot, lambda: len(orchestrator.fleets.ordered) == 2)
        assert orchestrator.fleets.ordered == [(fleet().id, Scale(4)), (fleet().id, Scale(2))]
        orchestrator.fleets.known = [fleet(wanted=1)]
        await pilot.press("r")
        await until(pilot, shows(app, "of 1 serve"))
        await pilot.press("minus")
        await until(pilot, shows(app, "this is the last replica"))


async def test_all_are_released_together_after_a_question_and_the_proof_is_waited_for() -> None:
    orchestrator = scripted(fleet())
    app, _ = make_app(orchestrator)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await opened(pilot)
        await until(pilot, shows(app, "2 of 3 serve"))
        asked = await answered(pilot, "D", "n")
        assert "Release this fleet of 3 replicas?" in asked and "$1.230/h, $0.76 so far" in asked
        assert orchestrator.fleets.ordered == []
        await answered(pilot, "D", "y")
        await until(pilot, shows(app, "all its machines are gone: confirmed"))
        assert orchestrator.fleets.ordered == [(fleet().id, End())]


async def test_a_window_that_is_closed_does_not_keep_the_end_of_its_fleet_to_itself() -> None:
    orchestrator = scripted(fleet())
    orchestrator.fleets.ends = asyncio.Event()
    orchestrator.rows = [session_row("s-1", ours=True)]
    app, _ = make_app(orchestrator)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await loaded(pilot)
        await until(pilot, shows(app, "Still billing"))
        await opened(pilot)
        await until(pilot, shows(app, "2 of 3 serve"))
        await answered(pilot, "D", "y")
        await until(pilot, shows(app, "releasing all"))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, FleetScreen))
        orchestrator.fleets.known = [fleet(doubts=("s-2",))]
        orchestrator.rows = []
        orchestrator.fleets.ends.set()
        await until(pilot, shows(app, "s-2 may still be billing"))
        await until(pilot, lambda: "Still billing" not in screen_text(app))


async def test_nothing_is_called_free_before_it_is_rented() -> None:
    app, _ = make_app(scripted(fleet(wanted=0, serving=0, replicas=(), price_per_hour=0, cost=0)))
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await opened(pilot)
        await until(pilot, shows(app, "being prepared, nothing rented, $0.00 so far"))


async def test_a_release_without_proof_is_said_to_be_one() -> None:
    orchestrator = scripted(fleet())
    app, _ = make_app(orchestrator)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await opened(pilot)
        await until(pilot, shows(app, "2 of 3 serve"))
        orchestrator.fleets.known = [fleet(doubts=("s-2",))]
        await answered(pilot, "D", "y")
        await until(pilot, shows(app, "s-2 may still be billing"))


async def test_what_cannot_be_is_off_and_what_fails_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    orchestrator = scripted(fleet(runs=False, here=False), fleet(id="fleet-2", model="tinyllama"))
    app, _ = make_app(orchestrator)

    async def refused(*_: object) -> str:
        raise UsageError("no gdl-tui is running it", "resume it")

    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await opened(pilot)
        await until(pilot, shows(app, "c to continue it"))
        await pilot.press("plus")
        await until(pilot, lambda: isinstance(app.screen, FleetScreen))
        await pilot.press("c")
        await until(pilot, lambda: orchestrator.fleets.resumed == [fleet().id])
        await pilot.press("f")
        await until(pilot, shows(app, "Fleet of tinyllama · 2 of 2"))
        monkeypatch.setattr(orchestrator.fleets, "order", refused)
        await answered(pilot, "plus", "y")
        await until(pilot, shows(app, "no gdl-tui is running it"))
        await pilot.press("enter")
        await until(pilot, shows(app, "that replica can be followed"))


async def test_read_only_changes_nothing() -> None:
    orchestrator = scripted(fleet())
    app, _ = make_app(orchestrator, read_only=True)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await opened(pilot)
        await until(pilot, shows(app, "2 of 3 serve"))
        await pilot.press("plus", "D", "minus")
        await until(pilot, lambda: isinstance(app.screen, FleetScreen))
        assert orchestrator.fleets.ordered == []


async def test_without_a_fleet_it_says_how_one_is_made() -> None:
    app, _ = make_app(scripted())
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await opened(pilot)
        await until(pilot, shows(app, "--replicas 3"))
        assert "Esc closes" in screen_text(app) and "one more" not in screen_text(app)
        await pilot.press("plus", "D", "enter", "f", "y", "escape")
        await until(pilot, lambda: not isinstance(app.screen, FleetScreen))


def shown(text: str, *keys: str) -> Callable[[Pilot[Any]], Any]:
    async def before(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        await until(pilot, shows(pilot.app, text))  # type: ignore[arg-type]
        await pilot.press(*keys)
        await settle(pilot)

    return before


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_it_looks_like_this(picture: Compare, size: tuple[int, int]) -> None:
    app, _ = make_app(scripted(fleet()))
    assert picture(app, terminal_size=size, run_before=shown("2 of 3 serve"))


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_trouble_is_told_first(picture: Compare, size: tuple[int, int]) -> None:
    app, _ = make_app(scripted(TROUBLE, fleet(id="fleet-2", since=START - timedelta(hours=1))))
    assert picture(app, terminal_size=size, run_before=shown("short:"))


def test_the_question_before_a_release(picture: Compare) -> None:
    app, _ = make_app(scripted(fleet()))
    assert picture(app, terminal_size=SMALL, run_before=shown("2 of 3 serve", "D"))


def test_of_a_fleet_elsewhere_it_is_said_whose_load_is_not_known() -> None:
    told = fleet_rows.told(fleet(here=False)).plain
    assert told.endswith("It runs in another gdl-tui.")
    silent = fleet(here=False, replicas=(replica(1), replica(2, health=None)))
    told = fleet_rows.told(silent).plain
    assert told.endswith("It runs in another gdl-tui, and not every replica tells its load here.")
