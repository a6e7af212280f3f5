"""Writes what the pages say of settings, keys and filter fields from the code that has them.

    .venv/bin/python docs/reference.py           # writes the pages
    .venv/bin/python docs/reference.py --check   # exits with 1 where a page is not as it would be

A table stands between `<!-- generated: NAME -->` and `<!-- end -->`. A setting is told by the
docstring under it; a last sentence "Default: ..." is its default where the plain value tells
nothing.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gdl import settings as settings_module
from gdl.settings import Settings, SshHost, sections

DOCS = Path(__file__).parent
OF_THE_UI = ("theme", "reduced_motion", "keys")
BLOCK = re.compile(r"(<!-- generated: ([\w ]+) -->\n).*?(<!-- end -->)", re.S)


def docstrings(module: Any) -> dict[str, dict[str, str]]:
    """What stands under each field, by class and name: Python itself keeps no such docstrings."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(Path(module.__file__).read_text()).body:
        if not isinstance(node, ast.ClassDef):
            continue
        told = found.setdefault(node.name, {})
        for field, text in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                told[field.target.id] = " ".join(str(text.value.value).split())
    return found


def shown(value: Any) -> str:
    """A default as the file would have it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value).removesuffix(".0")
    if isinstance(value, (tuple, list)):
        return "`[]`"
    return "`{}`" if isinstance(value, dict) else f"`{value}`"


def settings_table(model: type[BaseModel], names: list[str], prefix: str) -> Iterator[str]:
    told = {**docstrings(settings_module), **docstrings(sections)}[model.__name__]
    yield "| setting | default | |"
    yield "|---|---|---|"
    for name in names:
        field = model.model_fields[name]
        text, _, default = told[name].partition(" Default: ")
        if not default and not field.is_required():
            default = shown(field.get_default(call_default_factory=True))
        text = (text[0].lower() if not text[1].isupper() else text[0]) + text[1:].removesuffix(".")
        yield f"| `{prefix}{name}` | {default.removesuffix('.')} | {text} |".replace("|  |", "| |")


def of_settings(name: str) -> Iterator[str]:
    if name == "hosts":
        return settings_table(SshHost, list(SshHost.model_fields), "")
    if name in Settings.model_fields:
        model = Settings.model_fields[name].annotation
        assert isinstance(model, type)
        return settings_table(model, list(model.model_fields), f"{name}.")
    plain = [
        each
        for each, field in Settings.model_fields.items()
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel))
    ]
    ours = [each for each in plain if (each in OF_THE_UI) == (name == "terminal UI")]
    return settings_table(Settings, ours, "")


def of_filter(_name: str) -> Iterator[str]:
    from gdl.presentation.filter_fields import FIELDS

    yield "| example | what it matches | other names |"
    yield "|---|---|---|"
    for field in FIELDS:
        yield f"| `{field.example}` | {field.help} | {' '.join(f'`{a}`' for a in field.aliases)} |"


WHERE = {
    "app": "Everywhere",
    "bench": "The benchmark dialog",
    "bid": "The dialog for interruptible machines",
    "change": "The dialog that changes a failed deployment",
    "chat": "Chat",
    "chat_options": "The chat's options",
    "choose": "A list to choose from",
    "compare": "Comparing measurements",
    "conversations": "Saved conversations",
    "copy": "Copying an answer",
    "cycle": "A field with a few choices",
    "deploy": "The plan of a deployment",
    "deployment": "Deployment",
    "details": "Details",
    "dialog": "A question",
    "doctor": "Doctor",
    "filter": "The filter line",
    "find": "The search line of a log",
    "fleet": "Fleet",
    "health": "Health and benchmark",
    "help": "Help",
    "history": "Sessions: earlier deployments",
    "jump": "Jumping",
    "leaving": "While machines are released on quitting",
    "log": "A log",
    "model": "The model dialog",
    "offers": "Offers",
    "quit": "The question on quitting",
    "scroll": "A text that scrolls",
    "sessions": "Sessions",
    "slider": "A slider",
    "spending": "Spending",
    "table": "A table",
    "theme": "The list of themes",
    "watch": "The dialog that watches for an offer",
    "welcome": "Where machines come from",
    "window": "Any window",
}
"""What the first part of a binding's id stands for; one that is missing here is told as it is."""
FIRST = ("app", "offers", "deployment", "health", "sessions", "chat", "fleet", "table", "log")

_NAMES = {
    "escape": "Esc", "enter": "Enter", "space": "Space", "tab": "Tab", "delete": "Delete",
    "up": "↑", "down": "↓", "left": "←", "right": "→", "home": "Home", "end": "End",
    "pageup": "PgUp", "pagedown": "PgDn",
    **{f"f{number}": f"F{number}" for number in range(1, 13)},
}  # fmt: skip


def key_names(keys: str) -> str:
    """Of a binding, as they stand on a keyboard."""
    from textual.keys import format_key

    def name(key: str) -> str:
        *held, last = key.split("+")
        word = _NAMES.get(last) or (last if len(last) == 1 else format_key(last))
        held = [each.capitalize() for each in held]
        return "+".join([*held, word.upper() if held and len(word) == 1 else word])

    return " ".join(f"`{name(key.strip())}`" for key in keys.split(","))


def of_keys(_name: str) -> Iterator[str]:
    from gdl.tui import keymap_check
    from gdl.tui.app import GdlApp

    groups: dict[str, dict[str, str]] = {}
    for place in keymap_check.places(GdlApp):
        for binding in keymap_check.own_bindings(place):
            first = (binding.id or "").partition(".")[0]
            told = (key_names(binding.key), binding.description, binding.tooltip, f"`{binding.id}`")
            row = f"| {' | '.join(told)} |"
            groups.setdefault(first, {})[binding.id or ""] = row
    for first in [*FIRST, *sorted(set(groups) - set(FIRST), key=lambda g: WHERE.get(g, g))]:
        yield f"## {WHERE.get(first, first.capitalize())}"
        yield ""
        yield "| key | | what it does | id |"
        yield "|---|---|---|---|"
        yield from groups[first].values()
        yield ""


KINDS: dict[str, Callable[[str], Iterator[str]]] = {
    "settings": of_settings,
    "filter": of_filter,
    "keys": of_keys,
}


def generated(page: str) -> str:
    """A page with all of its tables as the code has them now."""

    def block(found: re.Match[str]) -> str:
        kind, _, name = found[2].partition(" ")
        return found[1] + "\n".join(["", *KINDS[kind](name), "", ""]) + found[3]

    return BLOCK.sub(block, page)


def outdated(write: bool) -> list[Path]:
    """Pages that are not as they would be; written when asked for."""
    found = []
    for path in sorted(DOCS.glob("*.md")):
        page = path.read_text()
        if (now := generated(page)) != page:
            found.append(path)
            if write:
                path.write_text(now)
    return found


if __name__ == "__main__":
    check = "--check" in sys.argv
    changed = outdated(write=not check)
    for each in changed:
        print(f"{'outdated' if check else 'written'}: {each.name}")
    sys.exit(1 if check and changed else 0)
