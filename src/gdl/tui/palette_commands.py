"""The actions of the screen in front, and of the app, as commands of the palette."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from textual.app import App, SystemCommand
from textual.dom import DOMNode
from textual.screen import Screen

_ITS_OWN = frozenset({"quit", "commands", "app.command_palette", "command_palette"})
"""Offered in any case, in windows too; or the palette itself."""
OURS = frozenset({"Maximize", "Minimize", "Quit", "Keys"})
"""Commands of Textual's for which there is a binding here. Its panel of keys takes a third of the
screen, until the palette is asked to hide it: Help shows the same in a window."""


def commands(app: App[None], screen: Screen[Any]) -> Iterator[SystemCommand]:
    """One command for every enabled binding that does more than move a cursor."""
    yield SystemCommand("Quit", "Asks first while a machine is rented", app.action_quit)
    seen: set[str] = set()
    for node, binding, enabled, tooltip in screen.active_bindings.values():
        if not enabled or not binding.description or binding.id is None:
            continue
        if binding.action in seen or binding.action in _ITS_OWN or _moves(binding.action):
            continue
        seen.add(binding.action)
        key = app.get_key_display(binding)
        help_text = f"{tooltip or binding.description} ({key})"
        yield SystemCommand(binding.description, help_text, _runner(app, binding.action, node))


def _moves(action: str) -> bool:
    """Moving a cursor or scrolling: of no use from a palette."""
    return action.startswith(("scroll_", "cursor_", "page_"))


def _runner(app: App[None], action: str, node: DOMNode) -> Callable[[], Any]:
    async def run() -> None:
        await app.run_action(action, node)

    return run
