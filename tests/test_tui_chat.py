"""The chat: questions, streamed answers and their figures, the lines to copy."""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import Any

import pytest
from textual.pilot import Pilot

from gdl.domain.chat import ChatDone, ChatMessage, ChatPiece
from gdl.domain.decisions import AfterServing
from gdl.tui.screens.chat import ChatLine, ChatScreen
from gdl.tui.screens.deployment import DeploymentScreen
from gdl.tui.store import TURNS_KEPT
from tui_pilot import SIZE, screen_text, show, until
from tui_support import (
    ENDPOINT,
    KEY_FILE,
    ScriptedOrchestrator,
    make_app,
    to_installing,
    to_serving,
)

pytestmark = pytest.mark.long

ANSWER: list[ChatPiece | ChatDone] = [
    ChatPiece("The capital of France "),
    ChatPiece("is [b]Paris[/b].\x1b[31m\n\x1b]0;t\x07And more."),
    ChatDone(41.0, 141.2, 12, "stop"),
]


async def talking(pilot: Pilot[Any], orchestrator: ScriptedOrchestrator) -> str:
    ident = await show(pilot, orchestrator, to_serving)
    await pilot.press("t")
    await until(pilot, lambda: isinstance(pilot.app.screen, ChatScreen))
    await until(pilot, lambda: isinstance(pilot.app.focused, ChatLine))
    return ident


async def ask(pilot: Pilot[Any], question: str) -> None:
    pilot.app.screen.query_one(ChatLine).value = question
    await pilot.press("enter")


async def test_an_answer_streams_and_its_figures_stand_below() -> None:
    app, orchestrator = make_app()
    orchestrator.said = list(ANSWER)
    async with app.run_test(size=SIZE) as pilot:
        ident = await talking(pilot, orchestrator)
        await pilot.press(*"hi", "enter")
        await until(pilot, lambda: "TTFT 41 ms · 141.2 tokens/s · 12 tokens" in screen_text(app))
        text = screen_text(app)
        assert "is [b]Paris[/b]." in text and "And more." in text and "\x1b" not in text
        await ask(pilot, "and Spain?")
        await until(pilot, lambda: screen_text(app).count("TTFT") == 2)
    assert orchestrator.calls[0] == ("chat", ident, (ChatMessage("user", "hi"),))
    roles = [message.role for message in orchestrator.calls[1][2]]
    assert roles == ["user", "assistant", "user"]


async def test_esc_stops_the_answer_and_then_leaves() -> None:
    app, orchestrator = make_app()
    orchestrator.said = [ChatPiece("half an ans"), ChatDone(1.0, 1.0, 1, "stop")]
    async with app.run_test(size=SIZE) as pilot:
        await talking(pilot, orchestrator)
        orchestrator.gate = asyncio.Event()
        await ask(pilot, "hi")
        await until(pilot, lambda: "… 0 s" in screen_text(app))
        await ask(pilot, "again")
        assert len(orchestrator.calls) == 1, "one at a time"
        await pilot.press("escape")
        await until(pilot, lambda: "– stopped" in screen_text(app))
        assert isinstance(app.screen, ChatScreen)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))
        await pilot.press("5")
        await until(pilot, lambda: "– stopped" in screen_text(app))
        await pilot.press("f4")
        await until(pilot, lambda: "– stopped" not in screen_text(app))


async def test_an_error_is_told_and_the_next_question_works() -> None:
    app, orchestrator = make_app()
    orchestrator.said = [ChatDone(None, None, None, None, "HTTP 500: [b]boom[/b]")]
    async with app.run_test(size=SIZE) as pilot:
        await talking(pilot, orchestrator)
        await ask(pilot, "hi")
        await until(pilot, lambda: "✗ HTTP 500: [b]boom[/b]" in screen_text(app))
        orchestrator.said = list(ANSWER)
        await ask(pilot, "again")
        await until(pilot, lambda: "TTFT 41 ms" in screen_text(app))
    assert [m.content for m in orchestrator.calls[1][2]] == ["again"]


async def test_the_lines_to_copy_ask_the_same_and_hold_no_key() -> None:
    app, orchestrator = make_app()
    orchestrator.said = list(ANSWER)
    async with app.run_test(size=SIZE) as pilot:
        await talking(pilot, orchestrator)
        await pilot.press("f2")
        assert "What is 2 + 2?" in app.clipboard
        await ask(pilot, 'it\'s "quoted" $(x)')
        await until(pilot, lambda: "TTFT" in screen_text(app))
        await pilot.press("f2")
        words = shlex.split(app.clipboard)
        assert words[1] == f"{ENDPOINT}/chat/completions"
        sent = json.loads(words[-1])["messages"]
        assert sent == [{"role": "user", "content": 'it\'s "quoted" $(x)'}]
        await pilot.press("f3")
        compile(app.clipboard, "copied", "exec")
        assert KEY_FILE in app.clipboard and ENDPOINT in app.clipboard


async def test_there_is_nothing_to_talk_to_before_it_serves() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: "Nothing serves here yet" in screen_text(app))
        await show(pilot, orchestrator, to_installing)
        await pilot.press("t")
        assert isinstance(app.screen, DeploymentScreen)
        await pilot.press("5")
        await until(pilot, lambda: "Nothing serves here yet" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))


async def test_history_stays_when_it_no_longer_serves() -> None:
    app, orchestrator = make_app()
    orchestrator.said = list(ANSWER)
    async with app.run_test(size=SIZE) as pilot:
        ident = await talking(pilot, orchestrator)
        await ask(pilot, "hi")
        await until(pilot, lambda: "TTFT" in screen_text(app))
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        await until(pilot, lambda: app.screen.query_one(ChatLine).disabled)
        assert "TTFT" in screen_text(app)


async def test_the_paging_keys_move_the_conversation_and_it_has_an_end() -> None:
    app, orchestrator = make_app()
    orchestrator.said = [ChatPiece("\n".join(f"line {n}" for n in range(60))), ANSWER[-1]]
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await talking(pilot, orchestrator)
        await ask(pilot, "hi")
        await until(pilot, lambda: "line 59" in screen_text(app))
        await pilot.press("pageup")
        await until(pilot, lambda: "line 59" not in screen_text(app))
        await pilot.press("pagedown")
        await until(pilot, lambda: "line 59" in screen_text(app))
        assert app.store.followed is not None
        app.store.followed.chat[:] *= TURNS_KEPT
        await ask(pilot, "one more")
        await until(pilot, lambda: "200 questions are enough" in screen_text(app))
        assert len(orchestrator.calls) == 1
