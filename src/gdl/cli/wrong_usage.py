"""A command line that cannot be read, told as every other error is: what is wrong, what helps."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gdl.domain.errors import UsageError

if TYPE_CHECKING:
    import typer

_PREFIX = re.compile(r"Invalid value(?: for (?P<which>.+?))?: ")
_NO_OPTION = re.compile(r"No such option: (?P<word>\S+)")
_NO_COMMAND = re.compile(r"No such command '(?P<word>.*?)'\.")
_TOO_MANY = re.compile(r"Got unexpected extra argument\S* \((?P<words>.*)\)", re.DOTALL)
_NO_VALUE = re.compile(r"Option '(?P<option>\S+)' requires an argument")
_MEANT = re.compile(r" (?:Did you mean (?P<commands>.+)\?|\(Possible options: (?P<options>.+)\))$")


def told(error: typer.TyperException, arguments: Sequence[str]) -> UsageError:
    """The same in the words of this program. error: what Typer makes of wrong options, arguments
    and commands, with its context where it has one. arguments: the command line."""
    message = error.format_message().strip()
    meant = _MEANT.search(message)
    message = _MEANT.sub("", message)
    which = ""
    if prefix := _PREFIX.match(message):
        which = (prefix["which"] or "").strip("'[]").replace("'", "")
        message = _of_value(error) or message[prefix.end() :]
    elif no_option := _NO_OPTION.match(message):
        message = f"there is no option {no_option['word']}"
    elif no_command := _NO_COMMAND.match(message):
        message = f"there is no command {no_command['word'] or '(empty)'}"
    elif too_many := _TOO_MANY.match(message):
        message = f"unexpected argument: {too_many['words']}"
    elif no_value := _NO_VALUE.match(message):
        message = f"{no_value['option']} needs a value"
    else:
        message = (message[:1].lower() + message[1:]).rstrip(".")
    first = "" if arguments[0].startswith("-") else f" {arguments[0]}"
    where = getattr(getattr(error, "ctx", None), "command_path", f"gdl-tui{first}")
    hint = f"`{where} -h` shows the usage"
    if meant is not None:
        names = (meant["commands"] or meant["options"]).replace("'", "").split(", ")
        hint = f"did you mean {' or '.join(names)}? {hint}"
    return UsageError(f"{which}: {message}" if which else message, hint)


def _of_value(error: typer.TyperException) -> str:
    """What is wrong with a number; "" where it is something else, which is told by itself."""
    # Typer reads values by pydantic, whose words are for programmers.
    problems = getattr(error.__cause__, "errors", None)
    if problems is None:
        return ""
    problem: dict[str, Any] = problems()[0]
    kind, given, limits = problem["type"], problem["input"], problem.get("ctx", {})
    shown = repr(given) if isinstance(given, str) else str(given)
    if kind in ("float_parsing", "float_type") or _is_nan(given):
        return f"{shown} is no number"
    if kind.startswith("int_"):
        return f"{shown} is no whole number"
    if kind == "greater_than_equal":
        return f"{shown} is less than {limits['ge']:g}"
    if kind == "less_than_equal":
        return f"{shown} is more than {limits['le']:g}"
    words: str = problem["msg"]
    return words.removeprefix("Value error, ").rstrip(".")


def _is_nan(given: object) -> bool:
    try:
        return math.isnan(float(str(given)))
    except ValueError:
        return False


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether a program reads the answer, as far as that can be told of what cannot be read."""
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in ours
