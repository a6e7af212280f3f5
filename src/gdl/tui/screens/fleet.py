"""A fleet in one window: what each replica does and costs, and what all do together; one more, one
less, or all released."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from gdl.domain.errors import GdlError
from gdl.domain.fleet_orders import FleetOrder, Scale
from gdl.domain.fleet_view import FleetView
from gdl.presentation.lines import plain
from gdl.presentation.words import plural
from gdl.tui.consequences import is_of_own, of_ending
from gdl.tui.context import AppContext, context_of
from gdl.tui.deployment_feed import list_sessions
from gdl.tui.screens.base import Explains
from gdl.tui.screens.dialogs import Confirm
from gdl.tui.screens.modal import Modal
from gdl.tui.widgets import fleet_rows
from gdl.tui.widgets.keyed_table import KeyedTable
from gdl.tui.widgets.live_text import LiveText

REFRESH_EVERY_S = 2.0
_NONE = "There is no fleet. `gdl-tui deploy MODEL --replicas 3` creates one."
_CHANGES = frozenset({"grow", "shrink", "release", "go_on"})


class FleetScreen(Explains, Modal[None]):
    AUTO_FOCUS = "#replicas"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,a", "grow", "One more", id="fleet.grow", tooltip="Add one replica"),
        Binding("minus", "shrink", "One less", id="fleet.shrink", tooltip="Remove one replica"),
        Binding("D,delete", "release", "Release", id="fleet.release",
                tooltip="Release all its machines, and wait for proof"),
        Binding("enter", "open", "Open", id="fleet.open",
                tooltip="Open this replica's deployment"),
        Binding("f", "next", "Next fleet", id="fleet.next", tooltip="Next fleet"),
        Binding("c", "go_on", "Go on", id="fleet.go_on",
                tooltip="Continue a fleet whose gdl-tui is gone"),
        Binding("y", "copy", "Copy", id="fleet.copy", tooltip="Copy its address"),
        Binding("r", "look", "Refresh", id="fleet.look", tooltip="Refresh"),
        Binding("escape,q", "dismiss", "Close", id="fleet.close", tooltip="Back"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._fleets: tuple[FleetView, ...] = ()
        self._shown = ""
        """The id of the fleet in view."""
        self._asked = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -full"):
            yield LiveText(id="fleet-title")
            yield LiveText(id="fleet-told")
            yield KeyedTable(fleet_rows.COLUMNS, id="replicas")
            yield LiveText(id="fleet-keys", classes="dialog-note")

    def on_mount(self) -> None:
        self._draw()
        self.set_interval(REFRESH_EVERY_S, self._look_if_seen)
        self.action_look()

    def _look_if_seen(self) -> None:
        if self.app.screen is self:
            self.action_look()

    @work(exclusive=True, group="look")
    async def action_look(self) -> None:
        try:
            self._fleets = tuple(await context_of(self).orchestrator.fleets.rows())
        except GdlError as error:
            context_of(self).report(error)
        self._asked = True
        self._draw()

    @property
    def _view(self) -> FleetView | None:
        """The fleet in view: the newest, unless another was chosen."""
        found = next((view for view in self._fleets if view.id == self._shown), None)
        return found or next(iter(self._fleets), None)

    def _draw(self) -> None:
        title, told = (
            self.query_one("#fleet-title", LiveText),
            self.query_one("#fleet-told", LiveText),
        )
        table, view = self.query_one("#replicas", KeyedTable), self._view
        table.display = view is not None
        self.query_one("#fleet-keys", LiveText).say(self._key_line(view))
        if view is None:
            title.say(Text("Fleets", "bold"))
            told.say(Text(_NONE if self._asked else "Asking…"))
            return
        title.say(fleet_rows.heading(view, self._fleets.index(view) + 1, len(self._fleets)))
        told.say(fleet_rows.told(view))
        by_id, now = {row.id: row for row in view.replicas}, context_of(self).now
        table.show_rows(list(by_id), lambda key: fleet_rows.replica(by_id[key], now))
        self.refresh_bindings()

    def _key_line(self, view: FleetView | None) -> str:
        """What can be done with this fleet now."""
        if view is None:
            return "Esc closes"
        changes = "" if context_of(self).read_only else "D releases all · "
        if changes and view.runs:
            changes = f"+ one more · - one less · {changes}"
        return f"{changes}Enter opens one · Esc closes"

    def why_not(self, action: str) -> str:
        if action in ("grow", "shrink") and not context_of(self).read_only:
            return "no gdl-tui works on this fleet: c goes on with it, then it can be changed"
        return super().why_not(action)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        view = self._view
        if action in _CHANGES and context_of(self).read_only:
            return None
        if action == "go_on":
            return view is not None and view.resumable
        if action in ("grow", "shrink"):
            return view is not None and (view.runs or None)
        if action == "next":
            return len(self._fleets) > 1
        return action not in ("release", "open", "copy") or view is not None

    # What can be done

    def action_next(self) -> None:
        view = self._view
        if view is not None:
            place = self._fleets.index(view) + 1
            self._shown = self._fleets[place % len(self._fleets)].id
            self._draw()

    def action_copy(self) -> None:
        if (view := self._view) is None:
            return
        if view.endpoint:
            context_of(self).copy(f"export OPENAI_BASE_URL={view.endpoint}", "its address")
        else:
            context_of(self).say("it has no address yet: one comes with the first that serves")

    def action_open(self) -> None:
        context, key = context_of(self), self.query_one("#replicas", KeyedTable).selected_key
        if key is None:
            context.say("it has no replica yet")
        elif key in context.orchestrator.deployments.active:
            self.dismiss()
            context.open_deployment(key)
        else:
            context.say("that replica can be followed only in the gdl-tui that runs its fleet")

    def on_keyed_table_chosen(self) -> None:
        self.action_open()

    @work(exclusive=True, group="dialog")
    async def action_grow(self) -> None:
        if (view := self._view) is None:
            return
        more = view.wanted + 1
        note = "A machine is rented and set up, and gets requests once it serves."
        about = fleet_rows.growth(view, more)
        if await context_of(self).ask(Confirm("Add one replica?", about, note, "Add")):
            self._order(view, Scale(more), f"{plural(more, 'replica')} wished")

    @work(exclusive=True, group="dialog")
    async def action_shrink(self) -> None:
        view = self._view
        if view is None:
            return
        if view.wanted <= 1:
            context_of(self).say("this is the last replica: D releases the fleet")
            return
        fewer = view.wanted - 1
        note = "The fleet chooses which: it gets no new requests, and its machine is released."
        about = fleet_rows.growth(view, fewer)
        dialog = Confirm("Remove one replica?", about, note, "Remove", destroys=True)
        if await context_of(self).ask(dialog):
            self._order(view, Scale(fewer), f"{plural(fewer, 'replica')} wished")

    @work(exclusive=True, group="dialog")
    async def action_release(self) -> None:
        view = self._view
        if view is None:
            return
        title = f"Release this fleet of {plural(len(view.replicas), 'replica')}?"
        note = of_ending(view)
        dialog = Confirm(title, fleet_rows.fields(view), note, "Release", destroys=True)
        context = context_of(self)
        if await context.ask(dialog):
            own = is_of_own(view)
            done = "what ran on its machines has ended" if own else "all its machines are gone"
            context.do(self._released(context, view.id), f"{done}: confirmed")

    async def _released(self, context: AppContext, fleet_id: str) -> None:
        """Until that is proven, this window open or not. Raises GdlError."""
        context.say("releasing all")
        ended = await context.orchestrator.fleets.released(fleet_id)
        self.action_look()
        # What is said below about money is as new as what is said about the end.
        await list_sessions(context)
        if ended.doubts:
            doubtful = ", ".join(plain(each, 40) for each in ended.doubts)
            raise GdlError(f"not proven: {doubtful} may still be billing", "see 4 Sessions")

    @work(exclusive=True, group="dialog")
    async def action_go_on(self) -> None:
        context, view = context_of(self), self._view
        if view is None:
            return
        try:
            await context.orchestrator.fleets.resume(view.id)
        except GdlError as error:
            context.report(error)
        else:
            context.say("continuing the fleet")
        self.action_look()

    def _order(self, view: FleetView, what: FleetOrder, words: str) -> None:
        """What was agreed to is ordered, even where this window is closed at once."""
        context = context_of(self)
        context.do(self._ordered(context, view.id, what), words)

    async def _ordered(self, context: AppContext, fleet_id: str, what: FleetOrder) -> None:
        await context.orchestrator.fleets.order(fleet_id, what)
        self.action_look()
