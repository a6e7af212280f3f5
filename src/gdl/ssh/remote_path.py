"""Paths on the machine. Commands and SFTP both start in the home folder."""

from __future__ import annotations


def plain(path: str) -> str:
    """The path without `~/`, which only a shell understands."""
    return path[2:] if path.startswith("~/") and len(path) > 2 else path


def as_argument(path: str) -> str:
    """A path that no command takes for an option."""
    path = plain(path)
    return path if path.startswith("/") else f"./{path}"
