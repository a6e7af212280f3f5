"""A pane that follows a growing log until the user scrolls, then counts what is new."""

from __future__ import annotations

from bisect import bisect_right
from typing import ClassVar

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from gdl.tui import format as fmt
from gdl.tui.store import LINES_KEPT, LogRing
from gdl.tui.widgets.words import Words


class LogView(ScrollView, can_focus=True):
    """The lines themselves. Only what is visible is rendered; wrapping is computed per line."""

    class Moved(Message):
        """The view was scrolled, by the user or by following."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False, id="log.down"),
        Binding("k", "scroll_up", "Up", show=False, id="log.up"),
        Binding("g", "top", "Top", show=False, id="log.top"),
        Binding(
            "end,G", "follow", "Follow", show=False, id="log.follow",
            tooltip="Go to the end and follow the log again",
        ),
        Binding(
            "w", "wrap", "Wrap", show=False, id="log.wrap",
            tooltip="Wrap long lines, or cut them at the edge",
        ),
    ]  # fmt: skip

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[str] = []
        self._starts: list[int] = []  # the first row of each line
        self._row_count = 0
        self._widest = 0
        self._wrap = True
        self._laid_out_for = 0
        self.following = True

    @property
    def allow_select(self) -> bool:
        return True

    def add(self, lines: list[str]) -> None:
        """More lines at the end; the oldest go when there are too many."""
        self._lines.extend(lines)
        gone = len(self._lines) - LINES_KEPT
        if gone > 0:
            rows_gone = self._starts[gone] if gone < len(self._starts) else self._row_count
            del self._lines[:gone]
            self._lay_out()
            if not self.following:
                self.scroll_to(y=max(self.scroll_offset.y - rows_gone, 0), animate=False)
        else:
            self._append_rows(lines)
        self._resized()

    def clear(self) -> None:
        self._lines.clear()
        self.following = True
        self._lay_out()
        self._resized()

    def _append_rows(self, lines: list[str]) -> None:
        width = self._wrap_width
        for line in lines:
            self._starts.append(self._row_count)
            length = cell_len(line)
            self._widest = max(self._widest, length)
            rows = 1 if width == 0 or length <= width else len(_chop(line, width))
            self._row_count += rows

    def _lay_out(self) -> None:
        self._starts, self._row_count, self._widest = [], 0, 0
        self._laid_out_for = self._wrap_width
        self._append_rows(self._lines)

    @property
    def _wrap_width(self) -> int:
        """Cells of a wrapped row; 0 when lines are not wrapped."""
        return (self.scrollable_content_region.width or 80) if self._wrap else 0

    def _resized(self) -> None:
        width = self._wrap_width or self._widest
        self.virtual_size = Size(width, self._row_count)
        if self.following:
            self.scroll_end(animate=False, immediate=True, x_axis=False)
        self.refresh()

    def on_resize(self, _event: events.Resize) -> None:
        if self._laid_out_for != self._wrap_width:
            self._lay_out()
        self._resized()

    def watch_scroll_y(self, old: float, new: float) -> None:
        super().watch_scroll_y(old, new)
        if round(old) != round(new):
            self.following = self.is_vertical_scroll_end
            self.post_message(self.Moved())

    def action_top(self) -> None:
        self.scroll_home(animate=False)

    def action_follow(self) -> None:
        self.following = True
        self.scroll_end(animate=False, x_axis=False)
        self.post_message(self.Moved())

    def action_wrap(self) -> None:
        self._wrap = not self._wrap
        if self._wrap:
            self.scroll_x = 0
        self._lay_out()
        self._resized()

    def render_line(self, y: int) -> Strip:
        scroll_x, scroll_y = self.scroll_offset
        row, width, style = scroll_y + y, self.size.width, self.rich_style
        if row >= self._row_count:
            return Strip.blank(width, style)
        number = bisect_right(self._starts, row) - 1
        text, offset = self._lines[number], 0
        if self._wrap and row < self._row_count:
            parts = _chop(text, self._laid_out_for)
            index = row - self._starts[number]
            offset = sum(len(part) for part in parts[:index])
            text = parts[index] if index < len(parts) else ""
        strip = Strip(self._segments(text, number, offset))
        return strip.apply_offsets(offset, number).crop_extend(
            0 if self._wrap else scroll_x, (0 if self._wrap else scroll_x) + width, style
        )

    def _segments(self, text: str, line: int, offset: int) -> list[Segment]:
        """The text in the pane's style, the selected part of it in the selection's."""
        style = self.rich_style
        selection = self.text_selection
        span = selection.get_span(line) if selection is not None else None
        if span is None:
            return [Segment(text, style)]
        start = max(span[0] - offset, 0)
        end = len(text) if span[1] == -1 else max(span[1] - offset, 0)
        marked = style + self.screen.get_component_rich_style("screen--selection")
        parts = ((text[:start], style), (text[start:end], marked), (text[max(start, end) :], style))
        return [Segment(part, how) for part, how in parts if part]

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract("\n".join(self._lines)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()


class LogPane(Vertical):
    """A log with a line under it that says whether it is followed."""

    def __init__(self, empty: str, *, id: str) -> None:
        """`empty` is said while there are no lines."""
        super().__init__(id=id)
        self._empty = empty
        self._ring: LogRing | None = None
        self._seen = 0
        self._seen_at_end = 0

    def compose(self) -> ComposeResult:
        yield LogView()
        yield Words(classes="log-status")

    @property
    def view(self) -> LogView:
        return self.query_one(LogView)

    def show(self, ring: LogRing | None) -> None:
        """Bring the pane up to date with a ring; another ring starts it anew."""
        if ring is not self._ring:
            self._ring, self._seen = ring, 0
            self.view.clear()
        if ring is not None and ring.total > self._seen:
            self.view.add(ring.since(self._seen))
            self._seen = ring.total
        self._say()

    def on_log_view_moved(self) -> None:
        self._say()

    def _say(self) -> None:
        if self.view.following:
            self._seen_at_end = self._seen
        new = self._seen - self._seen_at_end
        if self._seen == 0:
            text = self._empty
        elif self.view.following:
            text = f"following · {fmt.plural(self._seen, 'line')}"
        elif new:
            text = f"{fmt.plural(new, 'new line')} · End follows"
        else:
            text = f"paused · {fmt.plural(self._seen, 'line')} · End follows"
        self.query_one(Words).say(text)


def _chop(text: str, width: int) -> list[str]:
    """Rows of at most `width` cells; an empty line is one row."""
    if width <= 0 or not text:
        return [text]
    if text.isascii():
        return [text[i : i + width] for i in range(0, len(text), width)]
    return chop_cells(text, width)
