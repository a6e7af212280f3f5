"""The chat: questions, streamed answers and their figures, the lines to copy."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from textual._xterm_parser import XTermParser
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets.markdown import MarkdownBlock

from gdl.conversations.files import ConversationFiles
from gdl.domain.chat import ChatDone, ChatMessage, ChatOptions, ChatPiece
from gdl.domain.conversation import TURNS_KEPT, Conversation
from gdl.domain.decisions import AfterServing
from gdl.tui.app import GdlApp
from gdl.tui.screens.chat import ChatScreen
from gdl.tui.screens.chat_lists import ConversationsDialog, CopyDialog
from gdl.tui.screens.chat_options import ChatOptionsDialog
from gdl.tui.screens.deployment import DeploymentScreen
from gdl.tui.screens.sessions import SessionsScreen
from gdl.tui.store import Store
from gdl.tui.terminal import tell_alt_digits
from gdl.tui.widgets.answer import Answer
from gdl.tui.widgets.chat_line import ChatLine
from gdl.tui.widgets.chat_turn import TurnView
from tui_pilot import SIZE, loaded, screen_text, show, until
from tui_support import (
    ENDPOINT,
    KEY_FILE,
    START,
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
    pilot.app.screen.query_one(ChatLine).text = question
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
        await pilot.press("alt+5")
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
        await until(pilot, lambda: "Nothing is served yet" in screen_text(app))
        await show(pilot, orchestrator, to_installing)
        await pilot.press("t")
        assert isinstance(app.screen, DeploymentScreen)
        await pilot.press("5")
        await until(pilot, lambda: "Nothing is served yet" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, DeploymentScreen))


async def test_where_nothing_is_served_digits_lead_to_other_screens() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("5")
        await until(pilot, lambda: "4 the sessions" in screen_text(app))
        await until(pilot, lambda: app.focused is None)
        await pilot.press("4")
        await until(pilot, lambda: "Nothing is rented" in screen_text(app))
        await show(pilot, orchestrator, to_serving)
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.focused, ChatLine))
        assert isinstance(app.focused, ChatLine) and app.focused.text == ""


@pytest.mark.parametrize(("key", "title"), [("f6", "Where do machines come"), ("f7", "Doctor")])
async def test_the_keys_of_windows_work_while_a_question_is_typed(key: str, title: str) -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, orchestrator, to_serving)
        await pilot.press("t", *"Why", key)
        await until(pilot, lambda: title in screen_text(app))


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
    orchestrator.said = [ChatPiece("\n\n".join(f"line {n}" for n in range(60))), ANSWER[-1]]
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await talking(pilot, orchestrator)
        await ask(pilot, "hi")
        await until(pilot, lambda: "line 59" in screen_text(app))
        await pilot.press("pageup")
        await until(pilot, lambda: "line 59" not in screen_text(app))
        await pilot.press("pagedown")
        await until(pilot, lambda: "line 59" in screen_text(app))
        assert app.store.followed is not None
        app.store.followed.chat.turns[:] *= TURNS_KEPT
        await ask(pilot, "one more")
        await until(pilot, lambda: "200 questions is the limit" in screen_text(app))
        assert len(orchestrator.calls) == 1


def line(app: GdlApp) -> ChatLine:
    return app.screen.query_one(ChatLine)


async def test_earlier_questions_come_back_and_a_question_has_lines() -> None:
    app, orchestrator = make_app()
    orchestrator.said = list(ANSWER)
    async with app.run_test(size=SIZE) as pilot:
        await talking(pilot, orchestrator)
        for question in ("first", "second"):
            await ask(pilot, question)
            await until(pilot, lambda: not app.store.conversation.running)
        await pilot.press(*"draft", "ctrl+j", *"two")
        assert line(app).text == "draft\ntwo"
        await pilot.press("up")
        assert line(app).text == "draft\ntwo", "there was a line above"
        await pilot.press("up")
        assert line(app).text == "second"
        await pilot.press("up", "up")
        assert line(app).text == "first", "there is none before"
        await pilot.press("down", "down")
        assert line(app).text == "draft\ntwo"
        await pilot.press("enter", *"next")
        await until(pilot, lambda: len(orchestrator.calls) == 3)
        assert orchestrator.calls[-1][2][-1].content == "draft\ntwo" and line(app).text == "next"


async def test_digits_are_typed_and_with_alt_they_switch() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=(120, 24)) as pilot:
        await talking(pilot, orchestrator)
        await pilot.press("1", "2", "q", "question_mark")
        assert line(app).text == "12q?" and "alt+1-5 Screens" in screen_text(app)
        await pilot.press("alt+4")
        await until(pilot, lambda: isinstance(app.screen, SessionsScreen))


async def test_an_answer_and_a_code_block_are_copied() -> None:
    app, orchestrator = make_app()
    code = "Do this:\n\n```python\nx = 1\n```\n"
    orchestrator.said = [ChatPiece(code), ANSWER[-1]]
    async with app.run_test(size=SIZE) as pilot:
        await talking(pilot, orchestrator)
        await ask(pilot, "how?")
        await until(pilot, lambda: "x = 1" in screen_text(app))
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(app.screen, CopyDialog))
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.clipboard == "x = 1")
        await pilot.press("f5", "enter")
        await until(pilot, lambda: app.clipboard == code.strip("\n"))


async def test_options_are_asked_for_and_sent() -> None:
    app, orchestrator = make_app()
    orchestrator.said = list(ANSWER)
    async with app.run_test(size=(120, 30)) as pilot:
        await talking(pilot, orchestrator)
        await pilot.press("f12")
        await until(pilot, lambda: isinstance(app.screen, ChatOptionsDialog))
        await pilot.press(*"Brief.", "tab", *"9", "ctrl+s")
        await until(pilot, lambda: "temperature: a number from 0 to 2" in screen_text(app))
        await pilot.press("backspace", *"0.5", "tab", "tab", *"64", "enter")
        await until(pilot, lambda: "temperature 0.5, max tokens 64" in screen_text(app))
        await ask(pilot, "hi")
        await until(pilot, lambda: bool(orchestrator.asked_with))
        assert orchestrator.asked_with == [ChatOptions("Brief.", 0.5, None, 64)]
        assert orchestrator.calls[0][2][0] == ChatMessage("system", "Brief.")


async def test_conversations_are_kept_opened_again_and_deleted(tmp_path: Path) -> None:
    app, orchestrator = make_app(data_dir=tmp_path)
    orchestrator.said = list(ANSWER)
    files = ConversationFiles(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("5", "ctrl+o")
        await until(pilot, lambda: "None yet" in screen_text(app))
        await pilot.press("escape")
        await talking(pilot, orchestrator)
        await ask(pilot, "remember me")
        await until(pilot, lambda: bool(files.rows() and files.rows()[0].turns))
        await pilot.press("f4")
        await until(pilot, lambda: "remember me" not in screen_text(app))
        await pilot.press("ctrl+o")
        await until(pilot, lambda: "1 question: remember me" in screen_text(app))
        assert str(files.folder)[:40] in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: "And more." in screen_text(app))
        await ask(pilot, "go on")
        await until(pilot, lambda: len(orchestrator.calls) == 2)
        assert [m.content for m in orchestrator.calls[1][2]][::2] == ["remember me", "go on"]
        await until(pilot, lambda: files.rows()[0].turns == 2)
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, ConversationsDialog))
        await pilot.press("d")
        await until(pilot, lambda: "Delete it?" in screen_text(app))
        await pilot.press("y")
        await until(pilot, lambda: files.rows() == [])


async def test_a_question_that_failed_is_not_kept_alone(tmp_path: Path) -> None:
    app, orchestrator = make_app(data_dir=tmp_path)
    orchestrator.said = [ChatDone(None, None, None, None, "HTTP 500: boom")]
    files = ConversationFiles(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("5")
        await talking(pilot, orchestrator)
        await ask(pilot, "hello?")
        await until(pilot, lambda: "boom" in screen_text(app))
        orchestrator.said = list(ANSWER)
        await pilot.press("f4")
        await ask(pilot, "again")
        await until(pilot, lambda: bool(files.rows() and files.rows()[0].turns))
        assert [row.title for row in files.rows()] == ["again"]


async def test_a_saved_one_is_read_where_nothing_serves(tmp_path: Path) -> None:
    one = Conversation(model="old-model")
    turn = one.ask("long ago?", START)
    turn.answer, turn.running = "# Yes\n\nindeed", False
    ConversationFiles(tmp_path).save(one, START)
    app, _orchestrator = make_app(data_dir=tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("5", "ctrl+o")
        await until(pilot, lambda: "long ago?" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "indeed" in screen_text(app))
        assert "old-model" in screen_text(app) and line(app).disabled
        await pilot.press("f5")
        assert app.clipboard == "# Yes\n\nindeed"


def test_a_saved_one_is_read_in_place_of_that_with_a_deployment_that_is_over() -> None:
    store, saved = Store(), Conversation()
    over = store.add("d")
    over.chat.ask("before?", START)
    assert not over.holds and store.conversation is over.chat
    store.open_conversation(saved)
    assert store.conversation is saved


async def test_what_a_model_writes_is_drawn_and_never_obeyed() -> None:
    app, orchestrator = make_app()
    hostile = (
        "&#x202e;evil &#x1b;[31m <script>x</script> [safe](https://evil.example/a)"
        " ![p](http://t.example/x.png) https://auto.example [b]m[/b]\n\n"
        "```weird&#x202e; {attr}\ncode\n```\n" + "x" * 70_000
    )
    orchestrator.said = [ChatPiece(hostile), ANSWER[-1]]
    async with app.run_test(size=(120, 40)) as pilot:
        await talking(pilot, orchestrator)
        await ask(pilot, "hi")
        await until(pilot, lambda: "TTFT" in screen_text(app))
        await until(pilot, lambda: all_drawn(app))
        app.screen.query_one("#turns").scroll_home(animate=False)
        await until(pilot, lambda: "evil" in screen_text(app))
        text = screen_text(app)
        for words in ("<script>x</script>", "safe (https://evil.example/a)", "[b]m[/b]",
                      "[image: p] (http://t.example/x.png)", "https://auto.example"):  # fmt: skip
            assert words in text
        assert "\x1b" not in text and "\u202e" not in text and "the rest, not formatted" in text
        metas = [s.style.meta for strip in app.screen._compositor.render_strips() for s in strip
                 if s.style is not None]  # fmt: skip
        assert not any("link(" in str(meta) for meta in metas), "nothing to click"


async def test_an_answer_in_many_pieces_is_drawn_as_one_in_one_piece() -> None:
    """Token by token, quicker than anything can be drawn."""
    app, orchestrator = make_app()
    text = "".join(
        f"## Part {n}\n\n- one `code`\n- two **bold**\n\n| a | b |\n|---|---|\n| {n} | x |\n\n"
        f"```python\nx = {n}\n```\n\nSome more *words* of it.\n\n"
        for n in range(8)
    )
    pieces = re.findall(r"\s*\S{1,4}|\s+", text)
    assert "".join(pieces) == text
    orchestrator.said = [*map(ChatPiece, pieces), ANSWER[-1]]
    async with app.run_test(size=SIZE) as pilot:
        await talking(pilot, orchestrator)
        await ask(pilot, "hi")
        await until(pilot, lambda: all_drawn(app))
        in_pieces = drawn(app)
        orchestrator.said = [ChatPiece(text), ANSWER[-1]]
        await pilot.press("f4")
        await until(pilot, lambda: not app.screen.query(Answer))
        await ask(pilot, "hi")
        await until(pilot, lambda: all_drawn(app))
        assert in_pieces == drawn(app)


def all_drawn(app: GdlApp) -> bool:
    """Whether the last answer has ended, and all of it is drawn."""
    turns, views = app.store.conversation.turns, app.screen.query(Answer)
    return (
        bool(turns and views) and not turns[-1].running and views.last().has_drawn(turns[-1].answer)
    )


def drawn(app: GdlApp) -> list[str]:
    """The text of every block of the answer, in order."""
    blocks = app.screen.query_one(Answer).query(MarkdownBlock)
    return [f"{type(block).__name__}: {block._content.plain}" for block in blocks]


async def test_answers_far_up_become_plain_text() -> None:
    app, orchestrator = make_app()
    orchestrator.said = [ChatPiece("**bold**"), ANSWER[-1]]
    async with app.run_test(size=SIZE) as pilot:
        await talking(pilot, orchestrator)
        await ask(pilot, "hi")
        await until(pilot, lambda: not app.store.conversation.running)
        app.store.conversation.turns *= 23
        app.feed.touch()
        await until(pilot, lambda: len(app.screen.query(TurnView)) == 23)
        await until(pilot, lambda: len(app.screen.query(Answer)) == 20)


def test_alt_and_a_digit_are_told_as_that() -> None:
    tell_alt_digits()
    keys = [e.key for e in XTermParser().feed("\x1b4x") if isinstance(e, Key)]
    assert keys == ["alt+4", "x"]
