"""Pictures of the main states, kept in `snapshots/`. Renew with `pytest --snapshot-update`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_textual_snapshot
from pytest_textual_snapshot import SVGImageExtension
from textual.pilot import Pilot
from textual.widgets import Input

from gdl.conversations.files import ConversationFiles, SavedConversation
from gdl.domain.chat import ChatDone, ChatOptions, ChatPiece
from gdl.domain.errors import BackendUnreachable
from gdl.domain.offers import Exclusion
from gdl.domain.spec import DeploymentSpec
from gdl.tui.screens.chat_lists import ConversationsDialog
from gdl.tui.screens.deployment import DeploymentScreen
from gdl.tui.screens.model_dialog import ModelDialog
from gdl.tui.store import Followed
from tui_pilot import app_of, screen_text, until
from tui_support import (
    SPEC,
    START,
    Clock,
    ScriptedOrchestrator,
    make_app,
    measured,
    renting,
    to_failed,
    to_installing,
    to_serving,
)

SMALL, LARGE = (80, 24), (120, 40)
Compare = Callable[..., bool]


class TopLevelSvg(SVGImageExtension):
    """Puts the pictures into `snapshots/` beside `tests/`, in a folder per test file."""

    @classmethod
    def dirname(cls, *, test_location: Any) -> str:
        test_file = Path(test_location.filepath)
        return str(test_file.parent.parent / "snapshots" / test_file.stem)


@pytest.fixture
def picture(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Compare:
    monkeypatch.setattr(pytest_textual_snapshot, "SVGImageExtension", TopLevelSvg)
    compare: Compare = request.getfixturevalue("snap_compare")
    return compare


async def settle(pilot: Pilot[Any], needed: Callable[[], bool] = lambda: True) -> None:
    """Wait until the app has painted what it has, and `needed` holds."""
    await pilot.pause(0.01)
    await until(pilot, needed)


def at(seconds: float) -> Clock:
    clock = Clock()
    clock.forward(seconds)
    return clock


def followed(pilot: Pilot[Any]) -> Followed:
    """The deployment on the screen."""
    shown = app_of(pilot).store.followed
    assert shown is not None
    return shown


async def open_deployment(
    pilot: Pilot[Any],
    orchestrator: ScriptedOrchestrator,
    script: Callable[[ScriptedOrchestrator, str], None],
    spec: DeploymentSpec = SPEC,
) -> None:
    ident = orchestrator.begin(spec)
    script(orchestrator, ident)
    app_of(pilot).open_deployment(ident)
    await settle(
        pilot,
        lambda: (
            isinstance(pilot.app.screen, DeploymentScreen)
            and followed(pilot).state.last_seq >= orchestrator.deployments.state(ident).last_seq
        ),
    )


async def choose(pilot: Pilot[Any], name: str) -> None:
    """Choose a model by its dialog, the name put in at once."""
    await pilot.press("m")
    await settle(pilot, lambda: isinstance(pilot.app.screen, ModelDialog))
    pilot.app.screen.query_one(Input).value = name
    await pilot.press("enter")
    await settle(pilot)


def test_offers_without_two_providers(picture: Compare) -> None:
    """Both are greyed with the reason; one of them because of what was remembered."""
    orchestrator = ScriptedOrchestrator()
    orchestrator.left_out = [
        Exclusion("provider", "bluelobster", "no refunds", START, None, scope="user"),
        Exclusion("machine", "m-td-12", "failed: no driver", START, START + timedelta(days=1)),
    ]
    app, _ = make_app(orchestrator)

    async def before(pilot: Pilot[Any]) -> None:
        await choose(pilot, "tinyllama")
        await pilot.press("x")
        await settle(pilot)
        await pilot.press("G")
        await settle(pilot)
        pilot.app.clear_notifications()

    assert picture(app, terminal_size=LARGE, run_before=before)


def test_offers_unreachable(picture: Compare) -> None:
    orchestrator = ScriptedOrchestrator()
    orchestrator.error = BackendUnreachable(
        "nothing answers at http://localhost:8080", "start cloud-gpu-shopper, or use --backend ssh"
    )
    app, _ = make_app(orchestrator)
    assert picture(app, terminal_size=SMALL, run_before=settle)


def test_second_attempt(picture: Compare) -> None:
    app, orchestrator = make_app(ScriptedOrchestrator(at(170)))

    def script(o: ScriptedOrchestrator, ident: str) -> None:
        to_failed(o, ident)
        to_installing(o, ident, 2, 95)

    async def before(pilot: Pilot[Any]) -> None:
        await open_deployment(pilot, orchestrator, script)

    assert picture(app, terminal_size=LARGE, run_before=before)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_health_and_benchmark(picture: Compare, size: tuple[int, int]) -> None:
    app, orchestrator = make_app(ScriptedOrchestrator(at(600)))

    async def before(pilot: Pilot[Any]) -> None:
        await open_deployment(pilot, orchestrator, to_serving)
        await pilot.press("3")
        await settle(pilot)

    assert picture(app, terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_compare(picture: Compare, size: tuple[int, int]) -> None:
    app, orchestrator = make_app(ScriptedOrchestrator(at(600)))
    orchestrator.measured = [
        *measured("RTX 4090", 0.289, {1: 140.0, 2: 262.0, 4: 480.0, 8: 770.0, 16: 900.0}),
        *measured("RTX 3090", 0.12, {1: 92.0, 2: 170.0, 4: 310.0, 8: 420.0}),
    ]

    async def before(pilot: Pilot[Any]) -> None:
        await open_deployment(pilot, orchestrator, to_serving)
        await pilot.press("3", "c")
        await settle(pilot)

    assert picture(app, terminal_size=size, run_before=before)


def test_sweep_running(picture: Compare) -> None:
    app, orchestrator = make_app(ScriptedOrchestrator(at(600)))
    orchestrator.measured = measured("RTX 3090", 0.12, {1: 92.0, 2: 170.0, 4: 310.0})
    orchestrator.gate = asyncio.Event()

    async def before(pilot: Pilot[Any]) -> None:
        await open_deployment(pilot, orchestrator, to_serving)
        await pilot.press("3", "c", "w")
        await settle(pilot)

    assert picture(app, terminal_size=SMALL, run_before=before)


def test_story(picture: Compare) -> None:
    app, orchestrator = make_app(ScriptedOrchestrator(at(600)))

    async def before(pilot: Pilot[Any]) -> None:
        await open_deployment(pilot, orchestrator, to_serving)
        await pilot.press("l")
        await settle(pilot)

    assert picture(app, terminal_size=SMALL, run_before=before)


MARKDOWN = """The capital of France is **Paris**. It lies on the *Seine*.

1. [Louvre](https://louvre.example/visit)
2. `Eiffel` tower

```python
def capital(country):
    return {"France": "Paris"}[country]
```

| city | people |
|---|---|
| Paris | 2 million |
"""
THOUGHTS = "The user asks for a capital. That of France is Paris."


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_chat(picture: Compare, size: tuple[int, int]) -> None:
    app, orchestrator = make_app(ScriptedOrchestrator(at(600)))
    orchestrator.said = [
        ChatPiece(THOUGHTS, reasoning=True),
        ChatPiece(MARKDOWN),
        ChatDone(41.2, 141.3, 64, "length"),
    ]

    async def before(pilot: Pilot[Any]) -> None:
        await open_deployment(pilot, orchestrator, to_serving)
        await pilot.press("5")
        await settle(pilot)
        followed(pilot).chat.options = ChatOptions(temperature=0.2, max_tokens=64)
        await pilot.press(*"Capital?", "enter")
        await settle(pilot, lambda: "million" in screen_text(app_of(pilot)))

    assert picture(app, terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_chat_options(picture: Compare, size: tuple[int, int]) -> None:
    app, orchestrator = make_app(ScriptedOrchestrator(at(600)))

    async def before(pilot: Pilot[Any]) -> None:
        await open_deployment(pilot, orchestrator, to_serving)
        followed(pilot).chat.options = ChatOptions("You answer in one word.", 0.2, top_p=0.9)
        await pilot.press("5")
        await settle(pilot)
        await pilot.press("f12")
        await settle(pilot)

    assert picture(app, terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_chat_copies(picture: Compare, size: tuple[int, int]) -> None:
    app, orchestrator = make_app(ScriptedOrchestrator(at(600)))
    orchestrator.said = [ChatPiece(MARKDOWN), ChatDone(41.2, 141.3, 64, "stop")]

    async def before(pilot: Pilot[Any]) -> None:
        await open_deployment(pilot, orchestrator, to_serving)
        await pilot.press("5")
        await settle(pilot)
        await pilot.press(*"Capital?", "enter")
        await settle(pilot, lambda: "million" in screen_text(app_of(pilot)))
        await pilot.press("f5")
        await settle(pilot)

    assert picture(app, terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_saved_chats(picture: Compare, size: tuple[int, int]) -> None:
    app, _orchestrator = make_app(ScriptedOrchestrator(at(600)))
    rows = [
        SavedConversation("a", START, "smollm2-135m", "What is the capital of France?", 3),
        SavedConversation("b", START - timedelta(days=2), "qwen3-8b", "Write a haiku", 1),
        SavedConversation("c", START - timedelta(days=9), "", "", 0, "cannot read c.json: no JSON"),
    ]

    async def before(pilot: Pilot[Any]) -> None:
        await pilot.press("5")
        files = ConversationFiles(Path("/home/me/.local/share/gdl-tui"))
        app.push_screen(ConversationsDialog(files, rows))
        await settle(pilot)

    assert picture(app, terminal_size=size, run_before=before)


def test_quit_while_renting(picture: Compare) -> None:
    app, orchestrator = make_app(ScriptedOrchestrator(at(10)))

    async def before(pilot: Pilot[Any]) -> None:
        await open_deployment(pilot, orchestrator, lambda o, i: o.push(i, 2, *renting()))
        await pilot.press("q")
        await settle(pilot)

    assert picture(app, terminal_size=SMALL, run_before=before)
