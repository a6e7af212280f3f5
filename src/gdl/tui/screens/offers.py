"""Offers: choose the model, find the machine, deploy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input, Static

from gdl.domain.errors import BackendUnreachable, GdlError
from gdl.domain.models import DeploymentSpec, OfferQuery, RankedOffer
from gdl.tui.filtering import SORTS, Listing
from gdl.tui.screens.base import GdlScreen
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
        Binding("enter", "submit", "To the offers", id="filter.done"),
        Binding("escape", "screen.clear", "Clear", id="filter.clear"),
    ]


class OffersScreen(GdlScreen):
    MODE = "offers"
    AUTO_FOCUS = "#offers"
    SPENDS = frozenset({"deploy"})
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "m", "model", "Model", id="offers.model", tooltip="Choose the model to serve"
        ),
        Binding(
            "enter", "deploy", "Deploy", id="offers.deploy",
            tooltip="Deploy the model on the offer under the cursor, after a look at the price",
        ),
        Binding("slash", "filter", "Filter", id="offers.filter", tooltip="Filter as you type"),
        Binding("d", "details", "Details", id="offers.details", tooltip="All about this offer"),
        Binding(
            "x", "exclude", "Exclude", id="offers.exclude",
            tooltip="Leave out this offer's provider",
        ),
        Binding(
            "u", "bring_back", "Undo", id="offers.bring_back",
            tooltip="Bring back what is left out: this row's machine or provider, or the last one",
        ),
        Binding("r", "refresh", "Refresh", id="offers.refresh", tooltip="Ask for fresh offers"),
        Binding("o", "sort", "Sort", id="offers.sort"),
        Binding("O", "reverse", "Reverse the order", show=False, id="offers.reverse"),
        Binding("escape", "clear", "Clear the filter", show=False, id="offers.clear"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._offers: tuple[RankedOffer, ...] = ()
        self._listing = Listing()
        self._shown = 0
        self._remembered = False  # whether a remembered exclusion is among the offers
        self._excluded: list[str] = []
        self._model = ""
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
            line.cursor_blink = not self.gdl.reduced_motion
            yield line
            yield Words(id="counts")
        table = KeyedTable(COLUMNS, id="offers")
        table.display = False  # until there are rows: a note says what is going on
        yield table
        yield Words(id="offers-note")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(KeyedTable).mark_sorted(self._sorted_by, reverse=self._reverse)
        self.action_refresh()
        self.set_interval(REFRESH_EVERY_S, self._refresh_if_seen)

    # Loading

    def action_refresh(self) -> None:
        self._load()

    def _refresh_if_seen(self) -> None:
        if self.app.screen is self:
            self._load()

    @work(exclusive=True, group="offers", exit_on_error=True)
    async def _load(self) -> None:
        self._loading_since = self.now
        self.poke()
        try:
            offers: Sequence[RankedOffer] = await self.gdl.orchestrator.offers(self._query())
        except GdlError as error:
            self._error = error
            self._offer_others(error)
        else:
            listing = await asyncio.to_thread(Listing(offers).prepare)
            self._offers, self._error, self._loaded_at = tuple(offers), None, self.now
            self._listing = listing
            self._remembered = any(ranked.exclusion in REMEMBERED for ranked in offers)
            if self.drawable:
                priced = any(ranked.usd_per_million is not None for ranked in offers)
                self.query_one(KeyedTable).leave_out(*([] if priced else ["million"]))
                self._fill()
        self._loading_since = None
        self.poke()
        self.refresh_bindings()

    def _offer_others(self, error: GdlError) -> None:
        """On a first run without a backend that answers: what else there is."""
        if self._offered or self._loaded_at is not None or not self.gdl.can_change_backend:
            return
        if isinstance(error, BackendUnreachable) and not self.gdl.config_file.is_file():
            self._offered = True
            self.gdl.action_welcome(error)

    def _query(self, *, offer_id: str | None = None) -> OfferQuery:
        return OfferQuery(
            max_price=self.gdl.settings.max_price,
            exclude_providers=tuple(self._excluded),
            offer_id=offer_id,
            model=self._model or None,
        )

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
        return row(self._listing.by_key[key], self.now)

    def refresh_view(self) -> None:
        self.query_one("#model-line", Words).say(words.model_line(self._model, self._needed()))
        self.query_one("#counts", Words).say(self._counts())
        note = self._note()
        panel = self.query_one("#offers-note", Words)
        panel.display = bool(note)
        panel.set_class(not self._shown, "-whole")
        panel.say(note)

    def _needed(self) -> str:
        return words.needed(self._model, self.gdl.orchestrator.models())

    def _counts(self) -> Text:
        if self._loaded_at is None:
            return Text()
        seconds = None if self._loading_since else (self.now - self._loaded_at).total_seconds()
        return words.counts(self._shown, len(self._listing), seconds)

    def _note(self) -> Text:
        """What is said below or instead of the table; empty when there is nothing to say."""
        if self._error is not None:
            return words.trouble(self._error, some=bool(self._offers))
        if self._loaded_at is None:
            waited = (self.now - (self._loading_since or self.now)).total_seconds()
            return Text(f"Asking for offers… {waited:.0f} s")
        if not self._shown:
            return words.nothing(len(self._offers))
        return words.left_out(self.selected, self._excluded)

    # Filter and order

    def action_filter(self) -> None:
        self.query_one("#filter", Input).focus()

    def action_clear(self) -> None:
        self.query_one("#filter", Input).value = ""
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
        if action in ("deploy", "details", "exclude") and not self._shown:
            return False
        if action in ("filter", "sort", "reverse") and not self._offers:
            return False
        if action == "filter" and line is not None and line.has_focus:
            return False
        return super().check_action(action, parameters)

    # Actions on an offer

    @property
    def selected(self) -> RankedOffer | None:
        return self._listing.by_key.get(self.query_one(KeyedTable).selected_key or "")

    def action_exclude(self) -> None:
        chosen = self.selected
        if chosen is None:
            return
        provider = chosen.offer.provider
        if provider not in self._excluded:
            self._excluded.append(provider)
            self.gdl.say(f"{provider} is left out · u brings it back")
            self._load()

    def action_bring_back(self) -> None:
        chosen = self.selected
        here = chosen.offer.provider if chosen else ""
        if chosen is not None and here not in self._excluded and (key := remembered_key(chosen)):
            self._forget(key)
            return
        if not self._excluded:
            self.gdl.say("go to a row that is left out for a failure or a wish, then press u")
            return
        provider = here if here in self._excluded else self._excluded[-1]
        self._excluded.remove(provider)
        self.gdl.say(f"{provider} is back")
        self._load()

    @work(exclusive=True, group="forget")
    async def _forget(self, key: str) -> None:
        """Clear an exclusion that outlives deployments."""
        try:
            await self.gdl.orchestrator.clear_exclusions(key)
        except GdlError as error:
            self.gdl.report(error)
            return
        self.gdl.say(f"{key} may be taken again")
        self._load()

    def action_details(self) -> None:
        from gdl.tui.screens.dialogs import Details

        if (chosen := self.selected) is not None:
            self.app.push_screen(Details("Offer", details(chosen, self.now)))

    def on_keyed_table_highlighted(self) -> None:
        self.poke()

    def on_keyed_table_chosen(self) -> None:
        self.action_deploy()

    @work(exclusive=True, group="dialog")
    async def action_model(self) -> None:
        await self._ask_model()

    async def _ask_model(self) -> bool:
        from gdl.tui.screens.planning import ModelDialog

        models, blink = self.gdl.orchestrator.models(), not self.gdl.reduced_motion
        chosen = await self.app.push_screen_wait(ModelDialog(models, self._model, blink=blink))
        if chosen is None:
            return False
        if chosen != self._model:
            self._model = chosen
            self.query_one(KeyedTable).to_top()
            self._load()
        return True

    @work(exclusive=True, group="dialog")
    async def action_deploy(self) -> None:
        from gdl.tui.screens.planning import DeployDialog

        if self.gdl.read_only:
            self.gdl.say("this run is read-only: nothing is rented", severity="warning")
            return
        chosen = self.selected
        if chosen is None:
            return
        if not self._model and not await self._ask_model():
            return
        if chosen.excluded is not None:
            self.gdl.say(f"this offer is left out: {chosen.excluded}", severity="warning")
            return
        pinned = chosen != self._cheapest()
        settings = self.gdl.settings
        dialog = DeployDialog(
            chosen.offer, self._model, self._needed(), settings.hours,
            pinned=pinned, attempts=settings.max_attempts,
        )  # fmt: skip
        choice = await self.app.push_screen_wait(dialog)
        if choice is None:
            return
        spec = DeploymentSpec(
            model=self._model,
            backend=self.gdl.orchestrator.backend_name,
            query=self._query(offer_id=chosen.offer.id if pinned else None),
            hours=choice.hours,
            max_attempts=settings.max_attempts,
            after="hold",
            auto_failover=choice.auto_failover,
            ask_on_failure=True,
        )
        self.gdl.start(spec)

    def _cheapest(self) -> RankedOffer | None:
        """What the orchestrator would take by itself: the first suitable one as listed."""
        return next((ranked for ranked in self._offers if ranked.excluded is None), None)


def remembered_key(ranked: RankedOffer) -> str | None:
    """The key under which the exclusion of an offer is remembered; None when it is no such one."""
    offer = ranked.offer
    keys = {"offer": offer.id, "machine": offer.machine_id, "provider": offer.provider}
    return keys.get(ranked.exclusion or "")
