"""Choosing a theme: each is seen as the cursor comes to it."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from gdl.tui.screens.modal import Modal


class ThemeDialog(Modal[str | None]):
    """Dismissed with the name of a theme, which is in force then; with None, the one from before
    is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", id="theme.cancel",
                tooltip="Go back to the previous theme"),
    ]  # fmt: skip

    def compose(self) -> ComposeResult:
        self._before = self.app.theme
        names = sorted(self.app.available_themes)
        with Vertical(classes="dialog"):
            yield Static(Text("Which theme?", "bold"), classes="dialog-title")
            listed = OptionList(*(Option(self._line(name), id=name) for name in names))
            listed.highlighted = names.index(self._before)
            yield listed
            yield Static(
                "↑↓ previews · Enter keeps it · Esc goes back to the previous one",
                classes="dialog-note",
            )

    def _line(self, name: str) -> Text:
        theme = self.app.available_themes[name]
        kind = "the terminal's own colours" if theme.ansi else "dark" if theme.dark else "light"
        now = "  now" if name == self._before else ""
        return Text.assemble(f"{name:<22}", (f"{kind}{now}", "dim"))

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_id is not None:
            self.app.theme = event.option_id

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)

    def action_cancel(self) -> None:
        self.app.theme = self._before
        self.dismiss(None)
