"""A question with its answer, and what the answer took."""

from __future__ import annotations

from datetime import datetime

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical

from gdl.domain.chat import ChatOptions
from gdl.domain.conversation import TEXT_KEPT, ChatTurn
from gdl.presentation.chat import figures
from gdl.presentation.lines import plain, plain_block
from gdl.presentation.words import plural
from gdl.tui.widgets.answer import Answer
from gdl.tui.widgets.live_text import LiveText


class TurnView(Vertical):
    """Redrawn by `show`. An answer that grows repaints itself alone."""

    def __init__(self, turn: ChatTurn, *, flat: bool) -> None:
        """flat: an answer far up is shown as it came, in one widget for the many of Markdown."""
        super().__init__(classes="turn")
        self.turn = turn
        self._flat = flat
        self._shown: tuple[object, ...] | None = None

    def compose(self) -> ComposeResult:
        yield LiveText(classes="turn-question")
        yield LiveText(classes="turn-thoughts")
        yield LiveText(classes="turn-flat") if self._flat else Answer()
        yield LiveText(classes="turn-foot")

    def show(
        self, model: str, options: ChatOptions, now: datetime, *, thoughts: bool, flat: bool
    ) -> None:
        """thoughts: all that the model thought is shown, not only that it did."""
        turn = self.turn
        told = (model, options, thoughts, flat, turn.done)
        # One that is over says the same from then on: of many, only what changes is worked on.
        if not self.is_mounted or (not turn.running and told == self._shown):
            return
        self._say("turn-question", question_text(turn, model))
        self._say("turn-thoughts", thoughts_text(turn, open_=thoughts))
        self._say("turn-foot", foot_text(turn, options, now))
        if flat and not self._flat and not turn.running:
            self._flat = True
            self.query_one(Answer).remove()
            self.mount(LiveText(classes="turn-flat"), before=self.query_one(".turn-foot"))
        if self._flat:
            self._say("turn-flat", Text(plain_block(turn.answer.strip("\n"), TEXT_KEPT)))
        else:
            answer = self.query_one(Answer)
            answer.display = bool(turn.answer)
            answer.show(turn.answer)
            if not answer.is_mounted:
                return  # it takes nothing yet
        self._shown = None if turn.running else told

    def _say(self, name: str, text: Text) -> None:
        line = self.query_one(f".{name}", LiveText)
        line.say(text)
        line.display = bool(text.plain)


def question_text(turn: ChatTurn, model: str) -> Text:
    text = Text()
    text.append("You\n", "bold")
    text.append(plain_block(turn.question) + "\n\n")
    text.append(plain(model, 60), "bold green")
    return text


def thoughts_text(turn: ChatTurn, *, open_: bool) -> Text:
    """What the model thought: while there is nothing else to be seen, or when it is asked for; else
    one line."""
    thought = turn.reasoning.strip("\n")
    if not thought:
        return Text()
    if open_ or not turn.answer:
        return Text(plain_block(thought), "dim italic")
    return Text(f"▸ thought for {plural(len(thought.split()), 'word')} · Ctrl+T", "dim italic")


def foot_text(turn: ChatTurn, options: ChatOptions, now: datetime) -> Text:
    """How far the answer is, or what it took."""
    if turn.running:
        waited = max((now - turn.asked_at).total_seconds(), 0.0)
        return Text("…" if turn.said else f"… {waited:.0f} s", "dim")
    if turn.done is None:
        return Text("– stopped", "dim")
    if turn.done.error:
        return Text(f"✗ {plain(turn.done.error, 300)}", "bold red")
    return Text(figures(turn.done, options), "dim")
