"""A command line that cannot be read, told as every other error is: what is wrong, what helps."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gdl.domain.errors import UsageError
from gdl.domain.requirement import about, of_problem

if TYPE_CHECKING:
    import typer

_PREFIX = re.compile(r"Invalid value(?: for (?P<which>.+?))?: ")
_NO_OPTION = re.compile(r"No such option: (?P<word>\S+)")
_NO_COMMAND = re.compile(r"No such command '(?P<word>.*?)'\.")
_TOO_MANY = re.compile(r"Got unexpected extra argument\S* \((?P<words>.*)\)", re.DOTALL)
_NO_VALUE = re.compile(r"Option '(?P<option>\S+)' requires an argument")
_MEANT = re.compile(r" (?:Did you mean (?P<commands>.+)\?|\(Possible options: (?P<options>.+)\))$")
_ELSEWHERE = {
    **dict.fromkeys(("status", "ps", "ls", "list"), "sessions"),
    **dict.fromkeys(("stop", "down", "rm", "kill", "delete", "terminate", "release"), "destroy"),
    **dict.fromkeys(("run", "launch", "up", "start", "rent", "create"), "deploy"),
    **dict.fromkeys(("search", "find"), "offers"),
}
"""What a command does here that other tools call something else."""


def told(error: typer.TyperException, arguments: Sequence[str]) -> UsageError:
    """The same in the words of this program. error: what Typer makes of wrong options, arguments
    and commands, with its context where it has one. arguments: the command line."""
    message = error.format_message().strip()
    meant = _MEANT.search(message)
    message = _MEANT.sub("", message)
    no_command = _NO_COMMAND.match(message)
    if prefix := _PREFIX.match(message):
        which = (prefix["which"] or "").strip("'[].").replace("'", "")
        message = _of_value(error) or message[prefix.end() :]
        message = about(which, message)
    elif no_option := _NO_OPTION.match(message):
        message = f"there is no option {no_option['word']}"
    elif no_command:
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
    if no_command and where == "gdl-tui" and no_command["word"] in _ELSEWHERE:
        hint = f"did you mean {_ELSEWHERE[no_command['word']]}? {hint}"
    elif meant is not None:
        names = (meant["commands"] or meant["options"]).replace("'", "").split(", ")
        hint = f"did you mean {' or '.join(names)}? {hint}"
    return UsageError(message, hint)


def _of_value(error: typer.TyperException) -> str:
    """What a value must be, and what it is; "" where something else is wrong, which is told by
    itself."""
    problems = getattr(error.__cause__, "errors", None)
    if problems is None:
        return ""
    problem: dict[str, Any] = problems()[0]
    given = problem["input"]
    if _is_nan(given):
        problem["type"] = "float_parsing"
    told = of_problem(problem).rstrip(".")
    shown = repr(given) if isinstance(given, str) else str(given)
    return f"{told}, not {shown}" if told.startswith("must be ") else told


def _is_nan(given: object) -> bool:
    try:
        return math.isnan(float(str(given)))
    except ValueError:
        return False


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether a program reads the answer, as far as that can be told of what cannot be read."""
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in ours
