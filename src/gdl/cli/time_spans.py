"""Spans of time as people type them on a command line."""

from __future__ import annotations

import re

import typer

_UNITS = {"": 1.0, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?) ?(s|min|m|h|d)?", re.ASCII)


def seconds(text: str) -> float:
    """Of "45", "30s", "10m", "10min", "1.5h", "2h30m" or "1d". Raises BadParameter."""
    typed = text.strip().lower()
    parts = _SPAN.findall(typed)
    if not parts or _SPAN.sub("", typed).strip():
        raise typer.BadParameter(f"{text!r} is not a duration: write 30s, 10m, 2h or 1d")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def at_least(least: float, text: str) -> float:
    """The same, and no less than so many seconds."""
    span = seconds(text)
    if span < least:
        raise typer.BadParameter(f"{text!r} is less than {least:g} s")
    return span
