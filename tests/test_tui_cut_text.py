"""What does not fit is cut where it matters least, and is seen to be cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from rich.cells import cell_len
from textual.screen import ModalScreen
from textual.widgets import Static

from gdl.conversations.files import SavedConversation
from gdl.domain import events as ev
from gdl.domain.chat import ChatOptions
from gdl.domain.deployment import DeploymentState
from gdl.domain.phase import Billing, Phase
from gdl.domain.spec import DeploymentSpec
from gdl.orchestrator.api.model_views import ModelRow
from gdl.tui.screens.bid_dialog import BidDialog
from gdl.tui.screens.chat_lists import saved_words
from gdl.tui.screens.chat_options import ChatOptionsDialog
from gdl.tui.screens.help import HelpScreen
from gdl.tui.screens.offers import OffersScreen
from gdl.tui.store import Followed
from gdl.tui.widgets.failure import PanelSize
from gdl.tui.widgets.keyed_table import KeyedTable
from gdl.tui.widgets.model_lines import line
from gdl.tui.widgets.phase_rail import RailSize, rail
from gdl.tui.widgets.status_panel import status
from gdl.tui.widgets.timeline import timeline
from tui_pilot import SIZE, choose, loaded, screen_text, show, until
from tui_support import (
    OFFERS,
    SPEC,
    START,
    ScriptedOrchestrator,
    make_app,
    rented,
    renting,
    to_failed,
    to_serving,
)

LONG_MODEL = "mistralai/Mistral-Small-3.2-24B-Instruct-2506-AWQ"
BIG = replace(OFFERS[6], gpu_name="NVIDIA RTX PRO 6000 Blackwell Server Edition", gpu_count=8)


def followed_to(orchestrator: ScriptedOrchestrator, ident: str) -> Followed:
    followed = Followed(DeploymentState(ident))
    for recorded in orchestrator.recorded(ident):
        followed.fold(recorded)
    return followed


async def test_long_names_leave_their_place_to_price_and_time() -> None:
    app, orchestrator = make_app()
    spec = DeploymentSpec(LONG_MODEL, "shopper")
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, lambda o, i: to_serving(o, i, which=BIG), spec)
        head = screen_text(app).splitlines()[1]
    assert "mistralai/Mistr… on 8x RTX PRO… (" in head
    assert "$1.990/h) · machine 1 of 3 · " in head


async def test_a_line_that_is_cut_ends_in_an_ellipsis() -> None:
    offers = [replace(one, interruptible=True) for one in OFFERS]
    app, _ = make_app(ScriptedOrchestrator(offers=offers))
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await choose(pilot, "tinyllama")
        assert isinstance(app.screen, OffersScreen)
        app.screen._choice.wanted = replace(app.screen._choice.wanted, interruptible=True, bid=0.3)
        app.screen.poke()
        await until(pilot, lambda: "Interruptible, " in screen_text(app))
        line = screen_text(app).splitlines()[1].rstrip()
    assert line.endswith("…") and "Model tinyllama" in line


async def test_all_attempts_have_a_place_in_the_bar() -> None:
    long = replace(OFFERS[2], provider="a-long-provider", gpu_name="NVIDIA RTX PRO 6000 S")

    def three(o: ScriptedOrchestrator, ident: str) -> None:
        for number in (1, 2, 3):
            o.push(ident, 60 * number, *renting(number, long), *rented(number, long))
            if number < 3:
                failed = ev.AttemptFailed(number, Phase.CONNECTING, "ssh", "no answer", "")
                o.push(ident, 60 * number + 30, failed, ev.PhaseChanged(number, Phase.FAILED))

    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, three)
        await until(pilot, lambda: "Attempts" in screen_text(app))
        bar = next(each for each in screen_text(app).splitlines() if each.startswith(" Attempts"))
    for number in (1, 2):
        assert f" {number} RTX PRO 6000 S " in bar
    assert " 3 RTX PRO 6000 S a-long…" in bar


def test_the_timeline_goes_on_below_its_own_words() -> None:
    orchestrator = ScriptedOrchestrator()
    ident = orchestrator.begin(SPEC)
    to_failed(orchestrator, ident)
    gone = ev.AttemptFailed(1, orchestrator.states[ident].phase, "deploy", "it is gone", "try on")
    orchestrator.push(ident, 91, gone)
    lines = timeline(followed_to(orchestrator, ident), 40).plain.splitlines()
    assert all(cell_len(each) <= 40 for each in lines)
    assert all(each[:9].isspace() or ":" in each[:9] for each in lines)
    whole = " ".join(" ".join(lines).split())
    assert "6 offers suitable, 3 excluded" in whole
    assert "Attempt 1: RTX 3090 from vastai, $0.131/h, offer vast-102" in whole
    assert "Create environment: done in 0:02" in whole
    assert "Install vLLM: failed in 0:48: exit status 1" in whole
    assert "✗ Failed: it is gone · Try on" in whole


def test_the_cost_of_an_attempt_has_its_place_in_the_narrowest_rail() -> None:
    orchestrator = ScriptedOrchestrator()
    ident = orchestrator.begin(SPEC)
    orchestrator.push(ident, 1, *renting())
    orchestrator.push(ident, 25, *rented())
    told = rail(
        followed_to(orchestrator, ident), START + timedelta(seconds=30), RailSize(26, brief=True)
    )
    assert "Cost of attempt 1 $0.00018\n" in told.plain


@pytest.mark.parametrize("words", [58, 70, 76])
def test_how_far_it_is_takes_no_second_line(words: int) -> None:
    orchestrator = ScriptedOrchestrator()
    ident = orchestrator.begin(SPEC)
    orchestrator.push(ident, 1, *renting(), ev.Progressed(1, "a" * (words - 4), 0.05))
    followed = followed_to(orchestrator, ident)
    text, _kind = status(followed, START, PanelSize(78, 3), moving=False)
    assert text.cell_len <= 78 and text.plain.endswith(" 5%")


def test_what_may_still_bill_costs_more_after_its_end() -> None:
    orchestrator = ScriptedOrchestrator()
    ident = orchestrator.begin(SPEC)
    orchestrator.push(ident, 1, *renting())
    orchestrator.push(ident, 25, *rented())
    unproven = ev.AttemptFailed(1, Phase.CONNECTING, "release", "may still be billing", "look")
    doubt = ev.BillingChanged(1, Billing.UNKNOWN, "s-1")
    orchestrator.push(ident, 30, unproven, doubt, ev.PhaseChanged(1, Phase.FAILED))
    end = ev.DeploymentFinished("failed", None, "m", "s-1", Billing.UNKNOWN, ())
    orchestrator.push(ident, 31, end)
    followed, size = followed_to(orchestrator, ident), RailSize(26, brief=True)
    costs = [rail(followed, START + timedelta(seconds=s), size).plain for s in (31, 3625)]
    assert "Cost of attempt 1 $0.00022\n" in costs[0]
    assert "Cost of attempt 1    $0.13\n" in costs[1]


async def test_a_column_in_which_nothing_is_said_leaves_its_place_to_others() -> None:
    app, _ = make_app()
    async with app.run_test(size=(200, 30)) as pilot:
        await loaded(pilot)
        await choose(pilot, "mistral-7b")
        await until(pilot, lambda: "no: 5.9 GB short" in screen_text(app))
        text = screen_text(app)
        table = app.screen.query_one(KeyedTable)
        assert not {"million", "conf", "age"} & set(table.shown_columns)
    assert "short; FP8 weights fit; " in text
    told = [replace(one, confidence=0.9, fetched_at=START) for one in OFFERS]
    app, _ = make_app(ScriptedOrchestrator(offers=told))
    async with app.run_test(size=(200, 30)) as pilot:
        await loaded(pilot)
        table = app.screen.query_one(KeyedTable)
        assert {"conf", "age"} <= set(table.shown_columns)


async def test_no_name_is_cut_where_there_is_room_for_it() -> None:
    long = replace(
        BIG, provider="a-provider-with-a-long-name", location="Sankt-Gallen, Switzerland"
    )
    app, _ = make_app(ScriptedOrchestrator(offers=[long, *OFFERS]))
    async with app.run_test(size=(260, 30)) as pilot:
        await loaded(pilot)
        text = screen_text(app)
    for name in ("8x RTX PRO 6000 Blackwell Server Edition", long.provider, long.location):
        assert f" {name} " in text


async def test_a_column_of_short_words_leaves_its_place_to_long_ones() -> None:
    place, ident = (
        "Manassas, Virginia, US (simulated)",
        "tensordock-a7b0d9be-cf60-40f3-a7b0-0123456789ab",
    )
    far = replace(OFFERS[1], location=place, id=ident)
    app, _ = make_app(ScriptedOrchestrator(offers=[OFFERS[0], far]))
    async with app.run_test(size=(200, 60)) as pilot:
        await loaded(pilot)
        (row,) = (line for line in screen_text(app).splitlines() if "0.131" in line)
        assert place in row and ident in row


async def test_offers_are_never_sorted_by_a_column_that_is_not_shown() -> None:
    app, _ = make_app()
    async with app.run_test(size=(200, 30)) as pilot:
        await loaded(pilot)
        table = app.screen.query_one(KeyedTable)
        for _ in range(len(table.shown_columns)):
            await pilot.press("o")
            await until(pilot, lambda: "▲" in screen_text(app))


def test_what_is_not_known_of_a_model_is_no_question_mark() -> None:
    row = ModelRow("acme/new", "acme/new", "hub", False, None, None, None)
    assert "?" not in line(row, 74).plain and "not known" in line(row, 74).plain


@pytest.mark.parametrize(
    "make", [lambda: ChatOptionsDialog(ChatOptions()), lambda: BidDialog(0.07)]
)
async def test_what_a_field_means_is_said_to_the_end(make: Callable[[], ModalScreen[Any]]) -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        dialog = make()
        app.push_screen(dialog)
        await until(pilot, lambda: app.screen is dialog)
        hints = [str(each.content) for each in dialog.query(".field-words").results(Static)]
        assert hints and all(hint in screen_text(app) for hint in hints)


async def test_help_is_wider_where_there_is_room() -> None:
    app, _ = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot)
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        assert "this offer, or on the marked ones; shows the price first" in screen_text(app)


def test_saved_conversations_are_listed_in_columns() -> None:
    one = SavedConversation("a", START, "smollm2-135m", "Why?", 1)
    other = SavedConversation("b", START, "qwen3", "Why not?", 2)
    first, second = (saved_words(row, len("smollm2-135m")) for row in (one, other))
    assert first.index("1 question: Why?") == second.index("2 questions: Why not?")
    unread = SavedConversation("c", START, "", "", 0, "cannot read c.json")
    assert saved_words(unread, 12).endswith("  ✗ cannot read c.json")
