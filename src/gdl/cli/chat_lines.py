"""A conversation with a served model in lines: questions typed, answers as they come."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from gdl.cli import exit_codes, signals
from gdl.cli.line_reader import aside, history, read_line
from gdl.cli.output import Output, coloured, say
from gdl.conversations.answering import answered
from gdl.conversations.files import ConversationFiles
from gdl.domain import clock
from gdl.domain.chat import ChatOptions, ChatPiece
from gdl.domain.conversation import TEXT_KEPT, TURNS_KEPT, ChatTurn, Conversation
from gdl.domain.errors import GdlError, UsageError
from gdl.presentation.chat import cut, figures, option_words
from gdl.presentation.lines import plain
from gdl.presentation.words import plural

if TYPE_CHECKING:
    from gdl.orchestrator.api.views import ChatPartner

_TWICE_S = 2.0
"""Two Ctrl-C within so long leave."""
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_HELP = (
    "/new                 start a new conversation",
    "/set NAME VALUE      temperature, top-p, max-tokens, seed or system; no value: the default",
    "/saved               the saved conversations",
    "/open ID             continue one of them",
    "/delete ID           delete one of them",
    "/quit                quit, as Ctrl-D does",
    "Ctrl-C stops an answer; twice, it quits. A line that begins with // is sent with one /.",
)


class LineChat:
    """A conversation with one model. files: where it is kept; None: nowhere."""

    def __init__(
        self,
        partner: ChatPartner,
        output: Output,
        files: ConversationFiles | None,
        one: Conversation,
    ) -> None:
        self._partner, self._output, self._files = partner, output, files
        self.one = one
        self._answer: asyncio.Task[None] | None = None
        self._interrupted_at = float("-inf")

    async def once(self, question: str) -> int:
        """One question, its answer on stdout; the exit code."""
        turn = self.one.ask(_checked(question), clock.now())
        await self._answered(turn, thoughts=False)
        if turn.done is not None and turn.done.error:
            say(f"error: {plain(turn.done.error)}")
            say("hint: `gdl-tui health` shows whether it works")
            return exit_codes.VERIFICATION_FAILED
        if turn.done is not None and turn.done.finish_reason == "length":
            say(f"note: {cut(turn.done, self.one.options)}")
        return exit_codes.OK

    async def converse(self) -> int:
        """Questions until the end of the input, or two Ctrl-C."""
        name = plain(self._partner.model, 60)
        say(f"{name}: Ctrl-D quits, Ctrl-C stops an answer, /help shows more")
        if words := option_words(self.one.options):
            say(words)
        task = asyncio.current_task()
        assert task is not None
        file = None if self._files is None else self._files.folder / "history"
        try:
            with (
                signals.handled(lambda number: self._signal(number, task.cancel)),
                history(file, self.one.questions),
            ):
                while (line := await aside(lambda: read_line("> "))) is not None:
                    if not await self._line(line.strip()):
                        break
        except asyncio.CancelledError:
            signals.uncancel()
        if self._files is not None and self.one.id:
            say(f"saved as {self.one.id} in {plain(self._files.folder, 300)}")
        return exit_codes.OK

    def _signal(self, number: signal.Signals, leave: Callable[[], object]) -> None:
        now = time.monotonic()
        twice = now - self._interrupted_at < _TWICE_S
        self._interrupted_at = now
        if number is not signal.SIGINT or twice:
            leave()
        elif self._answer is not None:
            self._answer.cancel()
        else:
            say("\npress Ctrl-C again to quit, or Ctrl-D")

    async def _line(self, line: str) -> bool:
        """One line typed; False when it leaves."""
        if line == "/quit":
            return False
        try:
            if line.startswith("/") and not line.startswith("//"):
                await self._command(*line.split(maxsplit=2))
            elif line:
                await self._question(line.removeprefix("/"))
        except GdlError as error:
            say(f"error: {plain(error.message)}")
            say(f"hint: {plain(error.hint)}")
        return True

    async def _question(self, question: str) -> None:
        if self.one.full:
            raise UsageError(
                f"{TURNS_KEPT} questions is the limit", "/new starts a new conversation"
            )
        turn = self.one.ask(_checked(question), clock.now())
        self._answer = asyncio.ensure_future(self._answered(turn, thoughts=True))
        try:
            await asyncio.wait({self._answer})
        finally:
            self._answer.cancel()
            await asyncio.gather(self._answer, return_exceptions=True)
            stopped, self._answer = self._answer, None
        if not stopped.cancelled() and (error := stopped.exception()) is not None:
            raise error
        if turn.done is None:
            say("stopped")
        elif turn.done.error:
            say(f"error: {plain(turn.done.error)}")
        else:
            say(_dim(figures(turn.done, self.one.options)))
        if self._files is not None and (self.one.id or not self.one.failed):
            await asyncio.to_thread(self._files.save, self.one, clock.now())

    async def _answered(self, turn: ChatTurn, *, thoughts: bool) -> None:
        """Print the answer as it comes. thoughts: what the model thinks goes to stderr."""
        self.one.model = self._partner.model
        streams = not self._output.as_json
        thinking = False

        def came(piece: ChatPiece) -> None:
            nonlocal thinking
            if piece.reasoning:
                if thoughts and streams:
                    sys.stderr.write(_dim(piece.text))
                    sys.stderr.flush()
                    thinking = True
            elif streams:
                if thinking:
                    sys.stderr.write("\n")
                    thinking = False
                self._output.text(piece.text)

        try:
            await answered(self._partner.ask, self.one, turn, came)
        finally:
            # Also where it is cut or stopped: what is said next begins a line.
            if streams and (turn.answer or thoughts) and not turn.answer.endswith("\n"):
                self._output.text("\n")
        if not streams:
            self._output.json(_plain(turn, self.one.model))
        elif turn.reasoning and not (turn.answer or thoughts):
            self._output.line(turn.reasoning)  # where all is taken for thought, that is the answer

    # Commands

    async def _command(self, name: str, *words: str) -> None:
        match name, *words:
            case ["/help"]:
                for line in _HELP:
                    say(line)
            case ["/new"]:
                self.one = Conversation(options=self.one.options)
                say("a new conversation")
            case ["/set", option, *value]:
                self.one.options = changed(self.one.options, option, value[0] if value else "")
                say(option_words(self.one.options) or "all: the server's defaults")
            case ["/saved"]:
                await self._list()
            case ["/open", ident]:
                self.one = await asyncio.to_thread(self._kept.load, ident)
                for turn in self.one.turns:
                    say(f"> {plain(turn.question, 300)}")
                    self._output.line(turn.said)
            case ["/delete", ident]:
                await asyncio.to_thread(self._kept.load, ident)
                await asyncio.to_thread(self._kept.delete, ident)
                say(f"deleted {plain(ident, 80)}")
            case _:
                raise UsageError(f"{name} is not a command here", "/help lists them")

    @property
    def _kept(self) -> ConversationFiles:
        if self._files is None:
            raise UsageError(
                "conversations are not saved", "set save_chats = true in the configuration"
            )
        return self._files

    async def _list(self) -> None:
        rows = await asyncio.to_thread(self._kept.rows)
        for row in rows:
            said = row.trouble or f"{plural(row.turns, 'question')}: {row.title}"
            say(f"{row.id}  {row.at:%Y-%m-%d %H:%M}  {plain(said, 200)}")
        say(f"in {plain(self._kept.folder, 300)}" if rows else "none yet")


def changed(options: ChatOptions, name: str, value: str) -> ChatOptions:
    """With one option set; "": left to the server. Raises UsageError."""
    try:
        return options.changed(name.replace("-", "_"), _text(value))
    except KeyError:
        what = f"{name} is not an option"
    except ValueError as error:
        what = plain(error, 200)
    raise UsageError(what, "/set temperature, top-p, max-tokens, seed or system, and its value")


def checked_options(options: ChatOptions) -> ChatOptions:
    """As they can be sent. Raises UsageError for what is out of range."""
    options = replace(options, system=_text(options.system))
    try:
        options.check()
    except ValueError as error:
        raise UsageError(str(error), "omit it: the server has a default") from None
    return options


def _checked(question: str) -> str:
    if not question.strip():
        raise UsageError("there is no question", "type one, or send one through a pipe")
    if len(question) > TEXT_KEPT:
        raise UsageError(f"the question is longer than {TEXT_KEPT:,} characters", "ask for less")
    return _text(question)


def _text(typed: str) -> str:
    """What can be sent: without the surrogates that Python has for bytes that are no UTF-8."""
    return typed.encode(errors="surrogateescape").decode(errors="replace")


def _plain(turn: ChatTurn, model: str) -> dict[str, object]:
    done = turn.done
    return {
        "type": "answer",
        "model": model,
        "answer": turn.answer,
        "reasoning": turn.reasoning,
        "ttft_ms": done.ttft_ms if done else None,
        "tokens_per_s": done.tokens_per_s if done else None,
        "output_tokens": done.output_tokens if done else None,
        "finish_reason": done.finish_reason if done else None,
        "error": (done.error or None) if done else "stopped",
    }


def _dim(text: str) -> str:
    return f"{_DIM}{text}{_PLAIN}" if coloured() else text
