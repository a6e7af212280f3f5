"""The keys that work on every main screen."""

from __future__ import annotations

from textual.binding import Binding, BindingType

from gdl.tui.screen_registry import MAIN_SCREENS, WINDOWS

BINDINGS: list[BindingType] = [
    *(entry.binding("show") for entry in MAIN_SCREENS),
    *(entry.binding("open") for entry in WINDOWS),
    Binding("question_mark", "help", "Help", id="app.help", tooltip="The keys that work here"),
    Binding("f1", "help", "Help", priority=True, id="app.help_anywhere",
            tooltip="The keys that work here"),
    Binding("q", "quit", "Quit", id="app.quit",
            tooltip="Asks first while a machine is rented"),
    Binding("ctrl+q", "quit", "Quit", priority=True, id="app.quit_anywhere",
            tooltip="Asks first while a machine is rented"),
    Binding("z", "screen.maximize", "Maximize", show=False, id="app.maximize",
            tooltip="Maximize the focused pane, or restore it"),
    Binding("greater_than_sign", "screen.resize_pane(1)", "Larger pane", show=False,
            id="app.larger", tooltip="Make the focused pane larger, the one beside it smaller"),
    Binding("less_than_sign", "screen.resize_pane(-1)", "Smaller pane", show=False,
            id="app.smaller", tooltip="Make the focused pane smaller, the one beside it larger"),
    Binding("equals_sign", "screen.reset_panes", "Usual panes", show=False, id="app.panes",
            tooltip="Give the panes of this screen their usual sizes again"),
    Binding("ctrl+g", "jump", "Jump", show=False, priority=True, id="app.jump",
            tooltip="Put a letter on everything that can have the focus; the letter goes there"),
    Binding("colon", "commands", "Command", show=False, id="app.commands",
            tooltip="Go to a screen or do something by its name, as with Ctrl+P"),
    Binding("ctrl+z", "suspend", "Suspend", show=False, id="app.suspend",
            tooltip="Go back to the shell until fg; not while a deployment runs"),
]  # fmt: skip
