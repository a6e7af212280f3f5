"""A table whose rows have keys: new data leaves cursor and scroll where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.widgets import DataTable


@dataclass(frozen=True, slots=True)
class Column:
    """width: cells; wish: the width it grows to where there is room, columns further left first;
    needed: the least terminal width at which the column is shown."""

    key: str
    title: str
    width: int
    needed: int = 0
    wish: int = 0
    right: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """`cells` by column key. All text is Text: nothing in it is markup."""

    key: str
    cells: dict[str, Text]


class KeyedTable(DataTable[Text], inherit_bindings=False):
    """Enter is left to the screen, which says in the footer what it does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "cursor_down", "Down", show=False, id="table.down"),
        Binding("up,k", "cursor_up", "Up", show=False, id="table.up"),
        Binding("home,g", "scroll_top", "Top", show=False, id="table.top"),
        Binding("end,G", "scroll_bottom", "Bottom", show=False, id="table.bottom"),
        Binding("pageup", "page_up", "Page up", show=False, id="table.page_up"),
        Binding("pagedown", "page_down", "Page down", show=False, id="table.page_down"),
    ]

    def __init__(self, columns: Sequence[Column], *, id: str) -> None:
        super().__init__(id=id, cursor_type="row", cursor_foreground_priority="css")
        self.cell_padding = 0
        self._all_columns = tuple(columns)
        self._rows_shown: tuple[Row, ...] = ()
        self._marks: dict[str, str] = {}
        self._laid_out: tuple[object, ...] = ()
        self._drawn_keys: tuple[str, ...] = ()
        self._from_top = False

    def to_top(self) -> None:
        """Put the cursor on the first row when rows are next shown."""
        self._from_top = True

    @property
    def selected_key(self) -> str | None:
        """The key of the row under the cursor."""
        if not 0 <= self.cursor_row < len(self._rows_shown):
            return None
        return self._rows_shown[self.cursor_row].key

    def mark_sorted(self, column: str, *, reverse: bool) -> None:
        """Put the arrow of the sort order into a column's header when rows are next shown."""
        self._marks = {column: "▼" if reverse else "▲"}

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Show these rows in this order."""
        old, self._rows_shown = self._rows_shown, tuple(rows)
        layout_stands = self._laid_out == self._layout_key()
        if layout_stands and self._drawn_keys == tuple(row.key for row in rows):
            self._update_cells(old)
        else:
            self._draw()

    def on_resize(self, _event: events.Resize) -> None:
        if self._laid_out != self._layout_key():
            self._draw()

    def _layout_key(self) -> tuple[object, ...]:
        return (self._room, self.app.size.width, tuple(self._marks.items()))

    @property
    def _room(self) -> int:
        return self.scrollable_content_region.width

    def _update_cells(self, old: Sequence[Row]) -> None:
        widths = {str(key.value): column.width for key, column in self.columns.items()}
        by_key = {column.key: column for column in self._all_columns}
        for before, after in zip(old, self._rows_shown, strict=True):
            for key, width in widths.items():
                if before.cells[key] != after.cells[key] or (
                    before.cells[key].style != after.cells[key].style
                ):
                    cell = _fit(after.cells[key], width - 1, by_key[key])
                    self.update_cell(after.key, key, cell)

    def _draw(self) -> None:
        """Lay out the columns for this width and put all rows in, the cursor on its row."""
        if self._room <= 0:
            self._laid_out = ()  # hidden now: the next resize draws
            return
        self._laid_out = self._layout_key()
        kept, row_before, scroll_y = self._cursor_key(), self.cursor_row, self.scroll_offset.y
        if self._from_top:
            kept, row_before, scroll_y, self._from_top = None, 0, 0, False
        shown = self._columns_for(self.app.size.width)
        with self.app.batch_update():
            self.clear(columns=True)
            for column, width in shown:
                title = Text(column.title + self._marks.get(column.key, ""))
                self.add_column(_fit(title, width, column), key=column.key, width=width + 1)
            for row in self._rows_shown:
                cells = [_fit(row.cells[column.key], width, column) for column, width in shown]
                self.add_row(*cells, key=row.key)
            keys = self._drawn_keys = tuple(row.key for row in self._rows_shown)
            row_now = keys.index(kept) if kept in keys else min(row_before, len(keys) - 1)
            if keys:
                self.move_cursor(row=row_now, scroll=False)
        self.call_after_refresh(self._scroll_back, scroll_y, moved=row_now != row_before)

    def _cursor_key(self) -> str | None:
        keys = self._drawn_keys
        return keys[self.cursor_row] if 0 <= self.cursor_row < len(keys) else None

    def _scroll_back(self, y: int, *, moved: bool) -> None:
        self.scroll_to(y=y, animate=False, force=True)
        if moved and self.row_count:
            self._scroll_cursor_into_view()

    def _columns_for(self, terminal: int) -> list[tuple[Column, int]]:
        """The columns shown at this width of the terminal, with their widths."""
        shown = [column for column in self._all_columns if column.needed <= terminal]
        spare = self._room - sum(column.width + 1 for column in shown)
        widths = []
        for column in shown:
            more = min(max(spare, 0), max(column.wish - column.width, 0))
            spare -= more
            widths.append((column, column.width + more))
        return widths


def _fit(text: Text, width: int, column: Column) -> Text:
    """A copy that fills `width` cells and no more, after a space that parts it from its
    left neighbour."""
    cell = text.copy()
    cell.truncate(width, overflow="ellipsis")
    cell.pad_left(1 + (width - cell.cell_len if column.right else 0))
    return cell
