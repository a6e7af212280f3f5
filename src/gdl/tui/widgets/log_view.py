"""The lines of a log: followed until the user scrolls, wrapped or not, searched."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Offset, Size
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip

from gdl.tui.widgets.growing_scroll import GrowingScroll
from gdl.tui.widgets.log_lines import Finder, LogLines, chop, levels


class LogView(GrowingScroll, can_focus=True):
    """Only what is visible is rendered; its cost does not grow with the log."""

    class Moved(Message):
        """Another part is shown, or another line is marked."""

    class Wanted(Message):
        """Something that the pane around this view does. what: find | end | save | no-error."""

        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *("log-view--found", "log-view--marked"),
        *("log-view--error", "log-view--warning"),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False, id="log.down", tooltip="One line down"),
        Binding("k", "scroll_up", "Up", show=False, id="log.up", tooltip="One line up"),
        Binding("g", "top", "Top", show=False, id="log.top",
                tooltip="Go to the oldest line kept"),
        Binding(
            "end,G", "follow", "Follow", show=False, id="log.follow",
            tooltip="Go to the end and follow the log again",
        ),
        Binding(
            "space", "pause", "Pause", show=False, id="log.pause",
            tooltip="Pause while lines arrive, or follow again",
        ),
        Binding(
            "slash", "find", "Find", show=False, id="log.find",
            tooltip="Find text in this log; case matters if you type capitals",
        ),
        Binding("n", "step(1)", "Next found", show=False, id="log.next",
                tooltip="Next matching line, while searching"),
        Binding("N", "step(-1)", "Previous found", show=False, id="log.previous",
                tooltip="Previous matching line, while searching"),
        Binding("escape", "end_search", "End the search", show=False, id="log.end_search",
                tooltip="Leave the search"),
        Binding(
            "e", "error", "Next error", show=False, id="log.error",
            tooltip="Go to the next error",
        ),
        Binding(
            "w", "wrap", "Wrap", show=False, id="log.wrap",
            tooltip="Wrap long lines, or cut them off at the edge",
        ),
        Binding("ctrl+s", "save", "Save", show=False, id="log.save",
                tooltip="Save the lines in this pane to a file"),
    ]  # fmt: skip

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lines = LogLines()
        self.finder: Finder | None = None
        self.marked: int | None = None
        self.following = True
        self._wrap = True

    @property
    def allow_select(self) -> bool:
        return True

    def add(self, lines: list[str], first: int) -> None:
        """More lines at the end; those before number `first` go."""
        gone = self.lines.add(lines, first)
        if self.marked is not None and self.marked < self.lines.first:
            self.marked = None
        if self.finder is not None:
            self.finder.look(self.lines)
        self._resized()
        if gone and not self.following:
            self.scroll_to(y=max(self.scroll_offset.y - gone, 0), animate=False)

    def clear(self) -> None:
        self.lines.clear()
        self.marked, self.following = None, True
        self.lines.lay_out(self._row_width)
        self.search(self.finder.words if self.finder is not None else "", move=False)
        self._resized()

    @property
    def _row_width(self) -> int:
        """Cells of a wrapped row; 0 when lines are not wrapped."""
        return (self.scrollable_content_region.width or 80) if self._wrap else 0

    def _resized(self) -> None:
        self.resize_content(Size(self._row_width or self.lines.widest, self.lines.rows))
        if self.following:
            self.scroll_end(animate=False, immediate=True, x_axis=False)
        self.refresh()

    def on_resize(self, _event: events.Resize) -> None:
        if self.lines.width != self._row_width:
            self._lay_out()
        self._resized()

    def _lay_out(self) -> None:
        """Place the lines at the width there is now; what was on top stays on top."""
        top = self._top_line if self.lines.rows else None
        self.lines.lay_out(self._row_width)
        if top is not None and not self.following:
            self.resize_content(Size(self._row_width or self.lines.widest, self.lines.rows))
            self.scroll_to(y=self.lines.row_of(top), animate=False, force=True)

    @property
    def _top_line(self) -> int:
        row = min(self.scroll_offset.y, self.lines.rows - 1)
        return self.lines.at(row)[0] if row >= 0 else self.lines.first

    # Moving

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

    def action_pause(self) -> None:
        if self.following:
            self.following = False
            self.post_message(self.Moved())
        else:
            self.action_follow()

    def action_wrap(self) -> None:
        self._wrap = not self._wrap
        if self._wrap:
            self.scroll_x = 0
        self._lay_out()
        self._resized()

    def _mark(self, number: int) -> None:
        """Show this line and mark it; the log is no longer followed."""
        self.marked, self.following = number, False
        row = self.lines.row_of(number)
        top, height = self.scroll_offset.y, self.size.height
        if not top <= row < top + height:
            self.scroll_to(y=max(row - height // 3, 0), animate=False, force=True)
            # Where it came to rest may be the end: that is no wish to follow.
            self.following = False
        self.refresh()
        self.post_message(self.Moved())

    # Finding

    def search(self, words: str, *, move: bool = True) -> None:
        """Find these words from what is in view on; no words end the search."""
        self.finder = Finder(words) if words else None
        if self.finder is None:
            self.marked = None
        else:
            self.finder.look(self.lines)
            start = self.marked if self.marked is not None else self._top_line
            found = self.finder.next(start) if move else None
            if found is not None:
                self._mark(found)
            elif move:
                self.marked = None
        self.refresh()
        self.post_message(self.Moved())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("step", "end_search"):
            return self.finder is not None
        return super().check_action(action, parameters)

    def action_step(self, by: int) -> None:
        if self.finder is None:
            return
        here = self.marked if self.marked is not None else self._top_line
        found = self.finder.next(here + 1) if by > 0 else self.finder.previous(here)
        if found is not None:
            self._mark(found)

    def action_error(self) -> None:
        here = self.marked + 1 if self.marked is not None else self._top_line
        found = self.lines.error_after(here)
        if found is None:
            self.post_message(self.Wanted("no-error"))
        else:
            self._mark(found)

    def action_find(self) -> None:
        self.post_message(self.Wanted("find"))

    def action_end_search(self) -> None:
        self.post_message(self.Wanted("end"))

    def action_save(self) -> None:
        self.post_message(self.Wanted("save"))

    # Drawing

    def render_line(self, y: int) -> Strip:
        scroll_x, scroll_y = self.scroll_offset
        row, width, style = scroll_y + y, self.size.width, self.rich_style
        if row >= self.lines.rows:
            return Strip.blank(width, style)
        number, index = self.lines.at(row)
        line = self.lines[number]
        start, end, left = 0, len(line), scroll_x
        if self.lines.width:
            parts = chop(line, self.lines.width)
            index = min(index, len(parts) - 1)
            start = sum(len(part) for part in parts[:index])
            end, left = start + len(parts[index]), 0
        strip = Strip(self._segments(line, number, start, end))
        return strip.apply_offsets(start, number).crop_extend(left, left + width, style)

    def _segments(self, line: str, number: int, start: int, end: int) -> list[Segment]:
        """A part of a line in the pane's style, with the levels, what is found and what is
        selected in it."""
        base = self.rich_style
        if number == self.marked and self.finder is None:
            base = self.get_component_rich_style("log-view--marked")
        painted = [(start, end, base)]
        for begun, ended, level in levels(line):
            style = self.get_component_rich_style(f"log-view--{level}", partial=True)
            painted = _over(painted, begun, ended, style)
        if self.finder is not None:
            name = "log-view--marked" if number == self.marked else "log-view--found"
            found = self.get_component_rich_style(name)
            for span in self.finder.spans(line):
                painted = _over(painted, *span, found)
        selection = self.text_selection
        part = selection.get_span(number) if selection is not None else None
        if part is not None:
            chosen = self.screen.get_component_rich_style("screen--selection")
            painted = _over(painted, part[0], end if part[1] == -1 else part[1], chosen)
        return [Segment(line[a:b], style) for a, b, style in painted]

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return _shifted(selection, self.lines.first).extract(self.lines.text()), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()


def _over(
    painted: list[tuple[int, int, Style]], start: int, end: int, style: Style
) -> list[tuple[int, int, Style]]:
    """The same stretches with `style` laid over those between `start` and `end`."""
    result = []
    for a, b, below in painted:
        cuts = sorted({a, b, *(c for c in (start, end) if a < c < b)})
        for left, right in pairwise(cuts):
            inside = start <= left and right <= end
            result.append((left, right, below + style if inside else below))
    return result


def _shifted(selection: Selection, lines: int) -> Selection:
    """A selection whose lines are counted from the oldest kept one."""

    def shift(offset: Offset | None) -> Offset | None:
        if offset is None or offset.y < lines:
            return None if offset is None else Offset(0, 0)
        return Offset(offset.x, offset.y - lines)

    return Selection(shift(selection.start), shift(selection.end))
