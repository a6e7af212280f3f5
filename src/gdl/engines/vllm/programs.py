"""Our programs on the machine that have to do with vLLM."""

from __future__ import annotations

from pathlib import Path

from gdl.engines.python import shell

STARTS = ("launch.py", "model_class.py")
"""What the server is started by."""
_REMOTE = Path(__file__).parent / "remote"


def remote_file(name: str) -> tuple[str, str]:
    """(name in the work folder, text)."""
    return shell.uploaded(_REMOTE, name)


def starts_are_current(folder: str = "") -> str:
    """A test: what the server is started by is that of this program. folder: "" or "NAME/"."""
    return " && ".join(shell.is_current(_REMOTE, f"{folder}{name}") for name in STARTS)
