"""The load a model is to serve, in fields: context, requests at a time, quantization, hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid
from textual.message import Message
from textual.widgets import Input, Static

from gdl.domain.offers import OfferQuery

MAX_HOURS = 12


class Cycle(Static, can_focus=True):
    """One of a few words, changed with the arrow keys, the space bar or a click."""

    class Changed(Message):
        """Another word is shown."""

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "step(1)", "Next", id="cycle.next", tooltip="The next choice"),
        Binding("left", "step(-1)", "Previous", show=False, id="cycle.previous",
                tooltip="The choice before"),
        Binding("enter", "screen.take", "Done", show=False, id="cycle.done",
                tooltip="Take all of it as it stands"),
    ]  # fmt: skip

    def __init__(self, words: dict[str, str], chosen: str, *, id: str) -> None:
        """`words`: value -> what is shown for it."""
        self._words, self._values = words, list(words)
        self.value = chosen if chosen in words else self._values[0]
        super().__init__(self._text(), id=id, markup=False)

    def _text(self) -> Text:
        return Text(f"‹ {self._words[self.value]} ›", no_wrap=True)

    def action_step(self, by: int) -> None:
        at = self._values.index(self.value) + by
        self.value = self._values[at % len(self._values)]
        self.update(self._text())
        self.post_message(self.Changed())

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.action_step(1)


class LoadFields(Grid):
    """Four small fields; empty ones are left to the program. quantizations: those that the engine
    knows -> bytes per parameter."""

    def __init__(
        self, load: OfferQuery, hours: int, quantizations: Mapping[str, float], *, blink: bool
    ) -> None:
        super().__init__()
        self._load, self._hours, self._blink = load, hours, blink
        self._quantizations = quantizations

    def compose(self) -> ComposeResult:
        load = self._load
        yield Static("Context")
        yield self._number("context", load.context, "auto")
        yield Static("At a time")
        yield self._number("concurrency", load.concurrency, "auto")
        yield Static("Weights")
        bits = {
            name: f"{name}, {8 if each > 1 else 4} bit"
            for name, each in self._quantizations.items()
        }
        yield Cycle({"": "as they are", **bits}, load.quantization, id="quantization")
        yield Static("Hours")
        yield self._number("hours", load.hours or self._hours, str(self._hours))

    def _number(self, id: str, value: int | None, otherwise: str) -> Input:
        field = Input(
            "" if value is None else str(value),
            placeholder=otherwise,
            restrict=r"[0-9]{0,7}",
            id=id,
        )
        field.cursor_blink = self._blink
        return field

    def read(self, model: str) -> OfferQuery:
        """What is asked for with this model."""

        def number(id: str) -> int | None:
            text = self.query_one(f"#{id}", Input).value
            return int(text) if text else None

        hours = number("hours")
        return replace(
            self._load,
            model=model or None,
            context=number("context"),
            concurrency=number("concurrency"),
            quantization=self.query_one(Cycle).value,
            hours=None if hours is None else min(max(hours, 1), MAX_HOURS),
        )
