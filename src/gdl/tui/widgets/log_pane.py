"""A pane that follows a growing log until the user scrolls, then counts what is new."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Static, TabbedContent

from gdl.presentation.words import plural
from gdl.tui.store import LogRing
from gdl.tui.widgets.live_text import LiveText
from gdl.tui.widgets.log_view import LogView
from gdl.tui.widgets.typed_line import TypedLine

_KEYS = "/ find   e error   w wrap   ^s save"


class FindLine(TypedLine):
    """The words to find; says in the footer what its keys do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter", "submit", "To the log", id="find.done", tooltip="Go to the matching lines"
        ),
        Binding("down", "find_step(1)", "Next", id="find.next", tooltip="Next matching line"),
        Binding(
            "up", "find_step(-1)", "Previous", id="find.previous", tooltip="Previous matching line"
        ),
        Binding("escape", "leave", "End the search", id="find.end", tooltip="Leave the search"),
    ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return bool(self.value) if action == "find_step" else True

    def action_find_step(self, by: int) -> None:
        self.query_ancestor(LogPane).view.action_step(by)

    def action_leave(self) -> None:
        self.query_ancestor(LogPane).end_search()


class LogTabs(TabbedContent):
    """The logs behind tabs: one pane, which is maximized with its tabs."""

    ALLOW_MAXIMIZE = True


class LogPane(Vertical):
    """A log with a line under it: whether it is followed, what is found, the keys."""

    class SaveWanted(Message):
        """The user wants this pane's lines in a file."""

        def __init__(self, pane: LogPane) -> None:
            super().__init__()
            self.pane = pane

    def __init__(self, empty: str, *, name: str, id: str, blink: bool = True) -> None:
        """`empty` is said while there are no lines; `name` is the log's, for a file."""
        super().__init__(name=name, id=id)
        self._empty, self._blink = empty, blink
        self._ring: LogRing | None = None
        self._seen = 0
        self._seen_at_end = 0

    def compose(self) -> ComposeResult:
        yield LogView()
        with Horizontal(classes="log-find"):
            yield Static("/", classes="log-find-sign")
            line = FindLine(placeholder="find in this log", max_length=200, select_on_focus=False)
            line.cursor_blink = self._blink
            yield line
        yield LiveText(classes="log-status")

    def on_mount(self) -> None:
        self.query_one(".log-find").display = False

    @property
    def view(self) -> LogView:
        return self.query_one(LogView)

    @property
    def lines_seen(self) -> int:
        return self._seen

    def show(self, ring: LogRing | None) -> None:
        """Bring the pane up to date with a ring; another ring starts it anew."""
        if ring is not self._ring:
            self._ring, self._seen = ring, 0
            self.view.clear()
        if ring is not None and ring.total > self._seen:
            self.view.add(ring.since(self._seen), ring.first)
            self._seen = ring.total
        self._say()

    # Finding

    def end_search(self) -> None:
        self.query_one(".log-find").display = False
        self.query_one(FindLine).value = ""
        self.view.search("")
        self.view.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.view.search(event.value)
        self.screen.refresh_bindings()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value:
            self.view.focus()
        else:
            self.end_search()

    def on_log_view_wanted(self, event: LogView.Wanted) -> None:
        event.stop()
        if event.what == "find":
            self.query_one(".log-find").display = True
            self.query_one(FindLine).focus()
        elif event.what == "end":
            self.end_search()
        elif event.what == "save":
            self.post_message(self.SaveWanted(self))
        elif event.what == "no-error":
            self.notify("there is no error in this log", markup=False)

    # The line below

    def on_log_view_moved(self, event: LogView.Moved) -> None:
        event.stop()
        self._say()

    def on_resize(self) -> None:
        """The keys stand at the right of the line."""
        self._say()

    def _say(self) -> None:
        view = self.view
        if view.following:
            self._seen_at_end = self._seen
        new = self._seen - self._seen_at_end
        if self._seen == 0:
            words = self._empty
        elif view.following:
            words = f"following · {plural(self._seen, 'line')}"
        elif new:
            words = f"{plural(new, 'new line')} · End follows"
        else:
            words = f"paused · {plural(self._seen, 'line')} · End follows"
        if found := self._found():
            words = f"{found} · {plural(new, 'new line')}" if new else found
        text = Text(words, no_wrap=True, overflow="ellipsis")
        spare = self.size.width - text.cell_len - len(_KEYS)
        if not found and self._seen and spare >= 2:
            text.append(" " * (spare - 1) + _KEYS, "dim")
        self.query_one(".log-status", LiveText).say(text)

    def _found(self) -> str:
        """ "3/17 found" while searching; where the marked line stands when it is an error."""
        view = self.view
        if view.finder is None:
            return "" if view.marked is None else f"error in line {view.marked + 1:,}"
        if not view.finder.found:
            return "nothing found · Esc ends"
        here = view.finder.position(view.marked) if view.marked is not None else 0
        return f"{here or '-'}/{len(view.finder.found):,} found · n N step · Esc ends"
