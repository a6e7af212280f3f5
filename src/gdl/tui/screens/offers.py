"""Offers: choose the model, find the machine, deploy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input
from textual.worker import WorkerCancelled

from gdl.domain.errors import BackendUnreachable, GdlError
from gdl.domain.offers import OfferQuery, RankedOffer
from gdl.tui.filtering import SORTS, Listing
from gdl.tui.offer_choice import OfferChoice
from gdl.tui.offer_watching import OfferWatching, Watch
from gdl.tui.panes import Split
from gdl.tui.screens import offer_commands as commands
from gdl.tui.screens.base import GdlScreen
from gdl.tui.screens.offer_keys import BINDINGS
from gdl.tui.widgets import offer_notes as notes
from gdl.tui.widgets.details_pane import DetailsPane
from gdl.tui.widgets.filter_row import FilterRow
from gdl.tui.widgets.keyed_table import KeyedTable, Row
from gdl.tui.widgets.live_text import LiveText
from gdl.tui.widgets.offer_rows import COLUMNS, details, longest, row, untold

REFRESH_EVERY_S = 60.0
_OF_ROWS = frozenset({"deploy", "details", "exclude", "mark", "sort", "reverse"})


class OffersScreen(GdlScreen):
    MODE = "offers"
    AUTO_FOCUS = "#offers"
    SPENDS = frozenset({"deploy"})
    SPLIT = Split("offers.details", "#offer-pane", "#offers", least=4, leaves=4)
    BINDINGS: ClassVar[list[BindingType]] = BINDINGS

    def __init__(self) -> None:
        super().__init__()
        self._choice = OfferChoice(OfferQuery())
        self._shown = 0
        self._remembered = False  # whether a remembered exclusion is among the offers
        self._takes_bids = False  # whether any of them can be had for a bid
        self._sorted_by, self._reverse = "price", False
        self._order_chosen = False
        self._loaded_at: datetime | None = None
        self._loading_since: datetime | None = None
        self._listed_for: OfferQuery | None = None  # what those in the table were asked for with
        self._error: GdlError | None = None
        self._offered = False
        self.watching = OfferWatching()

    def body(self) -> ComposeResult:
        yield LiveText(id="model-line")
        yield LiveText(id="watch-line")
        yield FilterRow(
            lambda field: self._choice.listing.names(field), blink=not self.context.reduced_motion
        )
        table = KeyedTable(COLUMNS, id="offers")
        table.display = False  # until there are rows: a note says what is going on
        yield table
        yield DetailsPane(id="offer-pane")
        yield LiveText(id="offers-note")

    def on_mount(self) -> None:
        super().on_mount()
        self._choice.wanted = self.context.remembered.wanted(self._choice.wanted)
        self.query_one(KeyedTable).mark_sorted(self._sorted_by, reverse=self._reverse)
        self.action_refresh()
        self.set_interval(REFRESH_EVERY_S, self._refresh_if_seen)

    # Loading

    def action_refresh(self) -> None:
        self._load()

    def _refresh_if_seen(self) -> None:
        if self.app.screen is self:
            self._load()

    @property
    def _query(self) -> OfferQuery:
        return self._choice.query(self.context.settings.max_price)

    @work(exclusive=True, group="offers", exit_on_error=True)
    async def _load(self) -> None:
        self._loading_since = self.now
        self.poke()
        try:
            query = self._query
            offers: Sequence[RankedOffer] = await self.context.orchestrator.market.offers(query)
        except GdlError as error:
            self._error, self._listed_for = error, None
            self._offer_others(error)
        else:
            self._choice.take(await asyncio.to_thread(Listing(offers).prepare))
            self._error, self._loaded_at, self._listed_for = None, self.now, query
            self._takes_bids = any((terms := r.offer.terms) and terms.bid for r in offers)
            self._remembered = commands.any_remembered(offers)
            if self.drawable:
                self.query_one(KeyedTable).suit(untold(offers), longest(offers))
                if not self._order_chosen:
                    self._sorted_by = commands.cheapest_by(offers, query)
                    self.query_one(KeyedTable).mark_sorted(self._sorted_by, reverse=False)
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
        asked = self.query_one(FilterRow).asked
        rows = self._choice.listing.pick(asked, self._sorted_by, reverse=self._reverse)
        self._shown = len(rows)
        table = self.query_one(KeyedTable)
        table.show_rows(rows, self._row)
        table.display = bool(rows)
        if not rows and table.has_focus:
            self.set_focus(None)
        elif rows and self.focused is None and self.app.screen is self:
            table.focus()

    def _row(self, key: str) -> Row:
        return row(self._choice.listing.by_key[key], self.now, marked=self._choice.is_marked(key))

    def refresh_view(self) -> None:
        wanted = self._choice.wanted
        need = commands.load_words(self.context, wanted)
        self.query_one("#model-line", LiveText).say(notes.model_line(wanted, need))
        self.query_one("#watch-line", LiveText).say_if_any(self.watching.line(self.now))
        self._show_details()
        self.query_one("#counts", LiveText).say(self._counts())
        self.query_one(KeyedTable).look_again()
        note = self._note()
        panel = self.query_one("#offers-note", LiveText)
        panel.set_class(not self._shown, "-whole")
        panel.say_if_any(note)

    def _counts(self) -> Text:
        if self._loaded_at is None:
            return Text()
        seconds = None if self._loading_since else (self.now - self._loaded_at).total_seconds()
        choice = self._choice
        return notes.counts(self._shown, len(choice.listing), len(choice.marked), seconds)

    def _note(self) -> Text:
        """What is said below or instead of the table; empty when there is nothing to say."""
        if self._error is not None:
            return notes.trouble(self._error, some=len(self._choice.listing) > 0)
        if self._loaded_at is None:
            waited = (self.now - (self._loading_since or self.now)).total_seconds()
            return Text(f"Asking for offers… {waited:.0f} s")
        if not self._shown:
            typing = self.query_one("#filter", Input).has_focus
            keys = "" if self.watching.watch else "Enter, then w" if typing else "w"
            return notes.nothing(len(self._choice.listing), keys)
        return notes.excluded(self.selected, self._choice.excluded)

    # Filter and order

    def explained(self) -> tuple[str, Sequence[tuple[str, str]]]:
        from gdl.presentation.offer_filter import help_lines

        return "The filter", list(help_lines())

    def action_filter(self) -> None:
        self.query_one("#filter", Input).focus()

    def action_clear(self) -> None:
        line = self.query_one("#filter", Input)
        if not line.value and not line.has_focus:
            self._unmark_all()
        line.value = ""
        self.set_focus(self.query_one(KeyedTable) if self._shown else None)

    def on_input_changed(self, _event: Input.Changed) -> None:
        self._fill()
        self.poke()
        self.refresh_bindings()

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        self.set_focus(self.query_one(KeyedTable) if self._shown else None)

    def action_sort(self) -> None:
        keys = [key for key in self.query_one(KeyedTable).shown_columns if key in SORTS]
        after = keys.index(self._sorted_by) + 1 if self._sorted_by in keys else 0
        self._order(keys[after % len(keys)], reverse=False)

    def action_reverse(self) -> None:
        self._order(self._sorted_by, reverse=not self._reverse)

    def on_keyed_table_header_clicked(self, event: KeyedTable.HeaderClicked) -> None:
        key = event.column
        if key in SORTS:
            self._order(key, reverse=key == self._sorted_by and not self._reverse)

    def _order(self, key: str, *, reverse: bool) -> None:
        self._sorted_by, self._reverse, self._order_chosen = key, reverse, True
        self.query_one(KeyedTable).mark_sorted(key, reverse=reverse)
        self._fill()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        line = self.query_one("#filter", Input) if self.drawable else None
        if action == "include" and not self._choice.excluded:
            return self._remembered
        if action in _OF_ROWS and not self._shown:
            return False
        if action == "interruptible" and not self._takes_bids:
            return self._choice.wanted.interruptible
        if action == "watch" and self._loaded_at is None:
            return False  # a watch begins with a look that succeeds
        if action == "filter" and line is not None:
            return bool(len(self._choice.listing)) and not line.has_focus
        return super().check_action(action, parameters)

    # The row under the cursor

    @property
    def selected(self) -> RankedOffer | None:
        return self._choice.listing.by_key.get(self.query_one(KeyedTable).selected_key or "")

    def action_details(self) -> None:
        """A pane below the table where it fits, else a window."""
        from gdl.tui.screens.dialogs import Details

        if self.has_class("-tall") or self.query_one(DetailsPane).display:
            pane = self.query_one(DetailsPane)
            pane.display = not pane.display
            self.poke()
        elif (chosen := self.selected) is not None:
            self.app.push_screen(Details("Offer", details(chosen, self.now)))

    def _show_details(self) -> None:
        pane = self.query_one(DetailsPane)
        if pane.display and not self.has_class("-tall"):
            pane.display = False
        if pane.display and (chosen := self.selected) is not None:
            pane.show(details(chosen, self.now))

    def on_keyed_table_highlighted(self) -> None:
        self.poke()

    def on_keyed_table_chosen(self) -> None:
        self.action_deploy()

    def action_mark(self) -> None:
        if (chosen := self.selected) is not None:
            self._choice.toggle_mark(chosen)
            self.query_one(KeyedTable).action_cursor_down()
            self.poke()
            self.refresh_bindings()

    def _unmark_all(self) -> None:
        self._choice.unmark_all()
        self.poke()
        self.refresh_bindings()

    # Commands

    @work(exclusive=True, group="exclusions")
    async def action_exclude(self) -> None:
        if await commands.exclude(self.context, self._choice, self.selected):
            self._unmark_all()
            self.action_refresh()

    @work(exclusive=True, group="exclusions")
    async def action_include(self) -> None:
        if await commands.include(self.context, self._choice, self.selected):
            self.action_refresh()

    @work(exclusive=True, group="dialog")
    async def action_model(self) -> None:
        model = self._choice.wanted.model
        if await commands.choose_model(self.context, self._choice, self.selected):
            same = self._choice.wanted.model == model
            self.query_one(KeyedTable).to_top(unless=self._suits if same else None)
            self.action_refresh()

    def _suits(self, key: str) -> bool:
        return self._choice.listing.by_key[key].excluded is None

    @work(exclusive=True, group="dialog")
    async def action_watch(self) -> None:
        """Begin to watch, or end that."""
        if self.watching.watch is not None:
            self.workers.cancel_group(self, "watch")
            self.context.say("the watch has ended")
            return
        row = self.query_one(FilterRow)
        watch = await commands.watch(self.context, self._choice, row.line, row.asked)
        if watch is not None:
            self._watch(watch)

    @work(exclusive=True, group="watch")
    async def _watch(self, watch: Watch) -> None:
        await self.watching.run(self.context, watch, self.app.bell)
        self.action_refresh()

    @work(exclusive=True, group="dialog")
    async def action_interruptible(self) -> None:
        if await commands.choose_interruptible(self.context, self._choice, self.selected):
            self._unmark_all()
            self.query_one(KeyedTable).to_top()
            self.action_refresh()

    @work(exclusive=True, group="dialog")
    async def action_deploy(self) -> None:
        if self.context.read_only:  # by the mouse: the key says it by itself
            self.context.say(self.why_not("deploy"), severity="warning")
            return
        asked = self._choice.wanted.model is None
        if asked and not await commands.choose_model(self.context, self._choice, self.selected):
            return
        if self._query != self._listed_for:
            # Only now it is known what fits. Who went to no row means the best one, as does who
            # went to one that does not suit.
            table, meant = self.query_one(KeyedTable), self.selected
            if asked:
                table.to_top(unless=self._suits if table.cursor_row else None)
            with contextlib.suppress(WorkerCancelled):
                await self._load().wait()
            commands.say_moved(self.context, self._choice, meant, self.selected)
        if self._error is not None and self._query != self._listed_for:
            # The model cannot be served, or not so: nothing is to begin that must fail.
            self.context.report(self._error)
            return
        offers = commands.wanted_offers(self.context, self._choice, self.selected)
        if not offers:
            return
        if (spec := await commands.plan(self.context, self._choice, offers)) is not None:
            self._unmark_all()
            self.context.start(spec)
