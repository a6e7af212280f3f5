"""A conversation: what is sent of it, what can be copied, and its file."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gdl.conversations.answering import answered
from gdl.conversations.files import ConversationFiles
from gdl.domain.chat import ChatDone, ChatMessage, ChatOptions, ChatPiece
from gdl.domain.conversation import CodeBlock, Conversation, code_blocks, from_data, to_data
from gdl.domain.errors import GdlError, UsageError
from gdl.presentation.chat import cut, figures, option_words

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DONE = ChatDone(41.0, 100.0, 7, "stop")


def talked() -> Conversation:
    one = Conversation(model="tiny", options=ChatOptions("Be brief.", 0.2, max_tokens=64))
    for question, answer in (("hi", "Hello."), ("and?", "Nothing.")):
        turn = one.ask(question, NOW)
        turn.take(ChatPiece("hm", reasoning=True))
        turn.take(ChatPiece(answer))
        turn.take(DONE)
        turn.running = False
    return one


def test_what_is_sent_is_what_was_answered_and_the_question() -> None:
    one = talked()
    failed = one.ask("lost", NOW)
    failed.fail("HTTP 500")
    failed.running = False
    one.ask("last", NOW)
    assert [(m.role, m.content) for m in one.messages()] == [
        ("system", "Be brief."),
        ("user", "hi"),
        ("assistant", "Hello."),
        ("user", "and?"),
        ("assistant", "Nothing."),
        ("user", "last"),
    ]
    assert one.questions == ["hi", "and?", "lost", "last"] and one.title == "hi"
    assert Conversation(options=one.options).last_request() == []


async def test_an_answer_is_taken_piece_by_piece_and_no_line_is_written_over() -> None:
    async def ask(
        messages: Sequence[ChatMessage], options: ChatOptions
    ) -> AsyncGenerator[ChatPiece | ChatDone]:
        assert [m.content for m in messages] == ["hi"]
        yield ChatPiece("a safe\ranswer")
        yield DONE

    one, came = Conversation(), list[str]()
    turn = one.ask("hi", NOW)
    await answered(ask, one, turn, lambda piece: came.append(piece.text))
    assert (turn.answer, came, turn.done) == ("a safeanswer", ["a safeanswer"], DONE)
    assert not one.running


def test_code_blocks_are_found_as_they_are_drawn() -> None:
    text = "a\n```python\nx = 1\n```\n~~~\n```\n~~~\n````md\n```\nin\n```\n````\n```sh\nopen"
    assert code_blocks(text) == [
        CodeBlock("python", "x = 1"),
        CodeBlock("", "```"),
        CodeBlock("md", "```\nin\n```"),
        CodeBlock("sh", "open"),
    ]
    assert code_blocks("no code `inline` here") == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ChatOptions(temperature=2.1), "temperature"),
        (ChatOptions(temperature=float("nan")), "temperature"),
        (ChatOptions(top_p=0.0), "top-p"),
        (ChatOptions(max_tokens=0), "max tokens"),
        (ChatOptions(seed=-1), "seed"),
    ],
)
def test_options_out_of_range_are_told(options: ChatOptions, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        options.check()


def test_who_cut_an_answer_is_told() -> None:
    done = ChatDone(None, None, 64, "length")
    assert "max tokens is 64" in figures(done, ChatOptions(max_tokens=64))
    assert "by the server" in cut(done, ChatOptions(max_tokens=128))
    assert "by the server" in figures(done)
    assert option_words(ChatOptions("x", top_p=0.5)) == "top-p 0.5, system prompt"


def test_a_conversation_is_a_file_of_ones_own_and_comes_back_as_it_was(tmp_path: Path) -> None:
    files, one = ConversationFiles(tmp_path), talked()
    one.ask("not answered yet", NOW)
    files.save(one, NOW)
    (path,) = files.folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.folder.stat().st_mode) == 0o700
    again = files.load(one.id)
    assert again.turns == one.turns[:2] and again.options == one.options
    again.ask("more", NOW).running = False
    files.save(again, NOW)
    (row,) = files.rows()
    assert (row.id, row.model, row.title, row.turns) == (one.id, "tiny", "hi", 3)
    files.delete(one.id)
    files.delete(one.id)
    assert files.rows() == []
    with pytest.raises(UsageError, match="no saved conversation"):
        files.load(one.id)
    with pytest.raises(UsageError):
        files.delete("../journal")


def test_what_was_written_by_another_version_or_by_hand_is_read_as_far_as_it_goes(
    tmp_path: Path,
) -> None:
    files = ConversationFiles(tmp_path)
    files.folder.mkdir(parents=True)
    least = {"turns": [{"question": "hi\x1b[31m", "asked_at": NOW.isoformat()}], "later": 1}
    (files.folder / "least.json").write_text(json.dumps(least))
    (files.folder / "torn.json").write_text('{"turns": [')
    (files.folder / "other.json").write_text("[1]")
    one = files.load("least")
    assert one.turns[0].question == "hi" and not one.running
    troubles = {row.id: bool(row.trouble) for row in files.rows()}
    assert troubles == {"least": False, "torn": True, "other": True}
    with pytest.raises(GdlError, match=r"torn\.json"):
        files.load("torn")
    with pytest.raises(ValueError, match="temperature"):
        from_data("x", {**to_data(talked()), "temperature": 99})


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "conversations").write_text("a file is in the way")
    with pytest.raises(GdlError, match="not saved"):
        ConversationFiles(tmp_path).save(talked(), NOW)
