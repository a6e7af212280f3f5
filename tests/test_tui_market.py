"""The screens before and around a deployment from keyboard and mouse: model and load, marks,
sessions and their history, doctor, and what holds on every screen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr
from textual.binding import Binding
from textual.dom import DOMNode
from textual.pilot import Pilot
from textual.widgets import Input

from gdl.backends.shopper.discovery import api_keys
from gdl.domain.errors import BackendUnreachable, ReleaseUnconfirmed
from gdl.domain.session import SessionStatus, SshAddress
from gdl.domain.volumes import Volume
from gdl.orchestrator.api.views import SessionRow
from gdl.orchestrator.api.volumes import VolumeList, VolumeRow
from gdl.tui import keymap_check
from gdl.tui.app import GdlApp
from gdl.tui.screens.deploy_dialog import DeployDialog
from gdl.tui.screens.deployment import DeploymentScreen
from gdl.tui.screens.dialogs import Confirm, Details
from gdl.tui.screens.doctor import DoctorScreen
from gdl.tui.screens.help import HelpScreen
from gdl.tui.screens.model_dialog import ModelDialog
from gdl.tui.screens.offers import OffersScreen
from gdl.tui.screens.sessions import HistoryTable, SessionsScreen
from gdl.tui.screens.welcome import WelcomeScreen
from gdl.tui.widgets.keyed_table import KeyedTable
from gdl.tui.widgets.load_fields import Cycle
from test_tui_snapshots_market import STORIES
from tui_pilot import (
    SIZE,
    app_of,
    choose,
    loaded,
    open_plan,
    screen_text,
    selected,
    show,
    shows,
    until,
)
from tui_support import ScriptedOrchestrator, make_app, session_row, spent_so_far, to_serving

# Model and load


async def open_picker(pilot: Pilot[Any]) -> ModelDialog:
    await loaded(pilot)
    await pilot.press("m")
    await until(pilot, lambda: isinstance(pilot.app.screen, ModelDialog))
    screen = pilot.app.screen
    assert isinstance(screen, ModelDialog)
    return screen


async def test_the_load_is_chosen_by_keys_and_reaches_the_deployment() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await open_picker(pilot)
        await pilot.press(*"mistral")
        await until(pilot, lambda: "weights 14.5  ▓ KV cache 2.1" in screen_text(app))
        await pilot.press("tab", "right", "tab", "tab", "left", "tab")
        await pilot.press("tab", "tab", "tab", "right", "tab", *"3")
        await until(pilot, lambda: "2 requests of 8,192 tokens" in screen_text(app))
        assert "weights 7.5  ▓ KV cache 2.1" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: orchestrator.queries[-1].model == "mistral-7b")
        asked = orchestrator.queries[-1]
        assert (asked.context, asked.concurrency, asked.quantization) == (8192, 2, "fp8")
        assert asked.hours == 3
        await until(pilot, lambda: "for 2 requests of 8,192 tokens, fp8" in screen_text(app))
        await loaded(pilot)
        await open_plan(pilot)
        await pilot.press("minus", "y")
        await until(pilot, lambda: bool(orchestrator.specs))
    (spec,) = orchestrator.specs
    assert spec.hours == 2
    assert (spec.query.context, spec.query.concurrency) == (8192, 2)
    assert spec.query.quantization == "fp8"


async def test_a_load_that_cannot_be_is_not_taken() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_picker(pilot)
        screen.query_one("#model-name", Input).value = "tinyllama"
        await pilot.press("tab", "tab", *"9000")
        await until(pilot, lambda: "tinyllama takes 2,048 tokens at most" in screen_text(app))
        await pilot.press("enter")
        await pilot.pause()
        assert app.screen is screen
        await pilot.press("backspace", "enter")
        await until(pilot, lambda: orchestrator.queries[-1].context == 900)


async def test_the_picker_comes_back_with_what_was_chosen_and_escape_changes_nothing() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_picker(pilot)
        screen.query_one("#model-name", Input).value = "tinyllama"
        screen.query_one("#context", Input).value = "1024"
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: orchestrator.queries[-1].context == 1024)
        asked = len(orchestrator.queries)
        screen = await open_picker(pilot)
        assert screen.query_one("#context", Input).value == "1024"
        await pilot.press("down", "up", "escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        assert len(orchestrator.queries) == asked


async def test_weights_are_changed_by_keys_and_by_a_click() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_picker(pilot)
        cycle = screen.query_one("#quantization", Cycle)
        cycle.focus()
        for key, value in (("right", "fp8"), ("space", "bitsandbytes"), ("left", "fp8")):
            await pilot.press(key)
            assert cycle.value == value
        await pilot.click(cycle)
        assert cycle.value == "bitsandbytes"
        await pilot.press("right")
        assert cycle.value == ""
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))


async def test_enter_without_a_model_asks_for_it_then_shows_the_plan_of_that_offer() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("j", "j", "enter")
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        await pilot.press(*"mistral", "enter")
        await until(pilot, lambda: isinstance(app.screen, DeployDialog))
        assert "vast-102" in screen_text(app) and ": fits " in screen_text(app)


async def test_the_plan_says_where_no_reserved_hours_end_a_machine() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await choose(pilot, "mistral-7b")
        await open_plan(pilot)
        assert "2 h at" in screen_text(app) and "billed until" not in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        orchestrator.open_ended = frozenset({"shopper"})
        await pilot.press("enter")
        await until(pilot, lambda: "; billed until released" in screen_text(app))
        assert "hours" in screen_text(app).split("+ and - change the", 1)[1].split("About")[0]


async def test_a_guard_that_cannot_be_there_ends_nothing() -> None:
    app, orchestrator = make_app()
    orchestrator.open_ended = frozenset({"shopper"})
    guard = app.settings.guard.model_copy(update={"idle_minutes": 30.0})
    app.settings = app.settings.model_copy(update={"guard": guard})
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await choose(pilot, "mistral-7b")
        await open_plan(pilot)
        text = screen_text(app)
        assert "billed until released" in text and "30 min idle" not in text
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        orchestrator.guarded = frozenset({"shopper"})
        await pilot.press("enter")
        await until(pilot, lambda: "; ends after 30 min idle" in screen_text(app))


async def test_enter_while_offers_for_another_model_are_asked_for_waits_for_them() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await loaded(pilot)
        orchestrator.gate = asyncio.Event()
        await choose(pilot, "mistral-7b")
        await pilot.press("down", "enter")
        await until(pilot, lambda: len(orchestrator.queries) == 3)
        assert isinstance(app.screen, OffersScreen)
        orchestrator.gate.set()
        await until(pilot, lambda: isinstance(app.screen, DeployDialog))
        text = screen_text(app)
        assert ": fits " in text and "not known" not in text


async def test_enter_where_offers_for_another_model_cannot_be_had_says_why() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await loaded(pilot)
        orchestrator.error = BackendUnreachable("nothing answers", "start it")
        await choose(pilot, "mistral-7b")
        await pilot.press("enter")
        await until(pilot, lambda: screen_text(app).count("nothing answers") == 2)
        assert isinstance(app.screen, OffersScreen)


# Marks


async def test_marked_offers_are_tried_and_no_others() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await choose(pilot, "mistral-7b")
        await pilot.press("j", "space", "space", "space", "k", "space")
        await until(pilot, lambda: "2 marked" in screen_text(app))
        await open_plan(pilot)
        text = screen_text(app)
        assert "one of these 2 machines" in text and "at most $0.289/h" in text
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
        await pilot.press("1")
        await until(pilot, lambda: "marked" not in screen_text(app))
    (spec,) = orchestrator.specs
    assert spec.query.offer_ids == ("td-7", "vast-103") and spec.query.offer_id is None
    assert spec.max_attempts == 2 and spec.auto_failover
    assert [c.offer_id for c in spec.confirmed] == ["td-7", "vast-103"]
    assert max(c.price_per_hour for c in spec.confirmed) == 0.289


async def test_marked_offers_are_left_out_and_brought_back() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await choose(pilot, "tinyllama")
        await pilot.press("space", "space", "x")
        await until(pilot, lambda: ("exclude", "offer", "blue-2") in orchestrator.calls)
        await until(pilot, lambda: screen_text(app).count("offer excluded") == 2)
        assert orchestrator.queries[-1].exclude_providers == ()
        table = app.screen.query_one(KeyedTable)
        while selected(app) != "vast-101":
            table.action_cursor_down()
        await pilot.press("u")
        await until(pilot, lambda: ("clear_exclusions", "vast-101") in orchestrator.calls)
        await until(pilot, lambda: screen_text(app).count("offer excluded") == 1)


async def test_escape_clears_the_filter_then_the_marks() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("space", "slash", *"4090", "enter")
        await until(pilot, lambda: "2/9 · 1 marked" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "9/9 · 1 marked" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "marked" not in screen_text(app))


async def test_a_row_that_does_not_fit_gives_way_to_the_best_one_and_its_plan() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await loaded(pilot)
        await pilot.press("down")
        await until(pilot, lambda: selected(app) == "blue-2")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        app.screen.query_one(Input).value = "mistral-7b"
        await open_plan(pilot)
        await until(pilot, lambda: "Tesla T4 does not fit" in screen_text(app))
        assert "RTX 3090, 24 GB VRAM" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        assert selected(app) == "vast-102"
        assert app.screen.query_one(KeyedTable).scroll_offset.y == 0


async def test_a_gated_model_without_a_token_is_refused_as_on_the_command_line() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await loaded(pilot)
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        app.screen.query_one(Input).value = "gemma-2b"
        await until(pilot, lambda: "is gated: it needs a Hugging Face token" in screen_text(app))
        assert "accept its licence on the hub, then set HF_TOKEN" in screen_text(app)
        await pilot.press("enter")
        assert isinstance(app.screen, ModelDialog)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        # Chosen by other ways, it comes to no plan.
        assert isinstance(app.screen, OffersScreen)
        app.screen._choice.wanted = replace(app.screen._choice.wanted, model="gemma-2b")
        await pilot.press("enter")
        await until(pilot, lambda: "gated" in screen_text(app))
        assert isinstance(app.screen, OffersScreen) and orchestrator.calls == []


async def test_a_gated_model_with_a_token_is_planned() -> None:
    app, orchestrator = make_app()
    orchestrator.settings = orchestrator.settings.model_copy(update={"hf_token": SecretStr("hf_x")})
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await choose(pilot, "gemma-2b")
        await open_plan(pilot)


async def test_marked_offers_that_do_not_fit_are_not_tried() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("space", "space", "space", "enter")
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        app.screen.query_one(Input).value = "mistral-7b"
        await open_plan(pilot)
        text = screen_text(app)
        assert "RTX 3090" in text and "3060" not in text and "T4" not in text


async def test_an_offer_that_is_gone_is_not_marked_any_more() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("space")
        await until(pilot, lambda: "1 marked" in screen_text(app))
        orchestrator.listed = orchestrator.listed[1:]
        await pilot.press("r")
        await until(pilot, lambda: "8/8 · just now" in screen_text(app))


async def test_tab_goes_from_the_table_to_the_filter_and_back() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        table = app.screen.query_one(KeyedTable)
        assert app.focused is table
        await pilot.press("tab")
        assert app.focused is not None and app.focused.id == "filter"
        await pilot.press("tab")
        assert app.focused is table


# Details


async def test_details_are_a_pane_where_there_is_room_and_a_window_where_not() -> None:
    app, _ = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot)
        await pilot.press("d")
        await until(pilot, lambda: "Interruptible" in screen_text(app))
        assert isinstance(app.screen, OffersScreen)
        await pilot.press("G")
        await until(pilot, lambda: "blue-1" in screen_text(app).split("Interruptible")[0][-900:])
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "Interruptible" not in screen_text(app))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Details))


async def test_every_column_sorts_by_a_click_and_shows_it() -> None:
    app, _ = make_app()
    async with app.run_test(size=(160, 48)) as pilot:
        await loaded(pilot)
        table = app.screen.query_one(KeyedTable)
        end = table._laid_out[0][1] + 1
        for column, width in table._laid_out[1:]:
            end += width + 1
            await pilot.click(table, offset=(end - 2, 0))
            arrow = "▼" if column.key == "price" else "▲"
            title = f"{column.title}{arrow}"
            await until(pilot, shows(app, title))


# Sessions


def rented() -> ScriptedOrchestrator:
    made = ScriptedOrchestrator()
    made.rows = [session_row(f"s-{n}", ours=n != 2) for n in (1, 2, 3)]
    made.told = list(STORIES)
    return made


async def to_sessions(pilot: Pilot[Any]) -> SessionsScreen:
    await pilot.press("4")
    await until(pilot, lambda: "Rented machines · 3 · just now" in screen_text(app_of(pilot)))
    screen = pilot.app.screen
    assert isinstance(screen, SessionsScreen)
    return screen


async def test_marked_sessions_are_destroyed_after_one_question() -> None:
    app, orchestrator = make_app(rented())
    async with app.run_test(size=SIZE) as pilot:
        await to_sessions(pilot)
        await pilot.press("space", "space", "D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        text = screen_text(app)
        for word in ("Destroy these 2 sessions?", "s-1", "s-2", "(unknown)", "$0.578/h, $0.28"):
            assert word in text
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, SessionsScreen))
        assert orchestrator.calls == [], "Cancel has the focus"
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: [row.session.id for row in orchestrator.rows] == ["s-3"])
        assert sorted(orchestrator.calls) == [("destroy", "s-1"), ("destroy", "s-2")]
        await until(pilot, lambda: "Still billing: $0.289/h" in screen_text(app))
        assert "marked" not in screen_text(app)


async def test_a_machine_that_stands_still_costs_and_is_destroyed_like_any_other() -> None:
    app, orchestrator = make_app(rented())
    row = session_row("s-1", ours=True)
    stopped = replace(row.session, status=SessionStatus.STOPPED, error="outbid", idle_price=0.012)
    orchestrator.rows = [replace(row, session=stopped)]
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "Still billing: $0.012/h" in screen_text(app))
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: orchestrator.calls == [("destroy", "s-1")])


async def test_a_long_list_of_what_is_destroyed_can_be_read_to_its_end() -> None:
    app, orchestrator = make_app(rented())
    orchestrator.rows = [session_row(f"s-{n:02}", ours=True) for n in range(30)]
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "Rented machines · 30 · just now" in screen_text(app))
        await pilot.press(*["space"] * 30, "D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        assert app.focused is not None and app.focused.id == "cancel"
        assert "Destroy these 30 sessions?" in screen_text(app)
        assert "Together" not in screen_text(app)
        await pilot.press("tab", "G")
        await until(pilot, lambda: "Together" in screen_text(app))
        assert "$8.670/h" in screen_text(app)


async def test_one_release_that_fails_keeps_no_other_back() -> None:
    app, orchestrator = make_app(rented())
    real = orchestrator.sessions.destroy

    async def destroy(ident: str, tell: Callable[[str], None] | None = None) -> SessionRow:
        if ident == "s-1":
            raise ReleaseUnconfirmed("s-1 may still be billing", "look at the marketplace")
        return await real(ident)

    orchestrator.sessions.destroy = destroy  # type: ignore[method-assign]
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await to_sessions(pilot)
        await pilot.press("space", "space", "D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: "s-1 may still be billing" in screen_text(app))
        await until(pilot, lambda: "1 of 2 machines are gone" in screen_text(app))


async def test_an_address_on_the_internet_is_asked_for_shown_copied_and_ended() -> None:
    app, orchestrator = make_app(rented())
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await to_sessions(pilot)
        await pilot.press("P")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        assert app.focused is not None and app.focused.id == "cancel"
        await until(pilot, lambda: "only its API key" in screen_text(app))
        await pilot.press("escape", "P")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        orchestrator.gate = asyncio.Event()
        await pilot.press("y")
        await until(pilot, lambda: "asking for an address" in screen_text(app))
        await pilot.press("P")
        await until(pilot, lambda: "still busy" in screen_text(app))
        orchestrator.gate.set()
        shown = "is public: https://an-invented-name.trycloudflare.com/v1 · P to end that"
        await until(pilot, lambda: shown in screen_text(app))
        await pilot.press("y")
        assert "https://an-invented-name.trycloudflare.com/v1" in app.clipboard
        await pilot.press("P")
        await until(pilot, lambda: "End its public address?" in screen_text(app))
        await pilot.press("y")
        await until(pilot, lambda: shown not in screen_text(app))
    assert [call[0] for call in orchestrator.calls] == ["make_public", "stop_public"]


async def test_history_is_a_pane_of_its_own_where_nothing_can_be_destroyed() -> None:
    app, orchestrator = make_app(rented())
    async with app.run_test(size=SIZE) as pilot:
        await to_sessions(pilot)
        assert "3, newest first · $0.36 together" in screen_text(app)
        await pilot.press("tab")
        assert isinstance(app.focused, HistoryTable)
        await pilot.press("D", "e", "a", "space", "s", "y")
        await pilot.pause()
        assert isinstance(app.screen, SessionsScreen) and orchestrator.calls == []
        await pilot.press("j", "enter")
        await until(pilot, lambda: isinstance(app.screen, Details))
        for word in ("20260228-090000-77aa01", "failed", "unknown", "$0.05"):
            assert word in screen_text(app)
        await pilot.press("escape", "tab")
        assert app.focused is not None and app.focused.id == "sessions"


async def test_extends_after_naming_the_price() -> None:
    app, orchestrator = make_app(rented())
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await to_sessions(pilot)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        assert "One hour more" in screen_text(app) and "$0.289" in screen_text(app)
        await pilot.press("y")
        await until(pilot, lambda: ("extend", "s-1", 1) in orchestrator.calls)
        await until(pilot, lambda: "extended: ends in 2h47" in screen_text(app))


async def test_no_hour_is_offered_where_a_session_has_no_end_to_put_off() -> None:
    app, orchestrator = make_app(rented())
    orchestrator.rows[0] = replace(orchestrator.rows[0], extends=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await to_sessions(pilot)
        await until(pilot, lambda: "+1 hour" not in screen_text(app))
        assert "f8 Spending" in screen_text(app)
        await pilot.press("e")
        await pilot.pause()
        assert isinstance(app.screen, SessionsScreen) and orchestrator.calls == []
        await pilot.press("j")
        await until(pilot, lambda: "+1 hour" in screen_text(app))


async def test_a_shell_on_a_session_of_ours_alone() -> None:
    app, orchestrator = make_app(rented())
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await to_sessions(pilot)
        await pilot.press("s")
        await until(pilot, lambda: ("shell", "s-1") in orchestrator.calls)
        # The terminal of a test cannot be given away.
        await until(pilot, lambda: "a shell needs a terminal" in screen_text(app))
        await pilot.press("j", "s")
        await pilot.pause()
        assert ("shell", "s-2") not in orchestrator.calls


async def test_copies_the_endpoint_or_the_id() -> None:
    app, orchestrator = make_app(rented())
    there = "http://127.0.0.1:40001/v1"
    orchestrator.rows[2] = replace(orchestrator.rows[2], endpoint=there)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await to_sessions(pilot)
        await pilot.press("y")
        assert app.clipboard == "s-1"
        await until(pilot, lambda: "copied the session's id" in screen_text(app))
        await pilot.press("G", "y")
        assert app.clipboard == f"export OPENAI_BASE_URL={there}"


async def test_costs_go_on_between_two_looks() -> None:
    app, orchestrator = make_app(rented())
    async with app.run_test(size=SIZE) as pilot:
        await to_sessions(pilot)
        assert screen_text(app).count("$0.14 ") == 3
        orchestrator.clock.forward(1800)
        app.touch()
        await until(pilot, lambda: screen_text(app).count("$0.28 ") == 3)
        assert screen_text(app).count("1h17") >= 3


async def test_escape_clears_marks_then_goes_back() -> None:
    app, _ = make_app(rented())
    async with app.run_test(size=SIZE) as pilot:
        await to_sessions(pilot)
        await pilot.press("space", "escape")
        assert isinstance(app.screen, SessionsScreen)
        assert "marked" not in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))


# Doctor and welcome


async def test_the_doctor_tells_what_it_finds_from_anywhere() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("f7")
        await until(pilot, lambda: "gated models need HF_TOKEN" in screen_text(app))
        await pilot.press("r", "escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        await pilot.press("f6")
        await until(pilot, lambda: isinstance(app.screen, WelcomeScreen))
        await until(pilot, lambda: "VAST_API_KEY" in screen_text(app))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, DoctorScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, WelcomeScreen))


async def test_volumes_are_told_of_with_the_sessions_used_or_not() -> None:
    orchestrator = ScriptedOrchestrator()
    volume = Volume("7", "vastai", "cache", 50, 0.01, "11")
    orchestrator.kept_volumes = VolumeList((VolumeRow(volume, True),))
    app, _ = make_app(orchestrator)
    told = "volume cache: 50 GB at vastai, $0.010/h, used by nobody"
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("4")
        await until(pilot, lambda: told in screen_text(app))
        assert "Nothing is rented." in screen_text(app)
        orchestrator.rows = [session_row("s-1", ours=True)]
        await pilot.press("r")
        await until(pilot, lambda: "Nothing is rented." not in screen_text(app))
        assert told in screen_text(app)


async def test_spending_is_shown_by_day_and_by_month_from_anywhere() -> None:
    orchestrator = ScriptedOrchestrator()
    orchestrator.spent = spent_so_far()
    app, _ = make_app(orchestrator)
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("f8")
        await until(pilot, lambda: "2026-01-02" in screen_text(app))
        text = screen_text(app)
        assert "$4.20 of $5.00 today, $0.400/h now" in text
        assert "vastai" in text and "+$0.12" in text and "runpod did not report" in text
        assert "Days are in local time (CET, UTC+01:00)" in text
        await pilot.press("m")
        await until(pilot, lambda: "Nothing was spent." in screen_text(app))
        await pilot.press("d")
        await until(pilot, lambda: "2026-01-02" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))


def test_api_keys_are_named_and_never_shown() -> None:
    told = api_keys({"VASTAI_API_KEY": "k-secret", "RUNPOD_API_KEY": "", "HOME": "/root"})
    assert told == "API keys for it set here: VASTAI_API_KEY (Vast.ai)"
    assert api_keys({}) == ""


# Everywhere


@pytest.mark.parametrize("node", keymap_check.places(GdlApp), ids=lambda node: node.__name__)
def test_every_binding_has_an_id_a_name_and_a_tooltip(node: type[DOMNode]) -> None:
    for binding in node.BINDINGS:
        assert isinstance(binding, Binding), binding
        assert binding.id and binding.description and binding.tooltip, binding


def test_every_binding_leads_to_an_action_that_exists() -> None:
    places = keymap_check.places(GdlApp)
    for node in places:
        for binding in node.BINDINGS:
            assert isinstance(binding, Binding)
            space, _, name = binding.action.partition("(")[0].rpartition(".")
            named: dict[str, list[type[DOMNode]]] = {"": [node], "app": [GdlApp]}
            owners = named.get(space, places)
            methods = (f"action_{name}", f"_action_{name}")
            assert any(hasattr(owner, m) for owner in owners for m in methods), binding


def test_no_two_bindings_share_an_id() -> None:
    ids = [
        b.id
        for node in keymap_check.places(GdlApp)
        for b in node.BINDINGS
        if isinstance(b, Binding)
    ]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("theme", ["textual-light", "high-contrast", "ansi-dark"])
async def test_every_theme_draws_every_screen(theme: str) -> None:
    app, orchestrator = make_app(rented())
    async with app.run_test(size=SIZE) as pilot:
        app.theme = theme
        await loaded(pilot)
        await show(pilot, orchestrator, to_serving)
        wanted = {
            "health": "inference", "sessions": "! unknown", "chat": "smollm2-135m",
            "offers": "RTX 3060",
        }  # fmt: skip
        for mode, word in wanted.items():
            app.action_show(mode)
            await until(pilot, shows(app, word))


@pytest.mark.parametrize("how", ["setting", "environment"])
async def test_reduced_motion_is_honoured(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, orchestrator = make_app()
    settings = made.settings
    if how == "setting":
        settings = settings.model_copy(update={"reduced_motion": True})
    else:
        monkeypatch.setattr("textual.constants.TEXTUAL_ANIMATIONS", "none")
    app = GdlApp(orchestrator, settings, clock=orchestrator.clock, version="1")
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        assert app.animation_level == "none"
        assert not app.screen.query_one("#filter", Input).cursor_blink


def in_mode(app: GdlApp, mode: str) -> bool:
    return app.current_mode == mode


async def test_the_numbers_lead_to_the_screens_and_the_palette_knows_them_all() -> None:
    app, orchestrator = make_app(rented())
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        for key, mode in enumerate(("offers", "deployment", "health", "sessions", "chat"), 1):
            await pilot.press(str(key))
            await until(pilot, partial(in_mode, app, mode))
            if mode == "chat":
                break
        await pilot.press("escape", "4")
        await until(pilot, lambda: app.current_mode == "sessions")
        titles = {command.title for command in app.get_system_commands(app.screen)}
        wanted = {"Attach", "Details", "+1 hour", "Destroy", "Mark", "Shell", "Copy", "Refresh"}
        assert wanted | {"Offers", "Deployment", "Chat", "Doctor", "Machines from"} <= titles
    assert orchestrator.specs == []


async def test_the_rest_of_the_keys() -> None:
    """Those that move, close and repeat."""
    app, orchestrator = make_app(rented())
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        table = app.screen.query_one(KeyedTable)
        for key, row in (
            ("j", 1), ("down", 2), ("k", 1), ("up", 0), ("G", 8), ("g", 0), ("end", 8),
            ("home", 0), ("pagedown", 8), ("pageup", 0),
        ):  # fmt: skip
            await pilot.press(key)
            assert table.cursor_row == row, key
        await pilot.press("slash", "f1")
        await until(pilot, lambda: "To the offers" in screen_text(app))
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.press("j", "k", "G", "g", "question_mark")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        await pilot.press("escape")
        await choose(pilot, "tinyllama")
        await open_plan(pilot)
        await pilot.press("left")
        assert app.focused is not None and app.focused.id == "deploy"
        await pilot.press("right", "n")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        await to_sessions(pilot)
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Details))
        assert "billing: active" in screen_text(app)
        await pilot.press("d", "r", "delete")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("left")
        assert app.focused is not None and app.focused.id == "yes"
        await pilot.press("right", "n")
        await until(pilot, lambda: isinstance(app.screen, SessionsScreen))
    # The details name the command for a shell; nothing was done.
    assert orchestrator.specs == [] and orchestrator.calls == [("shell", "s-1")]


async def test_offers_and_sessions_are_asked_for_again_while_they_are_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for place in ("offers", "sessions"):
        monkeypatch.setattr(f"gdl.tui.screens.{place}.REFRESH_EVERY_S", 0.05)
    app, orchestrator = make_app(rented())
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("j", "j")
        await until(pilot, lambda: len(orchestrator.queries) > 3)
        assert selected(app) == "vast-102", "the cursor stays on its offer"
        await pilot.press("4")
        await until(pilot, lambda: "! unknown" in screen_text(app))
        asked = len(orchestrator.queries)
        orchestrator.rows.pop()
        await until(pilot, lambda: "Rented machines · 2" in screen_text(app))
        assert len(orchestrator.queries) <= asked + 1, "nobody looks at the offers"


async def test_hostile_words_of_sessions_and_stories_are_only_text() -> None:
    app, orchestrator = make_app(rented())
    evil = "[red]x[/]\x1b]0;t\x07\u202e\0\r\nEND"
    row = orchestrator.rows[0]
    session = replace(row.session, provider=evil, gpu_name=evil, error=evil)
    orchestrator.rows = [replace(row, session=session, model=evil, billing=evil, endpoint=evil)]
    orchestrator.told = [replace(STORIES[0], model=evil, outcome=evil, billing=evil, backend=evil)]
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "[red]x[/]" in screen_text(app))
        for keys in (["d"], ["D"], ["tab", "enter"]):
            await pilot.press(*keys)
            await until(pilot, lambda: not isinstance(app.screen, SessionsScreen))
            text = screen_text(app)
            assert "[red]x[/]" in text
            assert not any(bad in text for bad in ("\x1b", "\u202e", "\0", "\x07"))
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, SessionsScreen))


async def test_a_slow_backend_never_freezes_the_sessions() -> None:
    app, orchestrator = make_app(rented())
    gate = asyncio.Event()
    real = orchestrator.sessions.rows

    async def slow() -> Any:
        await gate.wait()
        return await real()

    orchestrator.sessions.rows = slow  # type: ignore[method-assign]
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "Asking for sessions" in screen_text(app))
        gate.set()
        await until(pilot, lambda: "! unknown" in screen_text(app))


async def test_the_details_of_a_session_say_how_its_machine_is_entered_and_what_is_on_it() -> None:
    app, orchestrator = make_app()
    orchestrator.shell_command = ("ssh", "-i", "/keys/s-1 a", "root@10.0.0.7")
    async with app.run_test(size=(120, 40)) as pilot:
        ident = await show(pilot, orchestrator, to_serving)
        attempt = orchestrator.states[ident].attempt
        assert attempt is not None and attempt.session_id is not None
        row = session_row(attempt.session_id, ours=True)
        session = replace(row.session, ssh=SshAddress("10.0.0.7", 4022, "root"))
        orchestrator.rows = [replace(row, session=session, deployment_id=ident)]
        await pilot.press("4")
        await until(pilot, shows(app, "Rented machines · 1"))
        await pilot.press("d")
        await until(pilot, shows(app, "10.0.0.7, port 4022, as root"))
        text = screen_text(app)
        assert "ssh -i '/keys/s-1 a' root@10.0.0.7" in text
        assert "560.35.03, CUDA 12.6" in text and "81 GiB free at the inspection" in text
        assert "1h47, at 01 Mar 13:47 UTC" in text
