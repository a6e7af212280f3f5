"""Pictures of the screens before and around a deployment: welcome, offers, plan, sessions, help,
palette. Kept in `snapshots/`; renew with `pytest --snapshot-update`, and look at each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input, OptionList

from gdl.domain.errors import BackendUnreachable
from gdl.domain.offers import Exclusion, OfferTerms
from gdl.domain.session import SessionStatus
from gdl.domain.session_price import Charged
from gdl.orchestrator.api.views import PastDeployment
from gdl.tui.screens.choose_several import ChooseSeveral
from gdl.tui.screens.model_dialog import ModelDialog
from test_tui_snapshots import Compare, at, open_deployment, picture, settle
from tui_pilot import app_of, shows, until
from tui_support import (
    OFFERS,
    ON_HUB,
    START,
    ScriptedOrchestrator,
    make_app,
    session_row,
    spent_so_far,
    to_serving,
)

__all__ = ["picture"]

SIZES = {"80x24": (80, 24), "120x40": (120, 40)}
Do = Callable[[Pilot[Any]], Awaitable[None]]

STORIES = [
    PastDeployment("20260301-101500-4f1c09", "tinyllama", "shopper", START - timedelta(hours=2),
          "released", "released", "s-4f1c09aa", 0.31),
    PastDeployment("20260228-090000-77aa01", "mistral-7b", "shopper", START - timedelta(days=1),
          "failed", "unknown", "s-77aa0133", 0.05),
    PastDeployment("20260227-180000-0b0b0b", "smollm2-135m", "local", START - timedelta(days=2),
          "cancelled", "none", None, 0.0),
]  # fmt: skip


def market_with_history() -> ScriptedOrchestrator:
    """A market with history, prices per million tokens, confidence and age."""
    offers = [
        replace(one, confidence=0.93, fetched_at=START - timedelta(seconds=40 * n))
        for n, one in enumerate(OFFERS)
    ]
    made = ScriptedOrchestrator(offers=offers)
    made.speeds = {("NVIDIA RTX 3090", 1): 410.0, ("NVIDIA RTX 4090", 1): 770.0}
    return made


async def ask_for_a_model(pilot: Pilot[Any]) -> Screen[Any]:
    """The dialog that asks, once it can be filled in."""
    await pilot.press("m")
    await until(pilot, lambda: isinstance(pilot.app.screen, ModelDialog))
    return pilot.app.screen


async def model(pilot: Pilot[Any], name: str, **fields: str) -> None:
    screen = await ask_for_a_model(pilot)
    screen.query_one("#model-name", Input).value = name
    for field, value in fields.items():
        screen.query_one(f"#{field}", Input).value = value
    await settle(pilot)
    await pilot.press("enter")
    await settle(pilot)


async def offers(pilot: Pilot[Any]) -> None:
    await model(pilot, "mistral-7b")
    await pilot.press("down")


async def excluded_and_filtered(pilot: Pilot[Any]) -> None:
    await model(pilot, "mistral-7b", context="8192", concurrency="2")
    await pilot.press("end", "x")
    await settle(pilot)
    await pilot.press("home", "space", "space")
    await pilot.press("slash")
    pilot.app.screen.query_one("#filter", Input).value = "vram>=16 !spain"
    await settle(pilot)
    pilot.app.clear_notifications()


async def details(pilot: Pilot[Any]) -> None:
    await model(pilot, "mistral-7b")
    await pilot.press("down", "d")
    await settle(pilot)


async def hub_has_answered(pilot: Pilot[Any]) -> None:
    """The picker asks it a moment after the last key; its answer is part of the picture."""
    await until(pilot, shows(app_of(pilot), "the hub was not asked"))


async def picker(pilot: Pilot[Any]) -> None:
    await settle(pilot)
    screen = await ask_for_a_model(pilot)
    screen.query_one("#model-name", Input).value = "mistral-7b"
    screen.query_one("#context", Input).value = "16384"
    screen.query_one("#concurrency", Input).value = "8"
    await settle(pilot)
    screen.query_one("#quantization").focus()
    await pilot.press("right")
    await hub_has_answered(pilot)


async def picker_finds_more_on_the_hub(pilot: Pilot[Any]) -> None:
    await settle(pilot)
    await ask_for_a_model(pilot)
    await pilot.press(*"mistral")
    await until(pilot, shows(app_of(pilot), "hub: 3 found"))


async def what_does_not_fit(pilot: Pilot[Any]) -> None:
    await settle(pilot)
    screen = await ask_for_a_model(pilot)
    screen.query_one("#model-name", Input).value = "mistral-7b"
    screen.query_one("#context", Input).value = "32768"
    screen.query_one("#concurrency", Input).value = "8"
    await hub_has_answered(pilot)


async def too_long_a_context(pilot: Pilot[Any]) -> None:
    await settle(pilot)
    screen = await ask_for_a_model(pilot)
    screen.query_one("#model-name", Input).value = "tinyllama"
    screen.query_one("#context", Input).value = "8192"
    await hub_has_answered(pilot)


async def plan(pilot: Pilot[Any]) -> None:
    await model(pilot, "mistral-7b", context="8192")
    await pilot.press("enter")
    await settle(pilot)


async def plan_of_marked(pilot: Pilot[Any]) -> None:
    await model(pilot, "mistral-7b")
    await pilot.press("space", "space", "space", "enter")
    await settle(pilot)


async def sessions(pilot: Pilot[Any]) -> None:
    await settle(pilot)
    await pilot.press("4")
    await settle(pilot)


async def destroy_marked(pilot: Pilot[Any]) -> None:
    await sessions(pilot)
    await pilot.press("space", "space", "D")
    await settle(pilot)


async def help_(pilot: Pilot[Any]) -> None:
    await settle(pilot)
    await pilot.press("question_mark")
    await settle(pilot)


async def palette(pilot: Pilot[Any]) -> None:
    await settle(pilot)
    await pilot.press("ctrl+p")
    for field in pilot.app.screen.query(Input):
        field.cursor_blink = False  # or the picture would depend on how long it took
    await settle(pilot, lambda: any(at.option_count for at in pilot.app.screen.query(OptionList)))
    for worker in list(pilot.app.workers):
        if worker.group != "follow":
            await worker.wait()
    await settle(pilot)


async def doctor(pilot: Pilot[Any]) -> None:
    await settle(pilot)
    await pilot.press("f7")
    await settle(pilot)


async def spending(pilot: Pilot[Any]) -> None:
    await settle(pilot)
    await pilot.press("f8")
    await settle(pilot)


@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize(
    "do",
    [offers, excluded_and_filtered, picker, plan, help_],
    ids=lambda do: do.__name__.strip("_"),
)
def test_dark(picture: Compare, do: Do, size: str) -> None:
    app, _ = make_app(market_with_history())
    assert picture(app, terminal_size=SIZES[size], run_before=do)


@pytest.mark.parametrize(
    "do",
    [plan_of_marked, what_does_not_fit, too_long_a_context, palette, doctor],
    ids=lambda do: do.__name__,
)
def test_small(picture: Compare, do: Do) -> None:
    app, _ = make_app(market_with_history())
    assert picture(app, terminal_size=SIZES["80x24"], run_before=do)


def test_a_filter_that_is_wrong(picture: Compare) -> None:
    app, _ = make_app(market_with_history())

    async def before(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        await pilot.press("slash")
        pilot.app.screen.query_one("#filter", Input).value = "vram>=16 prise<0.5"
        await settle(pilot)

    assert picture(app, terminal_size=SIZES["80x24"], run_before=before)


@pytest.mark.parametrize("size", list(SIZES))
def test_spending(picture: Compare, size: str) -> None:
    orchestrator = market_with_history()
    orchestrator.spent = spent_so_far()
    app, _ = make_app(orchestrator)
    assert picture(app, terminal_size=SIZES[size], run_before=spending)


@pytest.mark.parametrize("size", list(SIZES))
def test_picker_with_the_hub(picture: Compare, size: str) -> None:
    orchestrator = market_with_history()
    orchestrator.on_hub = ON_HUB
    app, _ = make_app(orchestrator)
    assert picture(app, terminal_size=SIZES[size], run_before=picker_finds_more_on_the_hub)


def test_details_pane(picture: Compare) -> None:
    app, _ = make_app(market_with_history())
    assert picture(app, terminal_size=SIZES["120x40"], run_before=details)


def test_everything_of_an_offer_where_there_is_room(picture: Compare) -> None:
    app, _ = make_app(market_with_history())
    assert picture(app, terminal_size=(160, 30), run_before=offers)


def market_that_tells_all() -> ScriptedOrchestrator:
    """Disk, traffic and lines are listed; sessions of one provider were dearer than listed."""
    chance = (("vastai", 0.02, 800.0), ("tensordock", 0.0, 2400.0), ("bluelobster", 0.004, 150.0))
    terms = {name: (traffic, mbps) for name, traffic, mbps in chance}
    offers = []
    for one in OFFERS:
        traffic, mbps = terms[one.provider]
        told = OfferTerms(one.price_per_hour, 0.0002, 0.0, 400, traffic, traffic, mbps)
        offers.append(replace(one, terms=told))
    made = ScriptedOrchestrator(offers=offers)
    made.charged = {"tensordock": Charged(1.08, 1.0, "market", 4)}
    return made


async def details_of_the_first(pilot: Pilot[Any]) -> None:
    await model(pilot, "mistral-7b")
    await pilot.press("d")
    await settle(pilot)


@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize(
    "do", [offers, details_of_the_first, plan, plan_of_marked], ids=lambda do: do.__name__
)
def test_the_price_of_the_session(picture: Compare, do: Do, size: str) -> None:
    app, _ = make_app(market_that_tells_all())
    assert picture(app, terminal_size=SIZES[size], run_before=do)


@pytest.mark.parametrize("theme", ["textual-light", "high-contrast", "ansi-dark"])
def test_themes(picture: Compare, theme: str) -> None:
    app, _ = make_app(market_with_history())

    async def before(pilot: Pilot[Any]) -> None:
        pilot.app.theme = theme
        await excluded_and_filtered(pilot)

    assert picture(app, terminal_size=SIZES["80x24"], run_before=before)


def rented() -> ScriptedOrchestrator:
    """A machine of ours, one whose key is lost, and one that has ended."""
    made = ScriptedOrchestrator(at(300))
    ended = session_row("s-0aa1", ours=True, gpu="NVIDIA RTX 3090")
    stopped = replace(ended.session, status=SessionStatus.STOPPED)
    ended = replace(ended, session=stopped, billing="released")
    made.rows = [
        session_row("s-4f1c09aa", ours=True),
        session_row("s-unknown-77", ours=False, gpu="NVIDIA A100 SXM4"),
        ended,
    ]
    made.told = STORIES
    return made


@pytest.mark.parametrize(
    ("size", "theme"),
    [("80x24", "textual-dark"), ("120x40", "textual-dark"), ("80x24", "textual-light")],
)
def test_sessions_with_an_unknown_machine(picture: Compare, size: str, theme: str) -> None:
    app, _ = make_app(rented())

    async def before(pilot: Pilot[Any]) -> None:
        pilot.app.theme = theme
        await sessions(pilot)

    assert picture(app, terminal_size=SIZES[size], run_before=before)


def test_several_sessions_are_destroyed_after_one_question(picture: Compare) -> None:
    app, _ = make_app(rented())
    assert picture(app, terminal_size=SIZES["80x24"], run_before=destroy_marked)


@pytest.mark.parametrize("asked", [False, True], ids=["told", "asked"])
def test_a_session_that_is_public(picture: Compare, asked: bool) -> None:
    app, orchestrator = make_app(rented())
    url = "https://an-invented-name.trycloudflare.com/v1"
    first, *others = orchestrator.rows
    orchestrator.rows = [first if asked else replace(first, public=url), *others]

    async def before(pilot: Pilot[Any]) -> None:
        await sessions(pilot)
        if asked:
            await pilot.press("P")
            await settle(pilot)

    assert picture(app, terminal_size=SIZES["80x24"], run_before=before)


@pytest.mark.parametrize(
    ("size", "theme"),
    [("80x24", "textual-dark"), ("120x40", "textual-dark"), ("80x24", "textual-light")],
)
def test_quit_while_billing(picture: Compare, size: str, theme: str) -> None:
    app, orchestrator = make_app(ScriptedOrchestrator(at(600)))

    async def before(pilot: Pilot[Any]) -> None:
        pilot.app.theme = theme
        await open_deployment(pilot, orchestrator, to_serving)
        await pilot.press("q")
        await settle(pilot)

    assert picture(app, terminal_size=SIZES[size], run_before=before)


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of the configuration that the welcome names."""
    path = Path("/home/me/.config/gdl-tui/config.toml")
    monkeypatch.setattr("gdl.settings._config_file", path)


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("size", "theme"),
    [("80x24", "textual-dark"), ("120x40", "textual-dark"), ("80x24", "textual-light")],
)
def test_welcome(picture: Compare, size: str, theme: str) -> None:
    app, orchestrator = make_app()
    trouble = BackendUnreachable("nothing answers at http://localhost:8080", "start it")

    async def before(pilot: Pilot[Any]) -> None:
        pilot.app.theme = theme
        await settle(pilot)
        app_of(pilot).open_window("welcome", trouble)
        await settle(pilot, lambda: ("sources",) in orchestrator.calls)

    assert picture(app, terminal_size=SIZES[size], run_before=before)


@pytest.mark.usefixtures("configured")
def test_several_hosts_are_chosen(picture: Compare) -> None:
    app, _ = make_app()

    async def before(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        app_of(pilot).open_window("welcome", None)
        await until(pilot, shows(app_of(pilot), "SSH hosts"))
        await pilot.press("enter")
        await settle(pilot, lambda: isinstance(pilot.app.screen, ChooseSeveral))
        await pilot.press("space")

    assert picture(app, terminal_size=SIZES["80x24"], run_before=before)


def test_offers_left_out_for_a_reason(picture: Compare) -> None:
    """Greyed at the bottom, with the reason, and a way back."""
    made = market_with_history()
    made.left_out = [
        Exclusion("machine", "m-vast-102", "failed: no driver", START, START + timedelta(days=1)),
    ]
    app, _ = make_app(made)

    async def before(pilot: Pilot[Any]) -> None:
        await model(pilot, "tinyllama")
        await pilot.press("G")
        await settle(pilot)
        pilot.app.clear_notifications()

    assert picture(app, terminal_size=SIZES["80x24"], run_before=before)


@pytest.mark.parametrize("shown", ["bid", "listed", "plan"])
def test_interruptible(picture: Compare, shown: str) -> None:
    """Asked for with a bid, listed by themselves, and told in the plan."""
    offers = [
        replace(
            one,
            id=f"{one.id}-bid",
            interruptible=True,
            terms=OfferTerms(one.price_per_hour, bid=one.price_per_hour, disk_per_gb_hour=0.0002),
        )
        for one in OFFERS
    ]
    app, _ = make_app(ScriptedOrchestrator(offers=[*OFFERS, *offers]))

    async def before(pilot: Pilot[Any]) -> None:
        await model(pilot, "tinyllama")
        await pilot.press("i")
        await settle(pilot)
        if shown == "bid":
            return
        pilot.app.screen.query_one(Input).value = "0.30"
        await pilot.press("enter")
        await settle(pilot)
        if shown == "plan":
            await pilot.press("enter")
            await settle(pilot)

    assert picture(app, terminal_size=SIZES["80x24"], run_before=before)
