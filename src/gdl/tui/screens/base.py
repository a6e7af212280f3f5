"""What every main screen has: bars, keys, and a view that is redrawn from the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult, SystemCommand
from textual.widget import Widget

from gdl.tui.context import AppContext, context_of
from gdl.tui.panes import ResizablePanes
from gdl.tui.widgets.cost_bar import CostBar
from gdl.tui.widgets.key_bar import KeyBar
from gdl.tui.widgets.top_bar import TopBar

READ_ONLY = "this run is read-only: nothing is rented, changed or destroyed"


class Explains:
    """A screen or window that says why a key that it offers cannot be used."""

    def why_not(self, action: str) -> str:
        """Why an action that is offered cannot be done now."""
        return READ_ONLY


class GdlScreen(Explains, ResizablePanes):
    """A main screen. Subclasses yield their `body` and draw in `refresh_view`, which is called
    after every change of the store, once a second, and when the screen comes to the front."""

    ALLOW_IN_MAXIMIZED_VIEW = "CostBar, KeyBar"
    MODE: ClassVar[str]
    SPENDS: ClassVar[frozenset[str]] = frozenset()
    """Actions that spend or destroy: off in a read-only run."""

    _composed = False

    @property
    def context(self) -> AppContext:
        return context_of(self)

    @property
    def now(self) -> datetime:
        return self.context.now

    def compose(self) -> ComposeResult:
        context = self.context
        yield TopBar(self.MODE, context.orchestrator.backend_name, read_only=context.read_only)
        yield from self.body()
        yield CostBar()
        yield KeyBar()

    def body(self) -> ComposeResult:
        """What is between the bars."""
        return ()

    def palette(self) -> Iterator[SystemCommand]:
        """Commands of the palette that have no key."""
        return iter(())

    def explained(self) -> tuple[str, Sequence[tuple[str, str]]] | None:
        """What help tells beside the keys: a heading, and what is written with what it means."""
        return None

    def refresh_view(self) -> None:
        """Draw what the store holds now."""

    @property
    def drawable(self) -> bool:
        return self._composed and self.app.is_running

    def poke(self) -> None:
        """Draw again, if there is something to draw on: not before the first layout, and not
        while the app takes its widgets down."""
        if self.drawable:
            self.query_one(CostBar).show(self.context.store.bills(self.now), self.now)
            there = self.context.orchestrator
            self.query_one(TopBar).show({*there.market.away, *there.sessions.away})
            self.refresh_view()
            self.fit_panes()
            if self.maximized is not None and not self.maximized.display:
                self.minimize()

    # One pane alone

    def action_maximize(self) -> None:
        """The focused pane takes the whole screen, or its own size again."""
        if self.maximized is not None:
            self.minimize()
        elif (pane := self._focused_pane) is not None:
            self.maximize(pane, container=False)

    @property
    def _focused_pane(self) -> Widget | None:
        """The outermost of what can be maximized and is seen, with the focus on or in it."""
        around = self.focused.ancestors_with_self if self.focused is not None else ()
        panes = [
            each
            for each in around
            if isinstance(each, Widget) and each.ALLOW_MAXIMIZE and each.display
        ]
        return panes[-1] if panes else None

    def watch_maximized(self) -> None:
        self.refresh_bindings()

    @on(events.DescendantFocus)
    def _leave_for(self, event: events.DescendantFocus) -> None:
        """Nobody types where nothing is seen."""
        if self.maximized is not None and not event.widget.is_in_maximized_view:
            self.minimize()

    def on_mount(self) -> None:
        self._composed = True
        self.poke()

    def on_screen_resume(self) -> None:
        self.poke()

    def on_resize(self) -> None:
        self.call_after_refresh(self.poke)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in self.SPENDS and self.context.read_only:
            return None
        if action == "maximize":
            return self.maximized is not None or self._focused_pane is not None
        if action in ("resize_pane", "reset_panes"):
            return self.resizable
        return True
