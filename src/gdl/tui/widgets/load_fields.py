"""The load a model is to serve, in fields: variant, context, requests at a time, quantization,
hours; and the GPU that it is shown on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from gdl.domain.requirements.gpus import COMMON
from gdl.domain.requirements.shape import CONCURRENCY, CONTEXT
from gdl.orchestrator.api.model_views import ModelVariant
from gdl.presentation.hardware import gigabytes
from gdl.presentation.lines import plain
from gdl.tui.widgets.slider import Slider
from gdl.tui.widgets.typed_line import TypedLine

MAX_HOURS = 12


class Cycle(Static, can_focus=True):
    """One of a few words, changed with the arrow keys, the space bar or a click."""

    class Changed(Message):
        """Another word was chosen."""

        def __init__(self, cycle: Cycle) -> None:
            super().__init__()
            self.cycle = cycle

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "step(1)", "Next", id="cycle.next", tooltip="Next choice"),
        Binding("left", "step(-1)", "Previous", show=False, id="cycle.previous",
                tooltip="Previous choice"),
        Binding("enter", "screen.take", "Done", show=False, id="cycle.done",
                tooltip="Accept everything as shown"),
    ]  # fmt: skip

    def __init__(self, words: dict[str, str], chosen: str, *, id: str) -> None:
        """`words`: value -> what is shown for it."""
        self._words, self._values = words, list(words)
        self.value = chosen if chosen in words else self._values[0]
        super().__init__(self._text(), id=id, markup=False)

    def _text(self) -> Text:
        return Text(f"‹ {self._words[self.value]} ›", no_wrap=True)

    def offer(self, words: dict[str, str]) -> None:
        """Other words to choose from; the first of them, where what was chosen is not among them.
        Without a message."""
        if words != self._words:
            self._words, self._values = words, list(words)
            self.value = self.value if self.value in words else self._values[0]
            self.update(self._text())

    def action_step(self, by: int) -> None:
        if len(self._values) == 1:
            return
        at = self._values.index(self.value) + by
        self.value = self._values[at % len(self._values)]
        self.update(self._text())
        self.post_message(self.Changed(self))

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.action_step(1)


CONTEXTS = tuple(1024 << n for n in range(11))
REQUESTS = tuple(1 << n for n in range(10))
AS_IT_IS = "as it is"


class LoadFields(Grid):
    """What is to be served, in which form, for which load; empty numbers are left to the program.
    quantizations: those that the engine knows -> bytes per parameter. on_cpu: the machine that is
    looked at has no GPU."""

    def __init__(
        self,
        load: OfferQuery,
        hours: int,
        quantizations: Mapping[str, float],
        *,
        blink: bool,
        on_cpu: bool = False,
    ) -> None:
        super().__init__()
        self._on_cpu = on_cpu
        self._load, self._hours, self._blink = load, hours, blink
        self._quantizations = quantizations

    def compose(self) -> ComposeResult:
        load = self._load
        yield Static("Context")
        yield Slider(CONTEXTS, load.context or CONTEXT, id="context-slider")
        yield self._number("context", load.context, "auto")
        yield Static("At a time")
        yield Slider(REQUESTS, load.concurrency or CONCURRENCY, id="concurrency-slider")
        yield self._number("concurrency", load.concurrency, "auto")
        yield Static("Variant")
        yield Cycle({"": AS_IT_IS}, "", id="variant")
        yield Static("GPU")
        first = {"": "none"} if self._on_cpu else {}
        gpus = {**first, **{name: name for name in COMMON}}
        yield Cycle(gpus, next(iter(gpus)), id="gpu")
        yield Static("Weights")
        bits = {
            name: f"{name}, {8 if each > 1 else 4} bit"
            for name, each in self._quantizations.items()
        }
        yield Cycle({"": "as they are", **bits}, load.quantization, id="quantization")
        yield Static("Hours")
        yield self._number("hours", load.hours or self._hours, str(self._hours))

    def _number(self, id: str, value: int | None, otherwise: str) -> Input:
        field = TypedLine(
            "" if value is None else str(value),
            placeholder=otherwise,
            restrict=r"[0-9]{0,7}",
            id=id,
        )
        field.cursor_blink = self._blink
        return field

    def on_slider_changed(self, event: Slider.Changed) -> None:
        name = (event.slider.id or "").removesuffix("-slider")
        self.query_one(f"#{name}", Input).value = str(event.value)

    def show(self, longest: int) -> None:
        """Move the sliders to what the fields say. longest: tokens that the model takes, 0 where
        that is not known."""
        context = self._told("context") or CONTEXT
        self.query_one("#context-slider", Slider).show(context, limit=longest)
        requests = self._told("concurrency") or CONCURRENCY
        self.query_one("#concurrency-slider", Slider).show(requests)

    def offer_variants(self, variants: Sequence[ModelVariant]) -> None:
        """Those to choose from."""
        words = {each.id: _variant(each) for each in variants}
        self.query_one("#variant", Cycle).offer({"": AS_IT_IS, **words})

    @property
    def variant(self) -> str:
        """The hub id of the variant that was chosen, or ""."""
        return self.query_one("#variant", Cycle).value

    @property
    def gpu(self) -> str:
        """The GPU that the load is shown on; "" for a machine without one."""
        return self.query_one("#gpu", Cycle).value

    def _told(self, id: str) -> int | None:
        text = self.query_one(f"#{id}", Input).value
        return int(text) if text else None

    def read(self, model: str) -> OfferQuery:
        """What is asked for with this model."""
        hours = self._told("hours")
        return replace(
            self._load,
            model=self.variant or model or None,
            context=self._told("context"),
            concurrency=self._told("concurrency"),
            quantization=self.query_one("#quantization", Cycle).value,
            hours=None if hours is None else min(max(hours, 1), MAX_HOURS),
        )


def _variant(variant: ModelVariant) -> str:
    size = f", {gigabytes(variant.size_gb)}" if variant.size_gb is not None else ""
    return f"{plain(variant.words, 16)}{size}"
