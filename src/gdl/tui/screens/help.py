"""The keys that work where help was asked for, taken from the bindings themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.dom import DOMNode
from textual.screen import Screen, SystemModalScreen
from textual.widget import Widget
from textual.widgets import Static

from gdl.domain.lazy_dataclass import dataclass
from gdl.tui.screens.base import GdlScreen
from gdl.tui.screens.jump import JumpScreen
from gdl.tui.screens.modal import Modal
from gdl.tui.widgets.scroll import Scroll

_LEGEND = (
    "✓ done, fits, passed   ▶ now   ✗ failed   ~ tight   – excluded, skipped   ● marked",
    "Tab moves between panes. The mouse works on tabs, headers, buttons and the keys below.",
)


@dataclass(frozen=True, slots=True)
class Key:
    keys: str
    name: str
    tooltip: str
    enabled: bool
    id: str = ""


def keys_of(screen: Screen[object]) -> list[tuple[str, list[Key]]]:
    """(heading, keys) from the focused widget outwards; keys of one action are joined."""
    app = screen.app
    here = "In this window" if screen.is_modal else "On this screen"
    groups: dict[str, dict[str, Key]] = {here: {}, "In this pane": {}, "Everywhere": {}}
    active = list(screen.active_bindings.values())
    if screen.is_modal:
        # The keys of the application end at a window, but for those that come before all others.
        beneath = app.screen_stack[0].active_bindings.values()
        active += [each for each in beneath if each.node is app and each.binding.priority]
    for node, binding, enabled, tooltip in active:
        if not binding.description or binding.system or _scrolls_nothing(node, binding):
            continue
        if node is app or (node is screen and binding.id is None) or binding.action == "app.help":
            group = groups["Everywhere"]
        elif node is screen:
            group = groups[here]
        else:
            group = groups["In this pane"]
        shown = app.get_key_display(binding)
        does = binding.action.removeprefix("app.")
        if (known := group.get(does)) is not None:
            shown = f"{known.keys} {shown}"
        # Textual writes its own in two ways.
        name = binding.description if binding.id else binding.description.capitalize()
        group[does] = Key(shown, name, tooltip, enabled, binding.id or "")
    return [(title, list(keys.values())) for title, keys in groups.items() if keys]


def _scrolls_nothing(node: DOMNode, binding: Binding) -> bool:
    """Whether it is one of the keys that every widget has, and here is nothing to scroll that
    way."""
    if binding.id is not None or not isinstance(node, Widget):
        return False
    if not binding.action.startswith(("scroll_", "page_")):
        return False
    sideways = binding.action.endswith(("_left", "_right"))
    return not (node.allow_horizontal_scroll if sideways else node.allow_vertical_scroll)


class HelpScreen(Modal[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q", "dismiss", "Close", id="help.close",
                tooltip="Go back to the screen"),
    ]  # fmt: skip

    def __init__(
        self,
        groups: Sequence[tuple[str, list[Key]]],
        more: tuple[str, Sequence[tuple[str, str]]] | None = None,
    ) -> None:
        """more: a heading, and what is written with what it means, as `GdlScreen.explained`."""
        super().__init__()
        self._groups, self._more = groups, more

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -wide"):
            yield Static(Text("Keys", "bold"), classes="dialog-title")
            with Scroll(id="help-body"):
                for title, keys in self._groups:
                    yield Static(Text(title, "bold underline"), classes="help-heading")
                    yield Static(_table(keys))
                if self._more is not None:
                    title, lines = self._more
                    yield Static(Text(title, "bold underline"), classes="help-heading")
                    yield Static(_meanings(lines))
                yield Static(Text("\n".join(("", *_LEGEND)), "dim"))
            yield Static("↑↓ scroll · Esc closes · Ctrl+P finds any action", classes="dialog-note")


def toggle_help(app: App[None]) -> None:
    """Over the screen or window that is shown; asked for again, it goes. It ends jump mode, over
    which it would be about nothing."""
    if isinstance(app.screen, JumpScreen):
        app.screen.dismiss()
    shown = app.screen
    if isinstance(shown, HelpScreen):
        shown.dismiss()
    elif not isinstance(shown, SystemModalScreen):
        more = shown.explained() if isinstance(shown, GdlScreen) else None
        app.push_screen(HelpScreen(keys_of(shown), more))


def _table(keys: Sequence[Key]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, width=13)
    table.add_column(overflow="fold")
    for key in keys:
        words = Text(key.name)
        if key.tooltip and key.tooltip != key.name:
            words.append(f": {key.tooltip}", "dim")
        if key.id:
            words.append(f"  {key.id}", "dim italic")
        if not key.enabled:
            words.append("  (not now)", "italic")
        table.add_row(Text(key.keys, "bold"), words)
    return table


def _meanings(lines: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold", max_width=28)
    table.add_column(overflow="fold")
    for written, meaning in lines:
        table.add_row(Text(written, "bold"), Text(meaning))
    return table
