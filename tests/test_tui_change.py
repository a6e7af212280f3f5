"""A failed deployment, changed in a dialog and tried again."""

from __future__ import annotations

from dataclasses import replace

from textual.events import Key
from textual.widgets import Input

from gdl.domain import events as ev
from gdl.domain.change import Change
from gdl.domain.errors import UsageError
from gdl.domain.phase import Billing, Phase
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.tui.screens.change_dialog import ChangeDialog
from gdl.tui.screens.deployment import DeploymentScreen
from tui_pilot import SIZE, screen_text, show, until
from tui_support import SPEC, ScriptedOrchestrator, make_app, to_failed, to_remedy, to_waiting

ARGS = DeploymentSpec(
    SPEC.model, SPEC.backend, SPEC.query, engine_args=("--max-num-seqs", "8"), ask_on_failure=True
)


def typed(app: object, name: str, text: str) -> None:
    app.screen.query_one(f"#change-{name}", Input).value = text  # type: ignore[attr-defined]


def test_a_change_says_what_is_other_than_before() -> None:
    now = Change.none_of(ARGS)
    assert now.of(ARGS) == ARGS and now.words(ARGS) == "nothing changed"
    changed = replace(now, context=8192, quantization="fp8", engine_args=(), token=Secret("hf_x"))
    words = "context 8192, weights fp8, arguments none, another token"
    assert changed.words(ARGS) == words and "hf_x" not in repr(changed)
    assert changed.of(ARGS).query.context == 8192


async def test_what_failed_is_edited_and_tried_again_on_the_machine_that_is_held() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        ident = await show(pilot, orchestrator, to_remedy, ARGS)
        await until(pilot, lambda: "m change context, arguments, token" in screen_text(app))
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, ChangeDialog))
        assert "On this machine, reusing what is" in screen_text(app)
        assert app.screen.query_one("#change-arguments", Input).value == "--max-num-seqs 8"
        typed(app, "context", "many")
        await pilot.press("enter")
        await until(pilot, lambda: "Context: a whole number" in screen_text(app))
        typed(app, "context", "2,048")
        typed(app, "token", "hf_secret")
        await until(pilot, lambda: "hf_secret" not in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
        change = Change(2048, None, "", ("--max-num-seqs", "8"), Secret("hf_secret"))
        assert orchestrator.calls == [("change", ident, change, None)]
        await until(pilot, lambda: "once more: context 2048" in screen_text(app))


async def test_what_is_typed_behind_a_key_is_not_taken_by_it() -> None:
    """Several keys may arrive together, or while the computer is busy."""
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_remedy, ARGS)
        await until(pilot, lambda: "m change context, arguments, token" in screen_text(app))
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, ChangeDialog))
        for key in ("9", "ctrl+u", "2", "5", "backspace", "0", "4", "8", "enter"):
            app.post_message(Key(key, key if len(key) == 1 else None))
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
        change = Change(2048, None, "", ("--max-num-seqs", "8"))
        assert orchestrator.calls == [("change", ident, change, None)]


async def test_what_was_typed_is_there_again_where_it_cannot_be() -> None:
    app, orchestrator = make_app()
    orchestrator.bills = False
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await show(pilot, orchestrator, to_waiting, ARGS)
        orchestrator.error = UsageError("smollm2-135m takes 8,192 tokens at most", "ask for less")
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, ChangeDialog))
        first = app.screen
        typed(app, "context", "9000")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChangeDialog) and app.screen is not first)
        await until(pilot, lambda: "takes 8,192" in screen_text(app))
        assert app.screen.query_one("#change-context", Input).value == "9000"
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))


def over(o: ScriptedOrchestrator, ident: str) -> None:
    to_failed(o, ident)
    o.push(
        ident, 95,
        ev.DeploymentFinished("failed", None, "smollm2-135m", "s-1", Billing.RELEASED, ()),
    )  # fmt: skip


async def test_one_that_is_over_is_deployed_anew_as_changed() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, over, ARGS)
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, ChangeDialog))
        assert not app.screen.query("#change-token")
        assert "As a new deployment." in screen_text(app)
        typed(app, "weights", "fp8")
        await pilot.press("enter")
        await until(pilot, lambda: "Changed    weights fp8" in screen_text(app))
        assert len(orchestrator.specs) == 1
        await pilot.press("y")
        await until(pilot, lambda: len(orchestrator.specs) == 2)
    assert orchestrator.specs[-1] == replace(ARGS, query=replace(ARGS.query, quantization="fp8"))


async def test_one_that_ends_while_it_is_edited_is_deployed_anew() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_remedy, ARGS)
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, ChangeDialog))
        typed(app, "context", "2048")
        orchestrator.deployments._finish(ident, "failed", Phase.FAILED, Billing.RELEASED)
        followed = app.store.followed
        assert followed is not None
        await until(pilot, lambda: followed.state.finished is not None)
        await pilot.press("enter")
        await until(pilot, lambda: "Deploy it again?" in screen_text(app))
        await pilot.press("y")
        await until(pilot, lambda: len(orchestrator.specs) == 2)
    assert orchestrator.calls == []
    assert orchestrator.specs[-1].query.context == 2048
