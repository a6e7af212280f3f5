"""A table whose rows have keys: new data leaves cursor and scroll where they are. Drawn line by
line, so that ten thousand rows cost no more than those in view."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from gdl.domain.lazy_dataclass import dataclass
from gdl.tui.widgets.growing_scroll import GrowingScroll


@dataclass(frozen=True, slots=True)
class Column:
    """width: cells; wish: the width it grows to where it fits, columns further left first; most: to
    which it grows once all have what they wish; needed: the least terminal width at which the
    column is shown."""

    key: str
    title: str
    width: int
    needed: int = 0
    wish: int = 0
    most: int = 0
    right: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """`cells` by column key: plain words, never markup. style: a Rich style for the whole row."""

    cells: dict[str, str]
    style: str = ""


class KeyedTable(GrowingScroll, can_focus=True, inherit_bindings=False):
    """Enter is left to the screen, which says in the footer what it does."""

    class Highlighted(Message):
        """The cursor is on another row."""

    class Chosen(Message):
        """A row was clicked twice; the cursor is on it."""

    class HeaderClicked(Message):
        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"keyed-table--header", "keyed-table--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "cursor_down", "Down", show=False, id="table.down",
                tooltip="Next row"),
        Binding("up,k", "cursor_up", "Up", show=False, id="table.up",
                tooltip="Previous row"),
        Binding("home,g", "cursor_top", "Top", show=False, id="table.top",
                tooltip="First row"),
        Binding("end,G", "cursor_bottom", "Bottom", show=False, id="table.bottom",
                tooltip="Last row"),
        Binding("pageup", "page_up", "Page up", show=False, id="table.page_up",
                tooltip="Scroll up one page"),
        Binding("pagedown", "page_down", "Page down", show=False, id="table.page_down",
                tooltip="Scroll down one page"),
    ]  # fmt: skip

    def __init__(self, columns: Sequence[Column], *, id: str) -> None:
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._keys: Sequence[str] = ()
        self._row_of: Callable[[str], Row] = lambda _key: Row({})
        self._mark: tuple[str, str] = ("", "")
        self._laid_out: list[tuple[Column, int]] = []
        self._style: Style | None = None
        self._drawn: tuple[object, ...] = ()
        self._hidden: tuple[str, ...] = ()
        self._longest: Mapping[str, int] = {}
        self._from_top = False
        self._unless: Callable[[str], bool] | None = None
        self.cursor_row = 0

    # Rows

    @property
    def row_count(self) -> int:
        return len(self._keys)

    @property
    def selected_key(self) -> str | None:
        """The key of the row under the cursor."""
        return self._keys[self.cursor_row] if 0 <= self.cursor_row < len(self._keys) else None

    def to_top(self, *, unless: Callable[[str], bool] | None = None) -> None:
        """Put the cursor on the first row when rows are next shown. unless: it stays on its row
        where that passes this test then."""
        self._from_top, self._unless = True, unless

    def mark_sorted(self, column: str, *, reverse: bool) -> None:
        """Put the arrow of the sort order into a column's header."""
        self._mark = (column, "▼" if reverse else "▲")
        self.refresh()

    @property
    def shown_columns(self) -> tuple[str, ...]:
        """Their keys, from the left."""
        return tuple(column.key for column, _width in self._laid_out)

    def suit(self, hidden: tuple[str, ...], longest: Mapping[str, int]) -> None:
        """Show all columns that fit, but not the hidden ones. longest: cells of the longest words
        in a column; it grows no further, which leaves more to the others."""
        if (self._hidden, self._longest) != (hidden, longest):
            self._hidden, self._longest = hidden, longest
            self._laid_out = self._layout(self.app.size.width)
            self.refresh()

    def show_rows(self, keys: Sequence[str], row_of: Callable[[str], Row]) -> None:
        """Show the rows of these keys in this order. `row_of` is asked for rows in view alone, and
        for as long as they are shown."""
        kept, before, top = self.selected_key, self.cursor_row, self.scroll_offset.y
        if self._from_top:
            stays = kept in keys and self._unless is not None and self._unless(kept or "")
            if not stays:
                kept, before, top = None, 0, 0
            self._from_top, self._unless = False, None
        new_order = keys != self._keys
        self._keys, self._row_of = keys, row_of
        if not new_order:
            self._refresh_if_changed()
            return
        last = max(len(keys) - 1, 0)
        self.cursor_row = keys.index(kept) if kept in keys else min(before, last)
        self._resize_content()
        self.scroll_to(y=top, animate=False, force=True)
        if self.cursor_row != before:
            self._show_cursor()
        self._refresh_if_changed(always=True)
        self.post_message(self.Highlighted())

    def look_again(self) -> None:
        """What is told of the rows in view may have changed: their ages, say."""
        self._refresh_if_changed()

    def on_resize(self, _event: events.Resize) -> None:
        self._laid_out = self._layout(self.app.size.width)
        self._resize_content()
        self._show_cursor()
        self._refresh_if_changed(always=True)

    def _resize_content(self) -> None:
        self.resize_content(Size(self.scrollable_content_region.width, len(self._keys) + 1))

    def _refresh_if_changed(self, *, always: bool = False) -> None:
        """Paint again, if the rows in view are others than those that were painted."""
        top = self.scroll_offset.y
        drawn = (top, *map(self._row_of, self._keys[top : top + self._body_height]))
        if always or drawn != self._drawn:
            self._drawn = drawn
            self.refresh()

    @property
    def _body_height(self) -> int:
        return max(self.scrollable_content_region.height - 1, 1)

    def _layout(self, terminal: int) -> list[tuple[Column, int]]:
        """The columns shown at this width of the terminal, with their widths."""
        shown = [
            column
            for column in self._columns
            if column.needed <= terminal and column.key not in self._hidden
        ]
        width = self.scrollable_content_region.width
        spare = width - sum(column.width + 1 for column in shown)
        widths = [column.width for column in shown]
        for wished in ([column.wish for column in shown], [column.most for column in shown]):
            for at, wish in enumerate(wished):
                wish = min(wish, self._longest.get(shown[at].key, wish))
                more = min(max(spare, 0), max(wish - widths[at], 0))
                spare -= more
                widths[at] += more
        return list(zip(shown, widths, strict=True))

    # The cursor

    def move_cursor(self, row: int) -> None:
        """Put the cursor on a row and bring it into view."""
        row = min(max(row, 0), max(len(self._keys) - 1, 0))
        if row == self.cursor_row:
            return
        before, self.cursor_row = self.cursor_row, row
        for changed in (before, row):
            self._refresh_row(changed)
        self._show_cursor()
        self.post_message(self.Highlighted())

    def _refresh_row(self, row: int) -> None:
        self.refresh(Region(0, row + 1 - self.scroll_offset.y, self.size.width, 1))

    def _show_cursor(self) -> None:
        top, height = self.scroll_offset.y, self._body_height
        if self.cursor_row < top:
            self.scroll_to(y=self.cursor_row, animate=False, force=True)
        elif self.cursor_row >= top + height:
            self.scroll_to(y=self.cursor_row - height + 1, animate=False, force=True)

    def action_cursor_down(self) -> None:
        self.move_cursor(self.cursor_row + 1)

    def action_cursor_up(self) -> None:
        self.move_cursor(self.cursor_row - 1)

    def action_cursor_top(self) -> None:
        self.move_cursor(0)

    def action_cursor_bottom(self) -> None:
        self.move_cursor(len(self._keys) - 1)

    def action_page_down(self) -> None:
        self.move_cursor(self.cursor_row + self._body_height)

    def action_page_up(self) -> None:
        self.move_cursor(self.cursor_row - self._body_height)

    def on_click(self, event: events.Click) -> None:
        event.stop()
        if event.y == 0:
            if (column := self._column_at(event.x)) is not None:
                self.post_message(self.HeaderClicked(column))
            return
        row = self.scroll_offset.y + event.y - 1
        if row < len(self._keys):
            self.move_cursor(row)
            if event.chain == 2:
                self.post_message(self.Chosen())

    def _column_at(self, x: int) -> str | None:
        end = 0
        for column, width in self._laid_out:
            end += width + 1
            if x < end:
                return column.key
        return None

    # Drawing

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y == 0:
            style = self.get_component_rich_style("keyed-table--header")
            titles = {column.key: column.title for column in self._columns}
            titles[self._mark[0]] = titles.get(self._mark[0], "") + self._mark[1]
            return self._strip(titles, style, width)
        row = self.scroll_offset.y + y - 1
        if row >= len(self._keys):
            return Strip.blank(width, self._plain_style())
        found = self._row_of(self._keys[row])
        style = self._plain_style()
        if row == self.cursor_row:
            style = self.get_component_rich_style("keyed-table--cursor")
        elif found.style:
            style += Style.parse(found.style)
        return self._strip(found.cells, style, width)

    def _plain_style(self) -> Style:
        """`rich_style`, which takes as long to make as a row to draw."""
        if self._style is None:
            self._style = self.rich_style
        return self._style

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._style = None

    def _strip(self, cells: dict[str, str], style: Style, width: int) -> Strip:
        text = "".join(_fit(cells[column.key], wide, column) for column, wide in self._laid_out)
        return Strip([Segment(text, style)]).adjust_cell_length(width, style)


def _fit(text: str, width: int, column: Column) -> str:
    """The words in exactly `width` cells, after a space that parts them from the left."""
    length = cell_len(text)
    if length > width:
        text = set_cell_size(text, width - 1) + "…"
    elif length < width:
        blank = " " * (width - length)
        text = blank + text if column.right else text + blank
    return f" {text}"
