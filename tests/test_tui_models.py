"""The picker of models: search, variants, sliders, and the memory of one GPU."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import pytest
from textual.widgets import Input, OptionList

import tui_support
from gdl.domain.errors import HubAway
from gdl.domain.offers import Offer
from gdl.orchestrator.api.model_views import ModelRow
from gdl.tui.screens.model_dialog import ModelDialog
from gdl.tui.screens.offers import OffersScreen
from gdl.tui.widgets.load_fields import Cycle
from gdl.tui.widgets.slider import Slider
from tui_pilot import SIZE, app_of, loaded, screen_text, shows, until
from tui_support import ON_HUB, ScriptedOrchestrator, make_app


def with_hub() -> ScriptedOrchestrator:
    made = ScriptedOrchestrator()
    made.on_hub = ON_HUB
    return made


async def test_the_hub_is_searched_once_the_typing_pauses() -> None:
    app, orchestrator = make_app(with_hub())
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("m", *"mistral")
        await until(pilot, shows(app_of(pilot), "hub: 3 found"))
        assert orchestrator.searches[-1] == "mistral"
        text = screen_text(app)
        # The program's own model first; of the others downloads, licence, token and what fits.
        assert text.index("mistral-7b") < text.index("acme/mistral-tuned-7b")
        assert "91.3k" in text and "29.6M" in text and "needed" in text
        assert "✓ 1 x 32k" in text and "✗ 228.3 GB" in text
        await pilot.press("down", "enter")
        await until(pilot, lambda: orchestrator.queries[-1].model == "acme/mistral-tuned-7b")


async def test_an_alias_that_is_typed_to_its_end_is_meant_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some = tui_support.MODELS[3]
    longer = replace(some, alias="deepseek-r1-qwen3-8b")
    monkeypatch.setattr(tui_support, "MODELS", (longer, replace(some, alias="qwen3-8b")))
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("m", *"qwen3-8b")
        await until(pilot, shows(app_of(pilot), "deepseek-r1-qwen3-8b"))
        await pilot.press("enter")
        await until(pilot, lambda: orchestrator.queries[-1].model == "qwen3-8b")


async def test_a_hub_that_is_away_leaves_the_catalogue_and_a_word() -> None:
    app, orchestrator = make_app()
    orchestrator.on_hub = HubAway("the hub does not answer")
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("m", *"mistral")
        await until(pilot, shows(app_of(pilot), "the hub does not answer · catalogue"))
        assert "mistral-7b" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: orchestrator.queries[-1].model == "mistral-7b")


async def test_sliders_by_keys_and_mouse_move_the_bar_and_the_answer() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot)
        await pilot.press("m", *"mistral-7b", "tab")
        await until(pilot, shows(app_of(pilot), "fits 14 x 4k"))
        screen = app.screen
        context = screen.query_one("#context-slider", Slider)
        assert context.has_focus and context.value == 4096
        await pilot.press("right")
        assert screen.query_one("#context", Input).value == "8192"
        await until(pilot, shows(app_of(pilot), "fits 7 x 8k"))
        # As long as the model takes, and no longer.
        await pilot.press("end")
        assert screen.query_one("#context", Input).value == "32768"
        await until(pilot, shows(app_of(pilot), "GB too much"))
        assert "✗ 9." in screen_text(app) and "1 x 32k fits" in screen_text(app)
        await pilot.click(context, offset=(0, 0))
        assert context.value == 1024
        await pilot.press("tab", "tab", "right")
        assert screen.query_one("#concurrency", Input).value == "8"
        # A bigger GPU holds it: the bar is that one's.
        screen.query_one("#gpu", Cycle).focus()
        await pilot.press("right", "right", "right")
        await until(pilot, shows(app_of(pilot), "H100 80GB"))
        await until(pilot, shows(app_of(pilot), "free"))
        await pilot.press("enter")
        await until(pilot, lambda: orchestrator.queries[-1].concurrency == 8)
        assert orchestrator.queries[-1].context == 1024


async def test_a_machine_without_a_gpu_is_not_counted_as_an_rtx_4090() -> None:
    cpu = Offer("local", "local", "local", "CPU (2 cores, 24 GB)", 0, 0.0, 0.0)
    app, _ = make_app(ScriptedOrchestrator(offers=(cpu,)))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, shows(app_of(pilot), "CPU only"))
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        await until(pilot, shows(app_of(pilot), "Not calculated for a machine without a GPU"))
        text = screen_text(app)
        assert "CPU (2 cores, 24 GB)" in text and "RTX 4090" not in text
        # A GPU can still be looked at.
        app.screen.query_one("#gpu", Cycle).focus()
        await pilot.press("right")
        await until(pilot, shows(app_of(pilot), "RTX 4090"))
        assert "Not calculated" not in screen_text(app)


async def test_a_variant_takes_the_place_of_the_model() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        app.screen.query_one("#model-name", Input).value = "Qwen/Qwen3-14B"
        await until(pilot, shows(app_of(pilot), "variant fits"))
        cycle = app.screen.query_one("#variant", Cycle)
        cycle.focus()
        await pilot.press("right")
        assert cycle.value == "Qwen/Qwen3-14B-FP8"
        await until(pilot, shows(app_of(pilot), "FP8, 1"))
        await pilot.press("enter")
        await until(pilot, lambda: orchestrator.queries[-1].model == "Qwen/Qwen3-14B-FP8")


async def test_escape_leaves_all_as_it_was_while_the_hub_is_asked() -> None:
    app, orchestrator = make_app(with_hub())
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        asked = len(orchestrator.queries)
        await pilot.press("m", *"mis", "escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        assert len(orchestrator.queries) == asked


async def test_offers_say_what_each_gpu_holds_and_what_would_fit() -> None:
    app, _ = make_app()
    async with app.run_test(size=(200, 30)) as pilot:
        await loaded(pilot)
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        app.screen.query_one("#model-name", Input).value = "Qwen/Qwen3-14B"
        await until(pilot, lambda: app.screen.query_one(OptionList).option_count > 0)
        await pilot.press("enter")
        await until(pilot, shows(app_of(pilot), "fits 70 x 4k"))
        text = screen_text(app)
        assert "no: 10.1 GB short; FP8 variant" in text


async def test_a_gguf_repository_asks_for_one_of_its_files_before_anything_begins() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        asked = len(orchestrator.queries)
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        name = app.screen.query_one("#model-name", Input)
        name.value = "qwen3-8b:gguf"
        await until(pilot, shows(app_of(pilot), "such as qwen3-8b:Q4_K_M"))
        assert "unknown model" not in screen_text(app) and "fits 9" not in screen_text(app)
        await pilot.press("enter")
        assert isinstance(app.screen, ModelDialog) and len(orchestrator.queries) == asked
        name.value = "qwen3-8b:Q4_K_M"
        await until(pilot, shows(app_of(pilot), "weights 5.0"))
        await pilot.press("enter")
        await until(pilot, lambda: orchestrator.queries[-1].model == "qwen3-8b:Q4_K_M")


async def test_the_answer_stays_in_a_low_terminal() -> None:
    app, _ = make_app()
    async with app.run_test(size=(50, 15)) as pilot:
        await loaded(pilot)
        await pilot.press("m", *"mistral-7b")
        await until(pilot, shows(app_of(pilot), "fits 14 x 4k"))


async def test_the_list_begins_with_what_fits_nearly_everywhere() -> None:
    app, orchestrator = make_app()
    *rest, unsized = orchestrator.market.models()
    sized = [replace(row, size_gb=(row.parameters_b or 0.0) * 2) for row in rest]
    orchestrator.market.models = lambda: [unsized, *reversed(sized)]  # type: ignore[method-assign]
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        listed = app.screen.query_one("#model-list", OptionList)
        there = [listed.get_option_at_index(n).id for n in range(listed.option_count)]
        assert there == [row.alias for row in (*sized, unsized)]
        assert listed.highlighted == 0


async def test_what_was_counted_stays_below_an_answer_of_two_lines() -> None:
    app, _ = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        app.screen.query_one("#model-name", Input).value = "mistral-7b"
        app.screen.query_one("#context", Input).value = "16384"
        app.screen.query_one("#concurrency", Input).value = "8"
        app.screen.query_one("#quantization").focus()
        await pilot.press("right")
        await until(pilot, shows(app_of(pilot), "8 requests of 16,384 tokens; 39 GB disk"))
        await until(pilot, shows(app_of(pilot), "Esc cancels"))


async def test_answers_that_come_while_the_picker_closes_are_for_nobody() -> None:
    app, orchestrator = make_app()

    async def answered(rows: Sequence[ModelRow]) -> AsyncGenerator[ModelRow]:
        while True:
            for row in rows:
                await asyncio.sleep(0)
                yield row

    orchestrator.market.answered = answered  # type: ignore[method-assign]
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        for key in ("enter", "escape"):
            await pilot.press("m")
            await until(pilot, lambda: isinstance(app.screen, ModelDialog))
            await pilot.press(key)
            await until(pilot, lambda: isinstance(app.screen, OffersScreen))
