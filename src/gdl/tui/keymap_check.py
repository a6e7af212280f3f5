"""The user's own keys (`[keys]` in the configuration), and what does not fit together in them."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence

from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import key_to_character
from textual.theme import BUILTIN_THEMES

from gdl.domain.errors import UsageError
from gdl.domain.text import one_line
from gdl.tui.themes import HIGH_CONTRAST


def problems(app: type[DOMNode], keys: Mapping[str, str]) -> list[str]:
    """What is wrong with these keys, in words: ids that no binding has, keys that two actions of
    one place would share, and those that could not be typed any more. Only what the user
    changed is complained about. app: its class."""
    found_in = [(place, list(own_bindings(place))) for place in places(app)]
    known = {binding.id for _place, bindings in found_in for binding in bindings}
    found = [f"[keys]: there is no action {name}" for name in keys if name not in known]
    everywhere = found_in[0][1]
    for number, (_place, bindings) in enumerate(found_in):
        together = bindings if number == 0 else [*bindings, *everywhere]
        found += _clashes(together, keys)
        found += _untypable(bindings, keys)
    return list(dict.fromkeys(found))


def check_names(app: type[DOMNode], theme: str, keys: Iterable[str]) -> None:
    """Raises UsageError for a theme (not ""), and for an id in `[keys]`, that there is not."""
    themes = [*BUILTIN_THEMES, HIGH_CONTRAST.name]
    if theme and theme not in themes:
        raise UsageError(
            f"there is no theme {one_line(theme, 40)}",
            f"{_near(theme, themes)}there are: {', '.join(sorted(themes))}",
        )
    known = [binding.id or "" for place in places(app) for binding in own_bindings(place)]
    for name in keys:
        if name not in known:
            raise UsageError(
                f"[keys]: there is no action {one_line(name, 60)}",
                f"{_near(name, known)}docs/keys.md lists them all",
            )


def _near(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]}? " if close else ""


def _clashes(bindings: Sequence[Binding], keys: Mapping[str, str]) -> Iterator[str]:
    taken: dict[str, str] = {}
    # Those that were not changed come first: they are what a changed one collides with.
    for binding in sorted(bindings, key=lambda b: b.id in keys):
        name = binding.id or ""
        for key in keys.get(name, binding.key).split(","):
            other = taken.setdefault(key.strip(), name)
            if other != name and (name in keys or other in keys):
                yield f"{key.strip()} is used for both {other} and {name}"


def _untypable(bindings: Sequence[Binding], keys: Mapping[str, str]) -> Iterator[str]:
    """What works before a field gets its key takes every character from the fields."""
    for binding in bindings:
        for key in keys.get(binding.id or "", "").split(",") if binding.priority else ():
            typed = key_to_character(key.strip()) or ""
            if typed.isprintable() and typed:
                yield f"{key.strip()} could not be typed any more: it would always be {binding.id}"


def own_bindings(place: type[DOMNode]) -> Iterator[Binding]:
    """The bindings that this class itself declares, those with an id that a user can change."""
    for binding in place.BINDINGS:
        if isinstance(binding, Binding) and binding.id is not None and not binding.system:
            yield binding


def places(app: type[DOMNode]) -> list[type[DOMNode]]:
    """The app first, then every screen and widget of ours that has keys."""
    import gdl.tui.screens
    import gdl.tui.widgets

    found: dict[type[DOMNode], None] = {app: None}
    for package in (gdl.tui.screens, gdl.tui.widgets):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for thing in vars(importlib.import_module(module.name)).values():
                if not (isinstance(thing, type) and issubclass(thing, DOMNode)):
                    continue
                if thing.__module__.startswith(package.__name__) and "BINDINGS" in vars(thing):
                    found[thing] = None
    return list(found)
