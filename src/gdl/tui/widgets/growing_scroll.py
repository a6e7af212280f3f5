"""A scrolled view whose content may grow many times a second."""

from __future__ import annotations

from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.widget import Widget


class GrowingScroll(ScrollView):
    """Takes another size of its content without laying out the screen anew, as nothing around it
    depends on that. Only a scrollbar that comes or goes does."""

    def resize_content(self, size: Size) -> None:
        if size != self.virtual_size:
            self.set_reactive(Widget.virtual_size, size)
            self._scroll_update(size)
