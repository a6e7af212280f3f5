"""`gdl-tui chat`: one question by a pipe, and a conversation typed line by line."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cli_support import SCENARIOS, Scripted, ScriptedEndpoints, opener_of
from gdl.cli import chat_lines
from gdl.cli.app import run
from gdl.cli.chat_lines import LineChat, changed, checked_options
from gdl.cli.output import Output
from gdl.conversations.files import ConversationFiles
from gdl.domain.chat import ChatDone, ChatMessage, ChatOptions, ChatPiece
from gdl.domain.conversation import Conversation
from gdl.domain.errors import UsageError
from gdl.domain.secret import Secret
from gdl.endpoint.client import EndpointClient
from gdl.orchestrator.api.views import ChatPartner
from gdl.orchestrator.endpoint.chat import partner
from vllm_support import FakeVllm
from waiting import wait_until


@asynccontextmanager
async def chatting(
    server: FakeVllm, *, as_json: bool = False, data_dir: Path | None = None
) -> AsyncIterator[LineChat]:
    client = EndpointClient(server.url, Secret(""), timeout_s=5)
    files = None if data_dir is None else ConversationFiles(data_dir)
    try:
        yield LineChat(partner(client, "tiny"), Output(as_json), files, Conversation())
    finally:
        await client.aclose()


def typing(monkeypatch: pytest.MonkeyPatch, *lines: str | Callable[[], str | None]) -> None:
    """What is typed at the terminal, then its end."""
    typed: Iterator[str | Callable[[], str | None]] = iter(lines)

    def read(prompt: str) -> str | None:
        line = next(typed, None)
        return line() if callable(line) else line

    monkeypatch.setattr(chat_lines, "read_line", read)


async def test_a_piped_question_has_its_answer_on_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with FakeVllm() as server, chatting(server) as chat:
        server.answers["capital"] = "Paris."
        assert await chat.once("the capital?") == 0
        assert capsys.readouterr().out == "Paris.\n"
        assert "max_tokens" not in server.requests[-1].json, "no limit of ours"
        server.error_after = 1
        assert await chat.once("again") == 6
        told = capsys.readouterr()
        assert "error: " in told.err and "hint: " in told.err
        with pytest.raises(UsageError, match="no question"):
            await chat.once("  ")
    async with FakeVllm() as server, chatting(server, as_json=True) as chat:
        chat.one.options = ChatOptions(max_tokens=2)
        assert await chat.once("hi") == 0
        told = capsys.readouterr()
        assert json.loads(told.out)["answer"] == "one two" and "max tokens is 2" in told.err


async def test_a_conversation_is_typed_saved_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FakeVllm() as server, chatting(server, data_dir=tmp_path) as chat:
        typing(monkeypatch, "hi", "/set temperature 0.5", "//not a command", "/nonsense", "/help",
               "/set temperature hot", "/saved")  # fmt: skip
        assert await chat.converse() == 0
        told = capsys.readouterr()
        assert "one two three" in told.out and "\x1b" not in told.out
        assert "/nonsense is not a command here" in told.err and "saved as " in told.err
        assert "2 questions: hi" in told.err, "the list"
        sent = server.requests[-1].json
        assert sent["temperature"] == 0.5 and sent["messages"][-1]["content"] == "/not a command"
    async with FakeVllm() as server, chatting(server, data_dir=tmp_path) as chat:
        (row,) = ConversationFiles(tmp_path).rows()
        typing(monkeypatch, f"/open {row.id}", "more", f"/delete {row.id}", "/quit", "never")
        assert await chat.converse() == 0
        assert len(server.requests[-1].json["messages"]) == 5
        assert ConversationFiles(tmp_path).rows() == []
    assert "no saved conversation" not in capsys.readouterr().err


async def test_bytes_that_are_no_text_are_replaced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with FakeVllm() as server, chatting(server) as chat:
        chat.one.options = checked_options(ChatOptions("be \udcff"))
        assert await chat.once("\udcff\udcfehi") == 0
        sent = [each["content"] for each in server.requests[-1].json["messages"]]
        assert sent == ["be \ufffd", "\ufffd\ufffdhi"]
    assert changed(ChatOptions(), "system", "\udcff").system == "\ufffd"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_bytes_that_are_no_text_come_by_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: str
) -> None:
    asked: list[str] = []

    async def ask(
        messages: Sequence[ChatMessage], options: ChatOptions
    ) -> AsyncGenerator[ChatPiece | ChatDone]:
        asked.append(messages[-1].content)
        yield ChatPiece("yes")

    class Talking(ScriptedEndpoints):
        @asynccontextmanager
        async def chat(self, ident: str) -> AsyncIterator[ChatPartner]:
            yield ChatPartner("tiny", ask)

    monkeypatch.setenv("GDL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    typed = io.TextIOWrapper(io.BytesIO(b"\xff\xfe\x00hi"), encoding="utf-8", errors=errors)
    monkeypatch.setattr(sys, "stdin", typed)
    scripted = Scripted(SCENARIOS["destroy"])
    scripted.endpoints = Talking(scripted)
    assert run(("chat", "sess-1"), opener=opener_of(scripted)) == 0
    assert asked == ["\ufffd\ufffd\x00hi"]


async def test_what_is_said_of_an_answer_that_was_stopped_begins_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with FakeVllm() as server, chatting(server) as chat:
        server.stall_after = 2
        asking = asyncio.create_task(chat.once("hi"))
        await wait_until(
            lambda: bool(chat.one.turns and chat.one.turns[0].answer.endswith("two")), "a part"
        )
        asking.cancel()
        await asyncio.wait({asking})
    assert capsys.readouterr().out == "one two\n"


async def test_a_conversation_of_failures_alone_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FakeVllm() as server, chatting(server, data_dir=tmp_path) as chat:
        server.error_after = 0
        typing(monkeypatch, "hi")
        assert await chat.converse() == 0
        told = capsys.readouterr().err
        assert "error: " in told and "saved as" not in told
        assert ConversationFiles(tmp_path).rows() == []
        server.error_after = None
        typing(monkeypatch, "and now?")
        assert await chat.converse() == 0
    assert [row.turns for row in ConversationFiles(tmp_path).rows()] == [2]


async def test_ctrl_c_stops_an_answer_and_twice_it_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing_is_typed() -> str | None:
        threading.Event().wait()
        return None

    async with FakeVllm() as server, chatting(server, data_dir=tmp_path) as chat:
        server.stall_after = 2
        typing(monkeypatch, "hi", nothing_is_typed)
        talking = asyncio.create_task(chat.converse())
        await wait_until(
            lambda: bool(chat.one.turns and chat.one.turns[0].answer), "a part of an answer"
        )
        signal.raise_signal(signal.SIGINT)
        await wait_until(lambda: not chat.one.running, "it is stopped")
        assert not talking.done()
        signal.raise_signal(signal.SIGINT)
        assert await talking == 0
    assert "stopped" in capsys.readouterr().err
    (row,) = ConversationFiles(tmp_path).rows()
    assert ConversationFiles(tmp_path).load(row.id).turns[0].answer.startswith("one")


def test_options_are_changed_by_name() -> None:
    assert changed(ChatOptions(), "max-tokens", "7") == ChatOptions(max_tokens=7)
    assert changed(ChatOptions(seed=1), "seed", "") == ChatOptions()
    for name, value in (("heat", "1"), ("top-p", "2"), ("seed", "x")):
        with pytest.raises(UsageError):
            changed(ChatOptions(), name, value)
    with pytest.raises(UsageError, match="max tokens: a number, or nothing"):
        changed(ChatOptions(), "max-tokens", "many")
