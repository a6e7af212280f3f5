"""The terminal UI from the keyboard, over a scripted orchestrator."""

from __future__ import annotations

import asyncio
import tomllib
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from textual.binding import Binding
from textual.widgets import Checkbox, Static, TabbedContent

from gdl.domain import events as ev
from gdl.domain.benchmark import OWN_LOAD
from gdl.domain.decisions import AfterFailure, AfterServing
from gdl.domain.errors import BackendUnreachable, OfferGone, RemoteCodeNotAllowed, UsageError
from gdl.domain.events import LogLines
from gdl.domain.money import Balance
from gdl.domain.offers import Exclusion, OfferQuery
from gdl.domain.phase import Billing, Phase
from gdl.domain.spec import DeploymentSpec
from gdl.tui.screens.bench_dialog import BenchDialog
from gdl.tui.screens.deploy_dialog import DeployDialog
from gdl.tui.screens.deployment import DeploymentScreen
from gdl.tui.screens.dialogs import Choose, Confirm, Details, QuitDialog
from gdl.tui.screens.help import HelpScreen
from gdl.tui.screens.model_dialog import ModelDialog
from gdl.tui.screens.offers import OffersScreen
from gdl.tui.screens.sessions import SessionsScreen
from gdl.tui.widgets.keyed_table import KeyedTable
from gdl.tui.widgets.log_pane import LogPane
from gdl.tui.widgets.log_view import LogView
from tui_pilot import (
    SIZE,
    caught_up,
    choose,
    ended,
    loaded,
    open_plan,
    screen_text,
    selected,
    show,
    shows,
    until,
)
from tui_support import (
    ENDPOINT,
    KEY_FILE,
    OFFERS,
    SPEC,
    START,
    ScriptedDeployments,
    ScriptedOrchestrator,
    make_app,
    offer,
    rented,
    renting,
    session_row,
    to_failed,
    to_installing,
    to_remedy,
    to_serving,
    to_waiting,
)
from waiting import wait_until

# Offers


async def test_deploys_from_the_keyboard() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("m", *"qwen", "enter")
        await until(pilot, lambda: orchestrator.queries[-1].model == "qwen2.5-0.5b")
        await open_plan(pilot)
        text = screen_text(app)
        for word in ("qwen2.5-0.5b", "RTX 3060", "vast-101", "2 h", "$0.062/h", "About $0.13"):
            assert word in text
        assert app.focused is not None
        assert app.focused.id == "cancel"
        await pilot.press("plus", "y")
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
    (spec,) = orchestrator.specs
    assert spec.model == "qwen2.5-0.5b"
    assert spec.backend == "shopper"
    assert spec.hours == 3
    assert spec.after == "hold"
    assert spec.auto_failover
    assert spec.ask_on_failure
    assert spec.query.offer_id is None, "the cheapest suitable offer is not pinned"
    assert spec.query.model == "qwen2.5-0.5b"


async def test_a_balance_that_does_not_pay_for_the_hours_is_said_in_the_plan() -> None:
    app, orchestrator = make_app()
    orchestrator.credit = {"shopper": Balance(0.15)}
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await choose(pilot, "qwen2.5-0.5b")
        await pilot.press("enter")
        await until(pilot, lambda: "shopper has $0.15 left" in screen_text(app))
        assert "!" not in screen_text(app).split("shopper has $0.15 left")[0].splitlines()[-1]
        await pilot.press("plus")
        await until(pilot, lambda: "! shopper has $0.15 left: 2 h of it" in screen_text(app))


async def test_tools_are_said_and_can_be_turned_off() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await choose(pilot, "qwen2.5-0.5b")
        await open_plan(pilot)
        assert "Parse the model's tool calls (hermes)" in screen_text(app)
        app.screen.query_one("#tools", Checkbox).toggle()
        await pilot.press("y")
        await until(pilot, lambda: bool(orchestrator.specs))
    assert not orchestrator.specs[0].tools


@pytest.mark.parametrize("key", ["y", "escape"])
async def test_a_models_own_code_is_asked_about_before_anything_is_rented(key: str) -> None:
    app, orchestrator = make_app()

    class Careful(ScriptedDeployments):
        async def deploy(self, spec: DeploymentSpec) -> str:
            if not spec.trust_remote_code:
                raise RemoteCodeNotAllowed("it runs its own code", "")
            return await super().deploy(spec)

    orchestrator.deployments = orchestrator.resumption = Careful(orchestrator)
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await choose(pilot, "qwen2.5-0.5b")
        await open_plan(pilot)
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        assert "it runs its own code" in screen_text(app)
        await pilot.press(key)
        showing = DeploymentScreen if key == "y" else OffersScreen
        await until(pilot, lambda: isinstance(app.screen, showing))
    assert [spec.trust_remote_code for spec in orchestrator.specs] == [True] * (key == "y")


async def test_another_offer_than_the_cheapest_is_pinned() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await choose(pilot, "org/some-model")
        await pilot.press("j", "enter")
        await until(pilot, lambda: isinstance(app.screen, DeployDialog))
        await pilot.press("y")
        await until(pilot, lambda: bool(orchestrator.specs))
    (spec,) = orchestrator.specs
    assert spec.model == "org/some-model"
    assert spec.query.offer_id == "blue-2"
    assert not spec.auto_failover


async def test_enter_twice_rents_nothing() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await choose(pilot, "tinyllama")
        await open_plan(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
    assert orchestrator.specs == []


async def test_an_excluded_offer_is_not_rented() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await choose(pilot, "tinyllama")
        await pilot.press("G", "enter")
        await pilot.pause()
        assert isinstance(app.screen, OffersScreen)
        assert "listed as not available" in screen_text(app)
    assert orchestrator.specs == []


async def test_excludes_a_provider_and_brings_it_back() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("x")
        await until(pilot, lambda: orchestrator.queries[-1].exclude_providers == ("vastai",))
        await until(pilot, lambda: "provider vastai" in screen_text(app))
        assert selected(app) == "vast-101", "the cursor stays on its offer"
        await pilot.press("u")
        await until(pilot, lambda: orchestrator.queries[-1].exclude_providers == ())
        await until(pilot, lambda: "provider vastai" not in screen_text(app))


async def test_a_host_is_excluded_where_a_marketplace_has_thousands() -> None:
    there = replace(OFFERS[0], provider="vastai", backend="vastai", host_id="h7")
    app, orchestrator = make_app(ScriptedOrchestrator(offers=[there]))
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("x")
        await until(pilot, lambda: ("exclude", "host", "h7") in orchestrator.calls)
        await until(pilot, lambda: "host excluded by you" in screen_text(app))


async def test_the_header_names_all_backends_and_which_is_away() -> None:
    made = ScriptedOrchestrator()
    made.backend_name = "vastai,runpod"
    app, orchestrator = make_app(made)
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        assert "vastai, runpod" in screen_text(app)
        orchestrator.away = {"vastai": "nothing answers"}
        await until(pilot, lambda: "vastai away, runpod" in screen_text(app))


async def test_a_header_that_is_too_long_is_cut_with_a_sign() -> None:
    made = ScriptedOrchestrator()
    made.backend_name = "sandbox-vastai,sandbox-runpod"
    app, _ = make_app(made)
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        assert "sandbox-vastai, sandbox-…" in screen_text(app)


async def test_a_remembered_exclusion_is_cleared_on_its_row() -> None:
    orchestrator = ScriptedOrchestrator()
    orchestrator.left_out = [Exclusion("machine", "m-vast-101", "failed: no driver", START)]
    app, _ = make_app(orchestrator)
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot)
        await pilot.press("G", "k")
        await until(pilot, lambda: "Excluded: failed: no driver" in screen_text(app))
        await pilot.press("u")
        await until(pilot, lambda: ("clear_exclusions", "m-vast-101") in orchestrator.calls)
        await until(pilot, lambda: "no driver" not in screen_text(app))


async def test_filters_live_with_a_count_and_clears() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("slash", *"4090")
        await until(pilot, lambda: app.screen.query_one(KeyedTable).row_count == 2)
        assert "2/9" in screen_text(app)
        await pilot.press(*" q1")
        await until(pilot, lambda: "None of 9 offers" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen.query_one(KeyedTable).row_count == 9)
        assert isinstance(app.focused, KeyedTable)


async def test_refresh_keeps_cursor_and_scroll() -> None:
    many = [offer(f"o-{n:03}", "RTX 4090", 24, 0.2 + n / 1000, "vastai") for n in range(200)]
    app, orchestrator = make_app(ScriptedOrchestrator(offers=many))
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        table = app.screen.query_one(KeyedTable)
        table.move_cursor(row=90)
        await pilot.pause()
        scroll = table.scroll_offset.y
        assert scroll > 0
        orchestrator.listed = [*many[:100], offer("o-new", "H100", 80, 0.9, "vastai")]
        await pilot.press("r")
        await until(pilot, lambda: table.row_count == 101)
        assert table.selected_key is not None
        assert table.selected_key.endswith("o-090")
        assert table.scroll_offset.y == scroll


async def test_sorts_by_key_with_an_arrow() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        assert "$/h▲" in screen_text(app)
        await pilot.press("o")
        await until(pilot, lambda: "Session▲" in screen_text(app))
        await pilot.press("O")
        await until(pilot, lambda: "Session▼" in screen_text(app))


async def test_loading_error_and_retry_are_never_blank() -> None:
    orchestrator = ScriptedOrchestrator()
    orchestrator.gate = asyncio.Event()
    app, _ = make_app(orchestrator)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: "Asking for offers" in screen_text(app))
        orchestrator.error = BackendUnreachable("nothing answers at [b]x[/b]", "start it")
        orchestrator.gate.set()
        await until(pilot, lambda: "nothing answers at [b]x[/b]" in screen_text(app))
        assert "start it" in screen_text(app)
        assert "r refreshes" in screen_text(app)
        orchestrator.error = None
        await pilot.press("r")
        await loaded(pilot)
        orchestrator.listed = []
        await pilot.press("r")
        await until(pilot, lambda: "lists no offers" in screen_text(app))


async def test_hostile_names_are_only_text() -> None:
    evil = offer(
        "[link=x]id[/]", "[red]GPU[/]", 24, 0.1, "[b]p[/b]\x1b[31m", location="\x1b]0;t\x07\u202eZ"
    )
    app, orchestrator = make_app(ScriptedOrchestrator(offers=[evil]))
    async with app.run_test(size=(120, 30)) as pilot:
        await loaded(pilot)
        text = screen_text(app)
        for word in ("[link=x]id[/]", "[red]GPU[/]", "[b]p[/b]", "Z"):
            assert word in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Details))
        assert "[b]p[/b]" in screen_text(app)
        await pilot.press("escape", "x")
        await pilot.pause()
        assert not app._exception
    assert orchestrator.specs == []


async def test_any_size_works() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=(40, 12)) as pilot:
        await loaded(pilot)
        await show(pilot, orchestrator, to_serving)
        for size in ((40, 12), (200, 60), (80, 24)):
            await pilot.resize_terminal(*size)
            for number in "23415":
                await pilot.press(number)
                await until(pilot, lambda: "Quit" in screen_text(app).splitlines()[-1])
                lines = screen_text(app).splitlines()
                assert (max(map(cell_len, lines)), len(lines)) == size
        await pilot.press("escape", "1")
        await until(pilot, lambda: "RTX 3090" in screen_text(app))


# Deployment


async def test_cancel_asks_and_names_the_machine() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_installing)
        await pilot.press("ctrl+x")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        assert "RTX 3090 from vastai" in screen_text(app)
        assert "$0.131/h" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
        assert orchestrator.calls == []
        await pilot.press("ctrl+x")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: ("cancel", ident) in orchestrator.calls)
        await caught_up(pilot, orchestrator, ident)
        await until(pilot, lambda: "Cancelled. The machine was released" in screen_text(app))
        assert "health and benchmark" not in screen_text(app), "there is nothing to see"


@pytest.mark.parametrize(
    ("key", "call"),
    [
        ("r", ("decide", "d-1", AfterFailure.RETRY)),
        ("n", ("decide", "d-1", AfterFailure.NEXT)),
        ("x", ("decide", "d-1", AfterFailure.EXCLUDE)),
        ("a", ("set_auto_failover", "d-1", True)),
    ],
)
async def test_a_failure_that_waits_offers_its_keys(key: str, call: tuple[Any, ...]) -> None:
    app, orchestrator = make_app()
    spec = DeploymentSpec("smollm2-135m", "shopper", auto_failover=False, ask_on_failure=True)
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_waiting, spec)
        text = screen_text(app)
        for word in ("disk is too small", "bigger disk", "No space left", "not from vastai"):
            assert word in text
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: call in orchestrator.calls)


@pytest.mark.parametrize(
    ("key", "named", "agreed"),
    [
        ("n", ("Take the next offer?", "RTX A5000, 24 GB VRAM", "td-7", "$0.210/h or less"), 0.21),
        ("x", ("Exclude vastai and take another offer?", "td-7", "$0.210/h or less"), 0.21),
        ("r", ("Rent the same offer again?", "RTX 3090 from vastai", "$0.131/h or less"), None),
        ("a", ("Take the next offer now, and further ones", "$0.210/h or less"), None),
    ],
)
async def test_after_a_failure_nothing_is_rented_before_its_price_was_named(
    key: str, named: tuple[str, ...], agreed: float | None
) -> None:
    app, orchestrator = make_app()
    query = OfferQuery(min_vram_gb=24)
    spec = DeploymentSpec("m", "shopper", query, auto_failover=False, ask_on_failure=True)
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_waiting, spec)
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        for words in named:
            assert words in screen_text(app)
        # Pressed once more by mistake, it is no.
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
        assert orchestrator.calls == []
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: bool(orchestrator.calls))
        assert orchestrator.agreed == agreed


@pytest.mark.parametrize("stays", [False, True])
async def test_what_was_said_before_does_not_hide_a_question(stays: bool) -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await show(pilot, orchestrator, to_serving)
        if stays:
            app.report(UsageError("it may still be billing", "look"))
        await pilot.press("c")
        await until(pilot, shows(app, "copied a curl command"))
        await pilot.press("R")
        await until(pilot, shows(app, "Release the machine?"))
        await until(pilot, lambda: ("copied" in screen_text(app)) is stays)
        assert ("it may still be billing" in screen_text(app)) is stays


async def test_who_deploys_again_is_told_what_may_still_be_billing() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_serving)
        doubt = ev.BillingChanged(1, Billing.UNKNOWN, "s-1")
        unproven = ev.AttemptFailed(1, Phase.STOPPING, "release", "may still be billing", "look")
        end = ev.DeploymentFinished("failed", None, "m", "s-1", Billing.UNKNOWN, ())
        stopping = ev.PhaseChanged(1, Phase.STOPPING)
        orchestrator.push(ident, 500, stopping, doubt, unproven, end)
        await until(pilot, shows(app, "r retry"))
        await pilot.press("r")
        await until(pilot, shows(app, "Deploy it again?"))
        assert "The machine before may still be billing as well" in screen_text(app)


async def test_who_takes_another_offer_is_told_that_the_machine_is_released() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_remedy)
        await until(pilot, shows(app, "r rent the same offer again"))
        for key in ("n", "x", "r"):
            await pilot.press(key)
            await until(pilot, shows(app, "What is rented now is released first"))
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
        failed = ev.AttemptFailed(1, Phase.STARTING, "deploy", "it ended", "try on")
        chosen = ev.ChoiceMade(1, AfterFailure.RETRY.value)
        orchestrator.push(ident, 95, chosen, failed, ev.PhaseChanged(1, Phase.FAILED))
        await until(pilot, shows(app, "It goes on as you chose"))
        assert "tried automatically" not in screen_text(app)


async def test_without_another_offer_the_key_says_so() -> None:
    app, orchestrator = make_app()
    orchestrator.listed.clear()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await show(pilot, orchestrator, to_waiting)
        await pilot.press("n")
        await until(pilot, lambda: "no suitable offers" in screen_text(app))
        assert orchestrator.calls == []


async def test_where_nothing_costs_the_next_one_is_taken_at_once() -> None:
    app, orchestrator = make_app()
    orchestrator.simulated = True
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_waiting)
        await pilot.press("n")
        await until(pilot, lambda: ("decide", ident, AfterFailure.NEXT) in orchestrator.calls)


@pytest.mark.parametrize(
    ("key", "call"),
    [("f", ("decide", "d-1", AfterFailure.FIX)), ("n", ("decide", "d-1", AfterFailure.NEXT))],
)
async def test_a_remedy_is_one_key_away_while_the_machine_is_rented(
    key: str, call: tuple[Any, ...]
) -> None:
    app, orchestrator = make_app()
    spec = DeploymentSpec("smollm2-135m", "shopper", ask_on_failure=True)
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_remedy, spec)
        text = screen_text(app)
        assert "f start again with --max-model-len 2048" in text
        assert "still rented" in text and "longer than the model's own" in text
        await pilot.press(key)
        if key == "n":
            await until(pilot, lambda: isinstance(app.screen, Confirm))
            await pilot.press("y")
        await until(pilot, lambda: call in orchestrator.calls)


async def test_without_a_remedy_for_the_machine_its_key_is_dead() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_waiting, DeploymentSpec("m", "shopper"))
        await pilot.press("f")
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: bool(orchestrator.calls))
        assert orchestrator.calls == [("decide", "d-1", AfterFailure.NEXT)]


async def test_keys_of_a_choice_are_dead_until_it_is_to_be_made() -> None:
    app, orchestrator = make_app()
    spec = DeploymentSpec("smollm2-135m", "shopper", max_attempts=2, ask_on_failure=True)
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_failed, spec)
        assert "tried automatically" in screen_text(app)
        await pilot.press("r", "n", "x", "u")
        assert orchestrator.calls == []
        orchestrator.push(ident, 92, ev.ChoiceAwaited(1))
        await until(pilot, lambda: "rent the same offer again" in screen_text(app))
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: ("decide", ident, AfterFailure.RETRY) in orchestrator.calls)


async def test_a_provider_is_brought_back_into_a_deployment() -> None:
    app, orchestrator = make_app()
    out = [ev.ExclusionSet(1, "provider", name, "SSH error") for name in ("vastai", "tensordock")]
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_waiting)
        orchestrator.push(ident, 92, *out)
        await until(pilot, lambda: "u includes tensordock, vastai" in screen_text(app))
        await pilot.press("u")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("down", "enter")
        await until(pilot, lambda: ("include_provider", ident, "vastai") in orchestrator.calls)
        await until(pilot, lambda: "u includes tensordock " in screen_text(app))
        await pilot.press("u")
        await until(pilot, lambda: ("include_provider", ident, "tensordock") in orchestrator.calls)
        await until(pilot, lambda: "u includes" not in screen_text(app))


async def test_automatic_failover_is_turned_off_while_it_works() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        ident = await show(pilot, orchestrator, to_installing)
        await pilot.press("a")
        await until(pilot, lambda: ("set_auto_failover", ident, False) in orchestrator.calls)
        await until(pilot, lambda: "machine 1 of 3, manual" in screen_text(app))
        await pilot.press("a")
        await until(pilot, lambda: ", manual" not in screen_text(app))


async def test_copies_the_endpoint() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await show(pilot, orchestrator, to_serving)
        assert ENDPOINT in screen_text(app)
        await pilot.press("y")
        assert app.clipboard == (
            f"export OPENAI_BASE_URL={ENDPOINT} OPENAI_MODEL=smollm2-135m "
            f'OPENAI_API_KEY="$(cat {KEY_FILE})"'
        )
        await until(pilot, lambda: "copied export" in screen_text(app))
        await pilot.press("c")
        assert app.clipboard.startswith(f"curl {ENDPOINT}/chat/completions")


async def test_the_palette_copies_settings_for_clients() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_serving)
        found = {each.title: each.callback for each in app.get_system_commands(app.screen)}
        found["Settings for Codex"]()
        assert tomllib.loads(app.clipboard)["model_providers"]["gdl"]["base_url"] == ENDPOINT


@pytest.mark.parametrize(
    ("key", "decision"), [("R", AfterServing.RELEASE), ("K", AfterServing.KEEP)]
)
async def test_a_held_machine_is_released_or_kept(key: str, decision: AfterServing) -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_serving)
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: ("decide", ident, decision) in orchestrator.calls)
        await caught_up(pilot, orchestrator, ident)
        kept = decision is AfterServing.KEEP
        await until(pilot, lambda: ("Still billing" in screen_text(app)) == kept)


async def test_the_log_follows_until_scrolled_then_counts() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_installing)
        pane = app.screen.query_one("#install-log", LogPane)
        lines = tuple(f"line {n} [red]x[/]" for n in range(100))
        orchestrator.push(ident, 70, LogLines(1, "install", lines, 0))
        await until(pilot, lambda: "line 99 [red]x[/]" in screen_text(app))
        assert isinstance(app.focused, LogView)
        await pilot.press("pageup")
        await until(pilot, lambda: "paused" in screen_text(app))
        orchestrator.push(ident, 71, LogLines(1, "install", ("fresh 1", "fresh 2"), 0))
        await until(pilot, lambda: "2 new lines" in screen_text(app))
        assert "fresh 2" not in screen_text(app)
        await pilot.press("end")
        await until(pilot, lambda: "fresh 2" in screen_text(app))
        assert "following" in screen_text(app)
        assert pane.view.following


async def test_long_lines_wrap_or_not() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_installing)
        orchestrator.push(ident, 70, LogLines(1, "install", ("漢字" * 40 + "END",), 0))
        await until(pilot, lambda: "END" in screen_text(app))
        await pilot.press("w")
        await until(pilot, lambda: "END" not in screen_text(app))


async def test_coming_back_shows_everything_again() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, lambda o, i: o.push(i, 2, *renting()))
        await pilot.press("1")
        await loaded(pilot)
        orchestrator.push(ident, 70, LogLines(1, "install", ("while away",), 0))
        await until(pilot, lambda: app.store.deployments[ident].install.total == 1)
        await pilot.press("2")
        await until(pilot, lambda: "while away" in screen_text(app))


async def test_vllm_log_comes_forward_when_it_begins() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_serving)
        await until(pilot, lambda: app.screen.query_one(TabbedContent).active == "engine")
        await until(pilot, lambda: "Application startup complete" in screen_text(app))


async def test_a_flood_of_lines_stays_bounded_and_responsive() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_installing)
        for batch in range(300):
            lines = tuple(f"{batch}-{n}" for n in range(200))
            orchestrator.push(ident, 70, LogLines(1, "install", lines, 0))
        followed = app.store.deployments[ident]
        await until(pilot, lambda: followed.install.total > 60_000)
        await until(pilot, lambda: "299-199" in screen_text(app))
        assert len(followed.install.since(0)) == 20_000


async def test_a_broken_stream_is_told_and_looked_at_again() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = orchestrator.begin(SPEC)
        real = orchestrator.deployments.events

        async def broken(_ident: str) -> Any:
            raise OfferGone("x", "the journal is locked")
            yield

        orchestrator.deployments.events = broken  # type: ignore[method-assign, assignment]
        app.open_deployment(ident)
        await until(pilot, lambda: "the journal is locked" in screen_text(app))
        orchestrator.deployments.events = real  # type: ignore[method-assign]
        await pilot.press("r")
        await until(pilot, lambda: "the journal is locked" not in screen_text(app))


# Health and benchmark


async def test_health_and_bench_run_again() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_serving)
        await pilot.press("b")
        await until(pilot, lambda: "per million output tokens" in screen_text(app))
        await pilot.press("h")
        await until(pilot, lambda: "connection refused" in screen_text(app))
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.screen, BenchDialog))
        await pilot.press("f1")
        # A key that the line has, too, and does nothing with.
        await until(pilot, shows(app, "Next: Next field or button"))
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, BenchDialog))
        # Its figures are below the lower edge of a small terminal.
        await pilot.resize_terminal(80, 18)
        await until(pilot, lambda: "Time to first token" not in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: ("bench", ident, OWN_LOAD) in orchestrator.calls)
        await until(pilot, shows(app, "Time to first token"))


# Sessions


async def test_destroying_names_the_price_and_waits_for_confirmation() -> None:
    orchestrator = ScriptedOrchestrator()
    orchestrator.rows = [session_row("s-1", ours=True), session_row("s-2", ours=False)]
    app, _ = make_app(orchestrator)
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await until(pilot, lambda: "Still billing 2 machines: $0.578/h" in screen_text(app))
        await pilot.press("4")
        await until(pilot, lambda: "! unknown" in screen_text(app))
        await pilot.press("j", "D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        assert "$0.289/h, $0.14 so far" in screen_text(app)
        await pilot.press("y")
        await until(pilot, lambda: ("destroy", "s-2") in orchestrator.calls)
        await until(pilot, lambda: "! unknown" not in screen_text(app))
        assert "Still billing: $0.289/h" in screen_text(app)


async def test_attaching_follows_the_session_or_says_why_not() -> None:
    orchestrator = ScriptedOrchestrator()
    orchestrator.rows = [session_row("s-1", ours=True), session_row("s-2", ours=False)]
    app, _ = make_app(orchestrator)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "! unknown" in screen_text(app))
        await pilot.press("j", "enter")
        await until(pilot, lambda: "key of this session" in screen_text(app))
        await pilot.press("k", "enter")
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))


@pytest.mark.parametrize(
    ("keys", "decision"),
    [("R", AfterServing.RELEASE), ("K", AfterServing.KEEP), ("q", AfterServing.RELEASE)],
)
async def test_what_is_attached_to_is_released_or_left_before_it_is_reached(
    keys: str, decision: AfterServing
) -> None:
    """And nothing says that a cancellation would release it: it would not."""
    orchestrator = ScriptedOrchestrator()
    orchestrator.rows = [session_row("s-1", ours=True)]
    app, _ = make_app(orchestrator)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: isinstance(app.screen, SessionsScreen))
        await loaded(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
        orchestrator.push("d-1", 1, *renting(), *rented())
        await until(pilot, lambda: "Release" in screen_text(app))
        await pilot.press("c")
        await pilot.pause()
        assert isinstance(app.screen, DeploymentScreen)
        await pilot.press(keys)
        await until(pilot, lambda: isinstance(app.screen, Confirm | QuitDialog))
        await pilot.press("r" if keys == "q" else "y")
        await wait_until(lambda: orchestrator.calls[1:] == [("decide", "d-1", decision)])


# Quitting, help, read-only


async def test_quits_at_once_when_nothing_runs() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("q")
        await ended(app)


async def test_ctrl_c_does_not_quit() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert app.is_running
        assert not app._exit


@pytest.mark.parametrize(
    ("key", "decision"), [("l", AfterServing.KEEP), ("r", AfterServing.RELEASE)]
)
async def test_quitting_while_serving_asks(key: str, decision: AfterServing) -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_serving)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: isinstance(app.screen, QuitDialog))
        assert app.focused is not None
        assert app.focused.id == "cancel"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
        assert orchestrator.calls == []
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, QuitDialog))
        await pilot.press(key)
        await ended(app)
    assert orchestrator.calls == [("decide", ident, decision)]


async def test_quitting_is_not_the_end_where_what_was_to_be_released_still_bills(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where it ended by itself, and its machine was spared, while it was asked."""
    app, orchestrator = make_app()

    async def ended_already(ident: str, *_: object, **__: object) -> None:
        orchestrator.push(
            ident, 412, ev.DeploymentFinished("failed", None, "m", "s-1", Billing.ACTIVE, ())
        )
        raise UsageError("it does not run here", "look at the sessions")

    monkeypatch.setattr(orchestrator.deployments, "decide", ended_already)
    monkeypatch.setattr(orchestrator.deployments, "cancel", nothing)
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_serving)
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, QuitDialog))
        await pilot.press("r")
        await until(pilot, lambda: app._exit or "keeps billing" in screen_text(app))
        assert app.is_running and not app._exit


async def nothing(*_: object) -> None:
    return None


async def test_what_ends_with_the_program_cannot_be_left_running() -> None:
    app, orchestrator = make_app()
    orchestrator.keeps = False
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_serving)
        await pilot.press("K")
        assert not isinstance(app.screen, Confirm)
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, QuitDialog))
        text = screen_text(app)
        assert "end when this program" in text and "Leave running" not in text
        await pilot.press("l")
        assert isinstance(app.screen, QuitDialog)


async def test_quitting_while_installing_cannot_leave_it_running() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_installing)
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, QuitDialog))
        assert "Leave running" not in screen_text(app)
        await pilot.press("l")
        assert isinstance(app.screen, QuitDialog)
        await pilot.press("r")
        await ended(app)
    assert orchestrator.calls == [("cancel", ident)]


async def test_help_is_made_from_the_bindings() -> None:
    app, _ = make_app()
    async with app.run_test(size=(120, 60)) as pilot:
        await loaded(pilot)
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        text = screen_text(app)
        for word in ("Exclude this offer's provider", "Filter as you type", "Palette", "Down"):
            assert word.casefold() in text.casefold()
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))


async def test_the_palette_has_every_action() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        told = {each.title: each.help for each in app.get_system_commands(app.screen)}
        titles = [each.title for each in app.get_system_commands(app.screen)]
    assert titles.count("Help") == titles.count("Quit") == 1 and "Keys" not in titles
    assert told["Quit"].startswith("Asks first while a machine is rented")
    assert {"Theme", "Model", "Deploy", "Filter", "Exclude", "Sessions", "Help"} <= told.keys()


async def test_every_binding_has_its_own_id() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await show(pilot, orchestrator, to_serving)
        await pilot.press("3", "4", "1")
        seen: dict[str, str] = {}
        for node in (app, *(app.get_screen_stack(mode)[0] for mode in app._screen_stacks)):
            for binding in type(node).BINDINGS:
                assert isinstance(binding, Binding)
                assert binding.id, binding
                assert binding.id not in seen, binding
                seen[binding.id] = binding.key


async def test_read_only_neither_rents_nor_destroys_and_says_so() -> None:
    orchestrator = ScriptedOrchestrator()
    orchestrator.rows = [session_row("s-1", ours=True)]
    app, _ = make_app(orchestrator, read_only=True)
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        assert "read-only" in screen_text(app)
        await choose(pilot, "tinyllama")
        await pilot.press("enter")
        await pilot.click(KeyedTable, offset=(10, 2), times=2)
        await pilot.pause()
        assert isinstance(app.screen, OffersScreen)
        await show(pilot, orchestrator, to_serving)
        await pilot.press("R", "K", "ctrl+x")
        assert isinstance(app.screen, DeploymentScreen)
        await pilot.press("4")
        await until(pilot, lambda: "ours" in screen_text(app))
        await pilot.press("D", "e")
        await pilot.pause()
        assert not isinstance(app.screen, Confirm)
    assert orchestrator.calls == []
    assert orchestrator.specs == [SPEC]


async def test_a_click_on_the_bars_works() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.click("KeyBar", offset=(2, 0))
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        items = [i for i in app.screen.query(Static) if getattr(i, "mode", "") == "health"]
        await pilot.click(items[0])
        await until(pilot, lambda: "Nothing to measure yet" in screen_text(app))


async def test_first_screen_needs_no_other_screen() -> None:
    import subprocess
    import sys

    code = (
        "import sys, gdl.tui.app; "
        "print(sorted(m for m in sys.modules if m.startswith('gdl.tui.screens.')));"
        "assert 'textual.widgets._text_area' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    # What all windows are, and no window.
    assert done.stdout.strip() == "['gdl.tui.screens.base', 'gdl.tui.screens.modal']"
