"""The user's own keys (`[keys]` in the configuration), and what does not fit together in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from textual.binding import Binding
from textual.dom import DOMNode


def complaints(keys: Mapping[str, str]) -> list[str]:
    """What is wrong with these keys, in words: ids that no binding has, and keys that two actions
    of one place would share. Only what the user changed is complained about."""
    places = [(place, list(_bindings(place))) for place in _places()]
    known = {binding.id for _place, bindings in places for binding in bindings}
    found = [f"[keys] knows no {name}" for name in keys if name not in known]
    everywhere = places[0][1]
    for number, (_place, bindings) in enumerate(places):
        together = bindings if number == 0 else [*bindings, *everywhere]
        found += _clashes(together, keys)
    return list(dict.fromkeys(found))


def _clashes(bindings: Sequence[Binding], keys: Mapping[str, str]) -> Iterator[str]:
    taken: dict[str, str] = {}
    # Those that were not changed come first: they are what a changed one collides with.
    for binding in sorted(bindings, key=lambda b: b.id in keys):
        name = binding.id or ""
        for key in keys.get(name, binding.key).split(","):
            other = taken.setdefault(key.strip(), name)
            if other != name and (name in keys or other in keys):
                yield f"{key.strip()} is for both {other} and {name}"


def _bindings(place: type[DOMNode]) -> Iterator[Binding]:
    """The bindings that this class itself declares, those with an id."""
    for binding in place.BINDINGS:
        if isinstance(binding, Binding) and binding.id is not None:
            yield binding


def _places() -> list[type[DOMNode]]:
    """The app first, then everything of ours that has keys."""
    from gdl.tui.app import GdlApp
    from gdl.tui.screens.base import Scroll
    from gdl.tui.screens.chat import ChatLine, ChatScreen
    from gdl.tui.screens.deployment import DeploymentScreen
    from gdl.tui.screens.dialogs import Choose, Confirm, Details, QuitDialog
    from gdl.tui.screens.health import HealthScreen
    from gdl.tui.screens.help import HelpScreen
    from gdl.tui.screens.offers import FilterLine, OffersScreen
    from gdl.tui.screens.sessions import SessionsScreen
    from gdl.tui.screens.welcome import WelcomeScreen
    from gdl.tui.widgets.keyed_table import KeyedTable
    from gdl.tui.widgets.log_pane import FindLine
    from gdl.tui.widgets.log_view import LogView

    return [
        GdlApp, OffersScreen, DeploymentScreen, HealthScreen, SessionsScreen, ChatScreen,
        WelcomeScreen, HelpScreen, KeyedTable, LogView, Scroll, FilterLine, FindLine, ChatLine,
        Choose, Confirm, Details, QuitDialog,
    ]  # fmt: skip
