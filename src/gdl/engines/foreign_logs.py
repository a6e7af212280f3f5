"""Logs of engines that are not deployed: `gdl-tui diagnose` reads them all the same."""

from __future__ import annotations

from importlib.resources import files

NAMES = ("sglang",)
"""Folders of this package that hold nothing but rules."""


def rules() -> tuple[tuple[str, str], ...]:
    """(name, text of its rules.toml) of each."""
    folder = files("gdl.engines")
    return tuple((name, folder.joinpath(name, "rules.toml").read_text("utf-8")) for name in NAMES)
