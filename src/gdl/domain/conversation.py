"""A conversation with a model: its turns, what is sent of it, and its form on disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any

from gdl.domain.chat import USUAL_OPTIONS, ChatDone, ChatMessage, ChatOptions, ChatPiece
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.text import block, one_line

TURNS_KEPT = 200
"""Questions and answers of one conversation."""
TEXT_KEPT = 200_000
"""Characters of one question, answer or system prompt."""
_FORMAT = 1


@dataclass(slots=True)
class ChatTurn:
    """A question and what has come of its answer. reasoning: what the model thought
    before. done: its figures, once it has ended; a turn that was stopped has neither `done` nor
    `running`."""

    question: str
    asked_at: datetime
    answer: str = ""
    reasoning: str = ""
    done: ChatDone | None = None
    running: bool = True

    @property
    def said(self) -> str:
        """The answer; where a server takes all text for reasoning, that is the answer."""
        return self.answer or self.reasoning

    def take(self, part: ChatPiece | ChatDone) -> None:
        """One more part of the answer, as it came."""
        if isinstance(part, ChatDone):
            self.done = part
        elif part.reasoning:
            self.reasoning += part.text
        else:
            self.answer += part.text

    def fail(self, error: str) -> None:
        """It ended without an answer. error: why, in a line."""
        self.done = ChatDone(None, None, None, None, error)


@dataclass(slots=True)
class Conversation:
    """Its turns, oldest first, and how the model is asked. id: of its file, "" before it has one.
    model: who answered last. began_at: None before the first question."""

    id: str = ""
    model: str = ""
    began_at: datetime | None = None
    options: ChatOptions = USUAL_OPTIONS
    turns: list[ChatTurn] = field(default_factory=list)

    @property
    def running(self) -> bool:
        return any(turn.running for turn in self.turns)

    @property
    def full(self) -> bool:
        return len(self.turns) >= TURNS_KEPT

    @property
    def failed(self) -> bool:
        """Whether no question came to anything: there is nothing to keep."""
        return all(turn.done and turn.done.error and not turn.said for turn in self.turns)

    @property
    def title(self) -> str:
        """The beginning of the first question."""
        return one_line(self.turns[0].question, 80) if self.turns else ""

    @property
    def questions(self) -> list[str]:
        """What was asked, oldest first; none twice in a row."""
        asked = [turn.question for turn in self.turns]
        return [one for one, before in zip(asked, ["", *asked], strict=False) if one != before]

    def ask(self, question: str, now: datetime) -> ChatTurn:
        """A turn that waits for its answer."""
        turn = ChatTurn(question, now)
        self.began_at = self.began_at or now
        self.turns.append(turn)
        return turn

    def messages(self) -> list[ChatMessage]:
        """What is sent: the system prompt, all turns that came to an answer, and the question that
        has none yet."""
        found = [ChatMessage("system", self.options.system)] if self.options.system else []
        for turn in self.turns:
            if turn.said and not turn.running:
                found.append(ChatMessage("user", turn.question))
                found.append(ChatMessage("assistant", turn.said))
        if self.turns and self.turns[-1].running:
            found.append(ChatMessage("user", self.turns[-1].question))
        return found

    def last_request(self) -> list[ChatMessage]:
        """What was sent last; nothing where nothing was asked yet."""
        found = self.messages()
        while found and found[-1].role == "assistant":
            found.pop()
        return found if any(message.role == "user" for message in found) else []


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """language: as the answer names it, "" where it does not."""

    language: str
    code: str


_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^`\n]*)$")


def code_blocks(text: str) -> list[CodeBlock]:
    """The fenced code blocks of a Markdown text, in order; one that is not closed yet goes to the
    end, as CommonMark has it (0.31, section 4.5)."""
    found: list[CodeBlock] = []
    fence = language = ""
    lines: list[str] = []
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if not fence:
            if mark is not None:
                fence, language, lines = mark[1], mark[2].strip(), []
        elif mark is not None and mark[1].startswith(fence) and not mark[2].strip():
            found.append(CodeBlock(one_line(language, 20), "\n".join(lines)))
            fence = ""
        else:
            lines.append(line)
    if fence and lines:
        found.append(CodeBlock(one_line(language, 20), "\n".join(lines)))
    return found


def to_data(one: Conversation) -> dict[str, Any]:
    """JSON types."""
    return {
        "format": _FORMAT,
        "model": one.model,
        "began_at": one.began_at.isoformat() if one.began_at else None,
        "system": one.options.system,
        **one.options.sampling,
        "turns": [_turn_data(turn) for turn in one.turns if not turn.running],
    }


def _turn_data(turn: ChatTurn) -> dict[str, Any]:
    done = turn.done
    figures = {} if done is None else {
        "ttft_ms": done.ttft_ms,
        "tokens_per_s": done.tokens_per_s,
        "output_tokens": done.output_tokens,
        "finish_reason": done.finish_reason,
        "error": done.error,
    }  # fmt: skip
    return {
        "question": turn.question,
        "asked_at": turn.asked_at.isoformat(),
        "answer": turn.answer,
        "reasoning": turn.reasoning,
        "stopped": done is None,
        **figures,
    }


def from_data(ident: str, data: Mapping[str, Any]) -> Conversation:
    """From any version's form; what is not known is passed over. The file may have been written by
    somebody else: its text is cleaned as an answer's is. Raises ValueError when it is none."""
    try:
        turns = [_turn_from(each) for each in data["turns"][:TURNS_KEPT]]
        began = data.get("began_at")
        options = ChatOptions(
            block(str(data.get("system") or ""), TEXT_KEPT),
            _number(data.get("temperature")),
            _number(data.get("top_p")),
            _whole(data.get("max_tokens")),
            _whole(data.get("seed")),
        )
        options.check()
        at = datetime.fromisoformat(began) if began else None
        return Conversation(ident, one_line(data.get("model") or ""), at, options, turns)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no conversation: {one_line(error)}") from None


def _turn_from(data: Mapping[str, Any]) -> ChatTurn:
    done = None
    if not data.get("stopped"):
        reason = data.get("finish_reason")
        done = ChatDone(
            _number(data.get("ttft_ms")),
            _number(data.get("tokens_per_s")),
            _whole(data.get("output_tokens")),
            one_line(reason, 40) if reason else None,
            one_line(data.get("error") or ""),
        )
    return ChatTurn(
        block(str(data["question"]), TEXT_KEPT),
        datetime.fromisoformat(data["asked_at"]),
        block(str(data.get("answer") or ""), TEXT_KEPT),
        block(str(data.get("reasoning") or ""), TEXT_KEPT),
        done,
        running=False,
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
