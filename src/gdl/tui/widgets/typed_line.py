"""Lines to type in, whose keys are taken in their turn among the letters."""

from __future__ import annotations

from textual.events import Key
from textual.widget import Widget
from textual.widgets import Input, TextArea


async def in_turn(line: Widget, event: Key) -> bool:
    """Do at once what a key of the line itself does; whether it was one. By way of a binding, which
    goes up to the app and comes back, Ctrl+U and Backspace would delete what was typed or pasted
    behind them, where several keys arrive together or the computer is busy."""
    if event.is_printable or not line.is_attached:
        return False
    bound = line.screen.active_bindings.get(event.key)
    if bound is None or bound.node is not line or not bound.enabled:
        return False
    # One that does nothing here, such as to scroll a single line, is left to who has the key next.
    if not await line.app.run_action(bound.binding.action, default_namespace=line):
        return False
    event.stop()
    event.prevent_default()
    return True


class TypedLine(Input):
    """One line."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        # It inherits keys that scroll, and has nothing to scroll: they are those of its window.
        if action.startswith(("scroll_", "page_")):
            return False
        return super().check_action(action, parameters)

    async def on_key(self, event: Key) -> None:
        await in_turn(self, event)


class TypedText(TextArea):
    """Several lines."""

    async def on_key(self, event: Key) -> None:
        await in_turn(self, event)
