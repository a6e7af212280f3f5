"""Two panes side by side, or above each other: keys and the mouse move the border between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from textual import work
from textual.screen import Screen
from textual.widget import Widget

from gdl.domain.lazy_dataclass import dataclass
from gdl.tui.context import context_of
from gdl.tui.widgets.grip import Grip

_STEP = {True: 2, False: 1}
"""Cells by which a key moves the border, in width and in height."""


@dataclass(frozen=True, slots=True)
class Split:
    """Two panes with a border between them. All figures are in cells, borders included.

    name: in the file that keeps the size; sized: the selector of the pane that has a size; other:
    of the one that takes the rest; across: they stand side by side, the sized one on the left,
    otherwise it stands below; least: of the sized pane; leaves: at least, to the other; usual: of
    the sized pane when nobody chose, by what both have; without it the style sheet decides.
    """

    name: str
    sized: str
    other: str
    least: int
    leaves: int
    across: bool = False
    usual: Callable[[int], int] | None = None

    def fitting(self, wish: int, both: int) -> int:
        """The nearest size to this wish where both have so much; both keep something to show."""
        most = max(both - self.leaves, min(self.least, both // 2))
        return max(min(wish, most), min(self.least, most))

    def cells(self, kept: int | None, both: int) -> int | None:
        """The size of the sized pane; None where the style sheet decides."""
        if kept is None:
            return None if self.usual is None else self.fitting(self.usual(both), both)
        return self.fitting(kept, both)


class ResizablePanes(Screen[None]):
    """A screen whose two panes, if it has a `SPLIT`, can be made larger and smaller."""

    SPLIT: ClassVar[Split | None] = None

    _keeping = _to_keep = _told = False

    def _pair(self) -> tuple[Split, Widget, Widget] | None:
        """The split with its panes, the sized one first; None while not both are seen."""
        if self.SPLIT is None or self.maximized is not None:
            return None
        panes = [*self.query(self.SPLIT.sized), *self.query(self.SPLIT.other)]
        if len(panes) != 2 or any(each.region.area == 0 for each in panes):
            return None
        return self.SPLIT, panes[0], panes[1]

    def pane_cells(self, both: int) -> int | None:
        """Of the sized pane, where both have so much; None where the style sheet decides."""
        if self.SPLIT is None:
            return None
        return self.SPLIT.cells(context_of(self).remembered.pane(self.SPLIT.name), both)

    @property
    def resizable(self) -> bool:
        """Whether there is a border now that can be moved."""
        return self._pair() is not None

    def fit_panes(self) -> None:
        """Give the panes their sizes: those that were chosen, as far as they fit."""
        if (pair := self._pair()) is not None:
            self._set(pair, self.pane_cells(_both(*pair)))

    def _set(self, pair: tuple[Split, Widget, Widget], cells: int | None) -> None:
        split, sized, _other = pair
        dimension = sized.styles.inline.width if split.across else sized.styles.inline.height
        if (dimension.value if dimension is not None else None) == cells:
            return
        if split.across:
            sized.styles.width = cells
        else:
            sized.styles.height = cells
        self.pane_resized()

    def pane_resized(self) -> None:
        """Called after the border was moved, before it is laid out."""

    def action_resize_pane(self, by: int) -> None:
        """The focused pane becomes larger (1) or smaller (-1)."""
        if (pair := self._pair()) is None:
            return
        split, sized, other = pair
        if self.focused is not None and other in self.focused.ancestors_with_self:
            by = -by
        now = sized.outer_size.width if split.across else sized.outer_size.height
        self._move(pair, now + by * _STEP[split.across])
        self._keep()

    def action_reset_panes(self) -> None:
        """The panes have their usual sizes again."""
        if self.SPLIT is not None:
            context_of(self).remembered.panes.pop(self.SPLIT.name, None)
            if (pair := self._pair()) is not None:
                self._set(pair, None)
            self.call_after_refresh(self.fit_panes)
            self._keep()

    def _move(self, pair: tuple[Split, Widget, Widget], cells: int) -> None:
        split = pair[0]
        cells = split.fitting(cells, _both(*pair))
        context_of(self).remembered.panes[split.name] = cells
        self._set(pair, cells)

    def on_grip_dragged(self, event: Grip.Dragged) -> None:
        if (pair := self._pair()) is None:
            return
        split, sized, _other = pair
        around = sized.region
        x, y = event.at
        self._move(pair, x - around.x + 1 if split.across else around.bottom - y)
        if event.last:
            self._keep()

    # For the next start

    def _keep(self) -> None:
        """Write the sizes down, once for all that changes meanwhile."""
        self._to_keep = True
        if not self._keeping:
            self._keeping = True
            self._write()

    @work(group="panes")
    async def _write(self) -> None:
        context = context_of(self)
        try:
            while self._to_keep:
                self._to_keep = False
                await asyncio.to_thread(context.remembered.keep_panes)
                self._told = False
        except OSError as error:
            if not self._told:  # once for a key that is held down
                self._told = True
                folder = context.settings.data_dir
                context.say(f"for this run only: cannot write {folder}: {error.strerror}")
        finally:
            self._keeping = False


def _both(split: Split, sized: Widget, other: Widget) -> int:
    """What both panes have together, as far as it is in view: a size that was chosen in a larger
    terminal may be more than there is."""
    around = sized.parent if isinstance(sized.parent, Widget) else sized
    if split.across:
        has = sized.outer_size.width + other.outer_size.width - around.max_scroll_x
    else:
        has = sized.outer_size.height + other.outer_size.height - around.max_scroll_y
    return max(has, 2)
