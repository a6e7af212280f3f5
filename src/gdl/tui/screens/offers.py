"""Offers: choose the model, find the machine, deploy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input, Static
from textual.worker import WorkerCancelled

from gdl.domain.errors import BackendUnreachable, GdlError
from gdl.domain.offers import RankedOffer
from gdl.tui.filtering import SORTS, Listing
from gdl.tui.screens.base import Scroll
from gdl.tui.screens.dialogs import fields_table
from gdl.tui.screens.offer_actions import OfferActions
from gdl.tui.widgets import offer_words as words
from gdl.tui.widgets.keyed_table import Column, KeyedTable, Row
from gdl.tui.widgets.offer_rows import COLUMNS, details, row
from gdl.tui.widgets.words import Words

REFRESH_EVERY_S = 60.0
REMEMBERED = ("offer", "machine", "provider")
"""Kinds of exclusion that may outlive a deployment."""


class FilterLine(Input):
    """The filter; says in the footer what its two keys do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "To the offers", id="filter.done",
                tooltip="Keep the filter, and go to the table"),
        Binding("escape", "screen.clear", "Clear", id="filter.clear",
                tooltip="Clear the filter, and go to the table"),
    ]  # fmt: skip


class OffersScreen(OfferActions):
    MODE = "offers"
    AUTO_FOCUS = "#offers"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "m", "model", "Model", id="offers.model",
            tooltip="Choose the model to serve, its context, requests at a time and weights",
        ),
        Binding(
            "enter", "deploy", "Deploy", id="offers.deploy",
            tooltip="Deploy on this offer, or on the marked ones, after a look at the price",
        ),
        Binding(
            "slash", "filter", "Filter", id="offers.filter",
            tooltip="Filter as you type: words, or fields such as gpu:4090 price<0.5 !spain",
        ),
        Binding("d", "details", "Details", id="offers.details", tooltip="All about this offer"),
        Binding(
            "x", "exclude", "Exclude", id="offers.exclude",
            tooltip="Leave out this offer's provider; the marked offers alone, if there are any",
        ),
        Binding(
            "space", "mark", "Mark", id="offers.mark",
            tooltip="Mark this offer: Enter tries the marked ones in turn, x leaves them out",
        ),
        Binding(
            "u", "bring_back", "Undo", id="offers.bring_back",
            tooltip="Bring back what is left out: this row's machine or provider, or the last one",
        ),
        Binding("r", "refresh", "Refresh", id="offers.refresh", tooltip="Ask for fresh offers"),
        Binding("o", "sort", "Sort", id="offers.sort",
                tooltip="Sort by the next column; a click on its header does, too"),
        Binding("O", "reverse", "Reverse the order", show=False, id="offers.reverse",
                tooltip="The same column the other way round"),
        Binding("escape", "clear", "Clear", show=False, id="offers.clear",
                tooltip="Clear the filter, then the marks"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._shown = 0
        self._remembered = False  # whether a remembered exclusion is among the offers
        self._sorted_by, self._reverse = "price", False
        self._loaded_at: datetime | None = None
        self._loading_since: datetime | None = None
        self._error: GdlError | None = None
        self._offered = False

    def body(self) -> ComposeResult:
        yield Words(id="model-line")
        with Horizontal(id="filter-row"):
            yield Static("/", id="filter-sign")
            line = FilterLine(
                placeholder="filter: words, or gpu:4090 price<0.5 vram>=24 !spain",
                id="filter",
                max_length=200,
                select_on_focus=False,
            )
            line.cursor_blink = not self.context.reduced_motion
            yield line
            yield Words(id="counts")
        table = KeyedTable(COLUMNS, id="offers")
        table.display = False  # until there are rows: a note says what is going on
        yield table
        with Scroll(id="offer-pane") as pane:
            pane.display = False
            yield Static(id="offer-details")
        yield Words(id="offers-note")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(KeyedTable).mark_sorted(self._sorted_by, reverse=self._reverse)
        self.action_refresh()
        self.set_interval(REFRESH_EVERY_S, self._refresh_if_seen)

    # Loading

    def action_refresh(self) -> None:
        self._load()

    async def fresh(self) -> None:
        with contextlib.suppress(WorkerCancelled):
            await self._load().wait()

    def _refresh_if_seen(self) -> None:
        if self.app.screen is self:
            self._load()

    @work(exclusive=True, group="offers", exit_on_error=True)
    async def _load(self) -> None:
        self._loading_since = self.now
        self.poke()
        try:
            offers: Sequence[RankedOffer] = await self.context.orchestrator.market.offers(
                self._query()
            )
        except GdlError as error:
            self._error = error
            self._offer_others(error)
        else:
            listing = await asyncio.to_thread(Listing(offers).prepare)
            self._listing, self._error, self._loaded_at = listing, None, self.now
            self._marked = [key for key in self._marked if key in listing.by_key]
            self._remembered = any(ranked.exclusion in REMEMBERED for ranked in offers)
            if self.drawable:
                priced = any(ranked.usd_per_million is not None for ranked in offers)
                self.query_one(KeyedTable).leave_out(*([] if priced else ["million"]))
                self._fill()
            self.call_after_refresh(self.context.settle)
        self._loading_since = None
        self.poke()
        self.refresh_bindings()

    def _offer_others(self, error: GdlError) -> None:
        """On a first run without a backend that answers: what else there is."""
        if self._offered or self._loaded_at is not None or not self.context.can_change_backend:
            return
        if isinstance(error, BackendUnreachable) and not self.context.config_file.is_file():
            self._offered = True
            self.context.open_window("welcome", error)

    # Drawing

    def _fill(self) -> None:
        """The offers that pass the filter, into the table."""
        line = self.query_one("#filter", Input).value
        rows = self._listing.pick(line, self._sorted_by, reverse=self._reverse)
        self._shown = len(rows)
        table = self.query_one(KeyedTable)
        table.show_rows(rows, self._row)
        table.display = bool(rows)
        if not rows and table.has_focus:
            self.set_focus(None)
        elif rows and self.focused is None and self.app.screen is self:
            table.focus()

    def _row(self, key: str) -> Row:
        return row(self._listing.by_key[key], self.now, marked=key in self._marked)

    def refresh_view(self) -> None:
        model = self._wanted.model or ""
        self.query_one("#model-line", Words).say(words.model_line(model, self._load_words()))
        self._show_details()
        self.query_one("#counts", Words).say(self._counts())
        note = self._note()
        panel = self.query_one("#offers-note", Words)
        panel.display = bool(note)
        panel.set_class(not self._shown, "-whole")
        panel.say(note)

    def _counts(self) -> Text:
        if self._loaded_at is None:
            return Text()
        seconds = None if self._loading_since else (self.now - self._loaded_at).total_seconds()
        return words.counts(self._shown, len(self._listing), len(self._marked), seconds)

    def _note(self) -> Text:
        """What is said below or instead of the table; empty when there is nothing to say."""
        if self._error is not None:
            return words.trouble(self._error, some=len(self._listing) > 0)
        if self._loaded_at is None:
            waited = (self.now - (self._loading_since or self.now)).total_seconds()
            return Text(f"Asking for offers… {waited:.0f} s")
        if not self._shown:
            return words.nothing(len(self._listing))
        return words.left_out(self.selected, self._excluded)

    # Filter and order

    def action_filter(self) -> None:
        self.query_one("#filter", Input).focus()

    def action_clear(self) -> None:
        line = self.query_one("#filter", Input)
        if not line.value and not line.has_focus:
            self.unmark()
        line.value = ""
        if self._shown:
            self.query_one(KeyedTable).focus()
        else:
            self.set_focus(None)

    def on_input_changed(self, _event: Input.Changed) -> None:
        self._fill()
        self.poke()
        self.refresh_bindings()

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        if self._shown:
            self.query_one(KeyedTable).focus()

    def action_sort(self) -> None:
        keys = [column.key for column in COLUMNS if column.key in SORTS and self._visible(column)]
        after = keys.index(self._sorted_by) + 1 if self._sorted_by in keys else 0
        self._order(keys[after % len(keys)], reverse=False)

    def action_reverse(self) -> None:
        self._order(self._sorted_by, reverse=not self._reverse)

    def on_keyed_table_header_clicked(self, event: KeyedTable.HeaderClicked) -> None:
        key = event.column
        if key in SORTS:
            self._order(key, reverse=key == self._sorted_by and not self._reverse)

    def _visible(self, column: Column) -> bool:
        return column.needed <= self.app.size.width

    def _order(self, key: str, *, reverse: bool) -> None:
        self._sorted_by, self._reverse = key, reverse
        self.query_one(KeyedTable).mark_sorted(key, reverse=reverse)
        self._fill()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        line = self.query_one("#filter", Input) if self.drawable else None
        if action == "bring_back" and not self._excluded:
            return self._remembered
        if action in ("deploy", "details", "exclude", "mark") and not self._shown:
            return False
        if action in ("filter", "sort", "reverse") and not len(self._listing):
            return False
        if action == "filter" and line is not None and line.has_focus:
            return False
        return super().check_action(action, parameters)

    # The row under the cursor

    def action_details(self) -> None:
        """A pane below the table where there is room for it, else a window."""
        from gdl.tui.screens.dialogs import Details

        chosen = self.selected
        if self.has_class("-tall") or self.query_one("#offer-pane").display:
            pane = self.query_one("#offer-pane")
            pane.display = not pane.display
            self.poke()
        elif chosen is not None:
            self.app.push_screen(Details("Offer", details(chosen, self.now)))

    def _show_details(self) -> None:
        pane = self.query_one("#offer-pane")
        if pane.display and not self.has_class("-tall"):
            pane.display = False
        if pane.display and (chosen := self.selected) is not None:
            fields = details(chosen, self.now)
            half = -(-len(fields) // 2)
            grid = Table.grid(padding=(0, 4, 0, 0), expand=True)
            grid.add_column(ratio=1)
            grid.add_column(ratio=1)
            grid.add_row(fields_table(fields[:half]), fields_table(fields[half:]))
            self.query_one("#offer-details", Static).update(grid)

    def on_keyed_table_highlighted(self) -> None:
        self.poke()

    def on_keyed_table_chosen(self) -> None:
        self.action_deploy()
