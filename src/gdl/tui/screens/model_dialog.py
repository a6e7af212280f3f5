"""Which model, in which form, for what load: what it takes is shown before anything is rented."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from gdl.domain.errors import GdlError, HubAway, UsageError
from gdl.domain.offers import OfferQuery
from gdl.orchestrator.api.market import Market
from gdl.orchestrator.api.model_views import ModelRow
from gdl.presentation.lines import plain
from gdl.tui.screens.modal import Modal
from gdl.tui.widgets import model_lines
from gdl.tui.widgets.live_text import LiveText
from gdl.tui.widgets.load_fields import Cycle, LoadFields
from gdl.tui.widgets.memory_bar import answer, memory_bar
from gdl.tui.widgets.offer_notes import load_note, sizing, too_much, without_gpu
from gdl.tui.widgets.typed_line import TypedLine

_PAUSE_S = 0.35
"""After a key, before the hub is asked."""
_LEAST = 2
"""Characters that the hub is asked for."""
_LOOKED_UP = 8
"""Of what the hub's search finds, so many are looked at more closely."""
_TYPED = "typed"
_LOW = 20
"""Rows below which the list is cut down, so that the answer stays."""


class ModelDialog(Modal[OfferQuery | None]):
    """Choose a model of the program's list or of the hub, or type any hub id or path, and say how
    it is to be served. Dismissed with the query for its offers."""

    AUTO_FOCUS = "#model-name"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", id="model.cancel",
                tooltip="Go back, and change nothing"),
        Binding("down", "move(1)", "Next", show=False, priority=True, id="model.next",
                tooltip="Next model in the list"),
        Binding("up", "move(-1)", "Previous", show=False, priority=True, id="model.previous",
                tooltip="Previous model in the list"),
    ]  # fmt: skip

    def __init__(
        self,
        market: Market,
        wanted: OfferQuery,
        hours: int,
        quantizations: Mapping[str, float],
        *,
        blink: bool,
        without_gpu: str = "",
    ) -> None:
        """without_gpu: the machine under the cursor, in words, if it has no GPU."""
        super().__init__()
        self._without_gpu = without_gpu
        self._market, self._wanted, self._hours = market, wanted, hours
        self._chosen = wanted.model or ""
        self._blink, self._quantizations = blink, quantizations
        self._own = {row.alias: row for row in sorted(market.models(), key=_size)}
        self._rows: dict[str, ModelRow] = {}
        self._pause: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -wide -models"):
            with Horizontal(id="model-title"):
                yield Static(Text("Which model?", "bold"), classes="dialog-title")
                yield LiveText(id="model-note")
            name = TypedLine(
                self._chosen,
                placeholder="search: words, a hub id such as org/model, or a path on the machine",
                id="model-name",
                max_length=300,
            )
            name.cursor_blink = self._blink
            yield name
            yield LiveText(id="model-head")
            yield OptionList(id="model-list", markup=False)
            yield LoadFields(
                self._wanted,
                self._hours,
                self._quantizations,
                blink=self._blink,
                on_cpu=bool(self._without_gpu),
            )
            yield LiveText(id="model-size")
            yield Static(
                "Enter accepts · ↑↓ model · Tab to the fields · Esc cancels",
                classes="dialog-note",
            )

    def on_mount(self) -> None:
        # Reached by the arrow keys from everywhere; Tab goes through the fields.
        self.query_one(OptionList).can_focus = False
        self._list("")
        self._note(f"{len(self._own)} known")

    def on_resize(self) -> None:
        self.set_class(self.app.size.height < _LOW, "-low")
        self.query_one("#model-head", LiveText).say(model_lines.heading(self._width))
        for row in self._rows.values():
            self._redraw(row)
        self._say_size()

    @property
    def _width(self) -> int:
        """Columns inside of the dialog, as the style sheet has it."""
        return min(int(self.app.size.width * 0.96), 100) - 6

    # The list

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "model-name":
            typed = "" if event.value == self._chosen else event.value.strip()
            self._list(typed)
            self._ask_soon(typed)
        self._say_size()

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        self.action_take()

    def _list(self, typed: str) -> None:
        """The models of the program's own list that have these words; what was typed itself first,
        if it is none of them."""
        wanted = typed.casefold().split()
        known = [
            row
            for row in self._own.values()
            if all(word in f"{row.alias} {row.location}".casefold() for word in wanted)
        ]
        self._rows = {row.alias: row for row in known}
        options = [self._option(row) for row in known]
        if typed and typed not in self._rows and ("/" in typed or not known):
            words = "as typed: a hub id or a path"
            if "/" not in typed:
                words = "a variant, as typed" if self._resolves(typed) else "unknown model"
            options.insert(0, Option(model_lines.as_typed(typed, words, self._width), id=_TYPED))
        listed = self.query_one(OptionList)
        listed.clear_options()
        listed.add_options(options)
        if options:
            meant = typed or self._chosen  # an alias typed to its end is meant itself
            listed.highlighted = listed.get_option_index(meant) if meant in self._rows else 0
        self._fill(known)

    def _resolves(self, typed: str) -> bool:
        """Whether it names a model, such as an alias and a format behind a colon."""
        try:
            self._market.variants(typed)
        except UsageError:
            return False
        return True

    def _option(self, row: ModelRow) -> Option:
        return Option(model_lines.line(row, self._width), id=row.alias)

    def _redraw(self, row: ModelRow) -> None:
        """The line of a model of which more is known now."""
        if row.alias in self._rows:
            self._rows[row.alias] = row
            listed = self.query_one(OptionList)
            listed.replace_option_prompt(row.alias, model_lines.line(row, self._width))

    @work(exclusive=True, group="models-fill")
    async def _fill(self, rows: list[ModelRow]) -> None:
        """Say of each whether it fits."""
        async with aclosing(self._market.answered([row for row in rows if not row.fits])) as told:
            async for row in told:
                self._own[row.alias] = row
                self._redraw(row)

    # The hub

    def _ask_soon(self, typed: str) -> None:
        if self._pause is not None:
            self._pause.stop()
        self.workers.cancel_group(self, "models-hub")
        self._note(f"{len(self._rows)} known")
        if len(typed) >= _LEAST and not typed.startswith(("/", "~")):
            self._pause = self.set_timer(_PAUSE_S, lambda: self._ask(typed))

    @work(exclusive=True, group="models-hub")
    async def _ask(self, typed: str) -> None:
        """Add what the hub finds, then what it says of the first of them."""
        self._note("asking the hub…")
        try:
            found = [row for row in await self._market.search(typed) if row.location != typed]
        except HubAway as away:
            self._note(f"{plain(away.message, 60)} · catalogue")
            return
        except GdlError as error:
            self._note(plain(error.message, 60))
            return
        self._note(f"hub: {len(found)} found")
        listed = self.query_one(OptionList)
        for row in found:
            if row.alias in self._rows:
                self._redraw(self._joined(row))
            else:
                self._rows[row.alias] = row
                listed.add_option(self._option(row))
        if listed.highlighted is None and listed.option_count:
            listed.highlighted = 0
        asked = "/" in typed or self._resolves(typed)
        typed_row = [_as_row(typed)] if asked and typed not in self._rows else []
        closer = [*typed_row, *found[:_LOOKED_UP]]
        async with aclosing(self._market.answered(closer)) as told:
            async for row in told:
                self._learn(row, typed)
        async with aclosing(self._market.answered(self._offer_files(typed))) as told:
            async for row in told:
                self._redraw(row)

    def _joined(self, found: ModelRow) -> ModelRow:
        """What we know of a model, with what the hub counts."""
        own = self._rows[found.alias]
        joined = replace(own, downloads=found.downloads, license=own.license or found.license)
        self._own[found.alias] = joined
        return joined

    def _learn(self, row: ModelRow, typed: str) -> None:
        listed = self.query_one(OptionList)
        if row.alias == typed and typed not in self._rows:
            told = model_lines.as_typed(typed, row.fits, self._width)
            if not row.fits.startswith("no"):
                told = model_lines.line(row, self._width)
            listed.replace_option_prompt(_TYPED, told)
        else:
            self._redraw(row)
        if self._model in (row.alias, row.location, typed):
            self._say_size()

    def _offer_files(self, typed: str) -> list[ModelRow]:
        """The files of the GGUF repository that was typed, as lines to choose from; those of them
        that are looked at more closely."""
        try:
            found = self._market.variants(typed)
        except UsageError:
            return []
        files = [_as_row(each.id) for each in found if ":" in each.id]
        listed = self.query_one(OptionList)
        for row in files:
            if row.alias not in self._rows:
                self._rows[row.alias] = row
                listed.add_option(self._option(row))
        return files[:_LOOKED_UP]

    def _note(self, words: str) -> None:
        self.query_one("#model-note", LiveText).say(Text(words, "dim"))

    # What is chosen

    @property
    def _model(self) -> str:
        """What the highlighted line stands for, or ""."""
        listed = self.query_one(OptionList)
        if listed.highlighted is None:
            return ""
        ident = listed.get_option_at_index(listed.highlighted).id
        typed = self.query_one("#model-name", Input).value.strip()
        return typed if ident == _TYPED else ident or ""

    def on_cycle_changed(self, _event: Cycle.Changed) -> None:
        self._say_size()

    def on_option_list_option_highlighted(self, _event: OptionList.OptionHighlighted) -> None:
        self._say_size()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.query_one(OptionList).highlighted = event.option_index
        self.action_take()

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        if by > 0:
            options.action_cursor_down()
        else:
            options.action_cursor_up()

    def _say_size(self) -> None:
        fields, model = self.query_one(LoadFields), self._model
        try:
            fields.offer_variants(self._market.variants(model) if model else ())
            asked = fields.read(model)
            told = self._sizing(asked)
            if asked.model is not None:
                self._market.size(asked, check=True)
        except UsageError as error:
            told = too_much(error)
        self.query_one("#model-size", LiveText).say(told)

    def _sizing(self, asked: OfferQuery) -> Text:
        """The memory of one GPU as a bar, and what that means. Raises UsageError."""
        if asked.model is None:
            return Text()
        fields = self.query_one(LoadFields)
        sized = self._market.size(asked, fields.gpu)
        fields.show(sized.longest)
        found = sized.allocation
        if not fields.gpu:
            return without_gpu(self._without_gpu, sized, asked)
        if found is None:
            return sizing(sized, asked)
        if self.has_class("-low"):
            return answer(found).append("\n").append_text(memory_bar(found, self._width))
        text = memory_bar(found, self._width)
        text.append("\n").append_text(answer(found))
        return text.append_text(load_note(sized, asked))

    def action_take(self) -> None:
        asked = self.query_one(LoadFields).read(self._model)
        if asked.model is None:
            return
        try:
            self._market.size(asked, check=True)
        except UsageError:
            self.app.bell()
        else:
            self.dismiss(asked)


def _size(row: ModelRow) -> float:
    """By the size of its files: what is highlighted first is to fit nearly everywhere."""
    return math.inf if row.size_gb is None else row.size_gb


def _as_row(typed: str) -> ModelRow:
    """A model of which nothing but its id is known."""
    return ModelRow(typed, typed, "hub", False, None, None, None, told_by="search")
