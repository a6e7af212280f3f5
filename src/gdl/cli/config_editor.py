"""What of the configuration is typed by hand: a secret, or the whole file in an editor."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from gdl.cli.output import say
from gdl.cli.runtime import at_terminal, complain
from gdl.domain.errors import Cancelled, UsageError

_USUAL = ("nano", "vim", "vi")
_MOST = 65536
"""Characters of a secret, and of what stands around it."""
_FIRST = "# Settings of gdl-tui; `gdl-tui config get` lists them all.\n"


def secret_typed(name: str) -> str:
    """The one line of stdin; on a terminal it is asked for and not shown. Raises UsageError."""
    if at_terminal():
        import getpass

        typed = getpass.getpass(f"{name}: ")
    else:
        typed = _piped(name)
    typed = typed.strip()
    if not typed:
        raise UsageError(f"no value for {name}", "`gdl-tui config unset NAME` removes a setting")
    if len(typed.splitlines()) > 1:
        raise UsageError(f"more than one line for {name}", "give only the value, on one line")
    if not typed.isprintable():
        raise UsageError(f"the value for {name} has unprintable characters", "copy it again")
    return typed


def _piped(name: str) -> str:
    if sys.stdin is None:
        return ""
    try:
        return sys.stdin.readline(_MOST) if sys.stdin.isatty() else sys.stdin.read(_MOST)
    except UnicodeDecodeError:
        raise UsageError(f"the value for {name} is not UTF-8", "copy it again") from None


def edited(file: Path) -> str:
    """Open a copy in the user's editor, and take it over once it can be read; what came of that, in
    a sentence. Raises UsageError, Cancelled."""
    from gdl.settings import editing

    if not at_terminal():
        raise UsageError("an editor needs a terminal", "`gdl-tui config set NAME VALUE` needs none")
    words = _editor()
    before = editing.read(file) or _FIRST
    with tempfile.TemporaryDirectory(prefix="gdl-tui-") as folder:
        copy = Path(folder) / "config.toml"
        copy.write_text(before, encoding="utf-8", newline="")
        copy.chmod(0o600)
        while True:
            _run([*words, str(copy)])
            text = copy.read_bytes().decode(errors="replace")
            if text == before:
                return f"nothing was changed in {file}"
            try:
                editing.check(text, file)
            except UsageError as error:
                _again(error)
            else:
                editing.write(file, text)
                return f"{file} was saved"


def _again(error: UsageError) -> None:
    complain(error.message, error.hint)
    say("")
    sys.stderr.write("edit it again? [Y/n] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("n", "no"):
        raise Cancelled("nothing was changed", "`gdl-tui config edit` starts again")


def _editor() -> list[str]:
    for variable in ("VISUAL", "EDITOR"):
        try:
            words = shlex.split(os.environ.get(variable, ""))
        except ValueError as error:
            raise UsageError(f"cannot read ${variable}: {error}", "close the quotes") from None
        if words:
            return words
    for name in _USUAL:
        if shutil.which(name):
            return [name]
    raise UsageError("there is no editor", "name one in $EDITOR")


def _run(words: list[str]) -> None:
    """Raises UsageError when it cannot be started, or fails."""
    try:
        done = subprocess.run(words, check=False)
    except OSError as error:
        raise UsageError(f"cannot start {words[0]}: {error.strerror}", "see $EDITOR") from None
    if done.returncode:
        raise UsageError(
            f"{words[0]} ended with exit code {done.returncode}: nothing was changed", "see $EDITOR"
        )
