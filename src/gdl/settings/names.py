"""Names of settings: which there are, what one that is not was meant to be, and where a setting was
given. A mistyped name must not pass in silence: a limit on money would not be in force."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from gdl.domain.errors import UsageError
from gdl.domain.requirement import about, of_problem

PREFIX = "GDL_"
NESTED = "__"
RENAMED = (("install", "vllm_version", "version"),)
"""(table, old name, today's name) of what was called otherwise when there was one engine."""

_PRINTED = ("SESSION", "DEPLOYMENT")
"""What `deploy` and `env` print for a shell."""
_ON_MACHINES = ("LOCAL_SESSION", "CONSUMER", "JOB", "RUN", "DIR", "IMAGE", "MOUNTED", "VOLUME")
"""What our programs on a machine are told."""
_TESTS = "TEST_"
"""Beginning of what the tests read."""

_SECRET_OPTION = re.compile(
    r"-hft|--[\w.-]*(key|token|secret|passw(or)?d|passphrase|credentials?)", re.IGNORECASE
)

Place = tuple[str | int, ...]
"""A setting's name in parts, such as ("install", "version") or ("hosts", 0, "gpu")."""


def check_environment(settings: type[BaseModel], environment: Mapping[str, str]) -> None:
    """Raises UsageError for the first variable with our prefix that sets nothing."""
    for variable in sorted(environment):
        if not variable.upper().startswith(PREFIX):
            continue
        rest = variable.upper().removeprefix(PREFIX)
        if rest in (*_PRINTED, *_ON_MACHINES) or rest.startswith(_TESTS):
            continue
        place = tuple(rest.lower().split(NESTED))
        if _is_known(settings, place):
            continue
        message = f"{variable} in the environment: there is no such setting"
        near = _meant(settings, ".".join(place))
        field = settings.model_fields.get(place[0])
        if field is not None and not _is_table(field.annotation):
            hint = f"unset it; {variable_of(place[0])} is given in one piece, a list as JSON"
        elif near:
            hint = f"did you mean {variable_of(near)}? Set that, or unset {variable}"
        else:
            hint = f"unset it; the names are {PREFIX} and one of: {_told(settings)}"
        raise UsageError(message, hint)


def renamed(data: Mapping[str, Any]) -> dict[str, Any]:
    """With today's names for what was called otherwise when there was one engine."""
    made = dict(data)
    for table, old, new in RENAMED:
        values = made.get(table)
        if isinstance(values, dict) and old in values:
            rest = {name: value for name, value in values.items() if name != old}
            made[table] = {new: values[old], **rest}
    return made


def explain(
    settings: type[BaseModel], error: ValidationError, file: Path, text: str = ""
) -> UsageError:
    """The first thing that is wrong, and where, without the value (it may be a secret). text: what
    is to be in the file, where it is not there yet."""
    first = error.errors(include_input=False, include_url=False)[0]
    place = first["loc"]
    name = ".".join(str(part) for part in place) or "settings"
    where = _in_file(place, file, text) or given_by(place, file)
    if first["type"] == "extra_forbidden":
        hint = what_else(settings, place)
        return UsageError(f"{where or 'settings'}: there is no setting {name}", hint)
    hint = f"correct it in {where}" if where else ""
    hint = hint or f"set it by flag, by {variable_of(name)} or in {file}"
    return UsageError(f"setting {about(name, of_problem(first))}", hint)


def not_json(settings: type[BaseModel], field: str) -> UsageError:
    """Which variable has a list or a table that cannot be read. field: the setting, or the table
    that it is in."""
    import os

    for variable, value in sorted(os.environ.items()):
        place = tuple(variable.upper().removeprefix(PREFIX).lower().split(NESTED))
        ours = place[0] == field and variable.upper().startswith(PREFIX)
        if not ours or not _in_one_piece(settings, place):
            continue
        try:
            json.loads(value)
        except ValueError:
            example = variable_of("engine.args") + """='["--max-num-seqs", "64"]'"""
            hint = f"lists and tables are JSON, as in {example}"
            return UsageError(f"{variable} is not valid JSON", hint)
    return UsageError(f"setting {field} cannot be read", f"see {variable_of(field)}")


def _in_one_piece(settings: type[BaseModel], place: Place) -> bool:
    """Whether a variable gives a list or a table as a whole."""
    table: type[BaseModel] | None = settings
    for part in place[:-1]:
        table = None if table is None else _below(table, part)
    found = None if table is None else table.model_fields.get(str(place[-1]))
    annotation = None if found is None else found.annotation
    return get_origin(annotation) in (tuple, list, dict) or _is_table(annotation)


def what_else(settings: type[BaseModel], place: Place) -> str:
    """A hint on what a name that is none was meant to be, or on what there is in its table."""
    if near := _meant(settings, ".".join(str(part) for part in place)):
        return f"did you mean {near}?"
    table = settings
    for part in place[:-1]:
        table = _below(table, part) or table
    return f"there are: {_told(table)}"


def cannot_read(file: Path, error: OSError | UnicodeDecodeError) -> UsageError:
    """Why the configuration cannot be read, and what helps."""
    if isinstance(error, UnicodeDecodeError):
        line = error.object[: error.start].count(b"\n") + 1
        return UsageError(f"{file}, line {line}: not UTF-8", "save it as UTF-8, as TOML has to be")
    if isinstance(error, IsADirectoryError):
        return UsageError(f"{file} is a directory", "move it: the settings are a file of that name")
    return UsageError(f"cannot read {file}: {error.strerror}", "check its permissions")


def given_by(place: Place, file: Path) -> str:
    """The environment's variable, or the file's line, that gives this setting; "" for neither."""
    import os

    given = {name.upper(): name for name in os.environ}
    for length in range(len(place), 0, -1):
        variable = variable_of(".".join(str(part) for part in place[:length]))
        if variable in given:
            return given[variable]
    try:
        return _in_file(place, file, file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return ""


def _in_file(place: Place, file: Path, text: str) -> str:
    try:
        line = line_of(text, written(place, tomllib.loads(text)))
    except tomllib.TOMLDecodeError:
        line = 0
    return f"{file}, line {line}" if line else ""


def written(place: Place, data: dict[str, Any]) -> Place:
    """The same as the file has it: `offers.deploy = "d"` in [keys] is a table in a table."""
    if place[:1] != ("keys",):
        return place
    apart = tuple(part for name in place for part in str(name).split("."))
    return apart if holds(data, apart) else place


def line_of(text: str, place: Place) -> int:
    """The line (from 1) of a TOML text on which this setting begins; 0 when it is not there.

    The text is read up to one line after the other: a value over several lines can be read at its
    last, so it begins behind the last line before that could be read.
    """
    lines = text.splitlines()
    readable = 0
    for count in range(1, len(lines) + 1):
        try:
            data = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        if holds(data, place):
            return readable + 1
        readable = count
    return 0


def holds(data: Any, place: Place) -> bool:
    """Whether there is something of that name in what a TOML text says."""
    for part in place:
        there = part in data if isinstance(data, dict) else False
        if isinstance(data, list) and isinstance(part, int):
            there = part < len(data)
        if not there:
            return False
        data = data[part]
    return True


def _is_known(settings: type[BaseModel], place: Sequence[str]) -> bool:
    table: Any = settings
    for depth, part in enumerate(place):
        if part not in table.model_fields:
            return depth == 1 and (place[0], part) in {(where, old) for where, old, _ in RENAMED}
        table = table.model_fields[part].annotation
        if get_origin(table) is dict:
            return True  # The names below are the user's own.
        if not _is_table(table):
            return depth == len(place) - 1
    return True


def _is_table(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _below(table: type[BaseModel], part: str | int) -> type[BaseModel] | None:
    """The table of that name in another, or the one that each entry of a list is."""
    if isinstance(part, int):
        return table
    field = table.model_fields.get(part)
    if field is None:
        return None
    types = (field.annotation, *get_args(field.annotation))
    return next((each for each in types if _is_table(each)), None)


def names(settings: type[BaseModel], before: str = "") -> Iterator[str]:
    """Every setting by its whole name, such as "max_price" and "install.version"."""
    for name, field in settings.model_fields.items():
        if _is_table(field.annotation):
            table: Any = field.annotation
            yield from names(table, f"{before}{name}.")
        else:
            yield before + name


def _meant(settings: type[BaseModel], typed: str) -> str:
    """The setting that comes nearest to what was typed; "" where none is near.

    A slip in one name of a table comes before the right name in another table; where no table is
    named, a slip in a whole name comes before both.
    """
    from difflib import get_close_matches

    before, _, last = typed.rpartition(".")
    table = settings
    for part in before.split(".") if before else ():
        table = _below(table, int(part) if part.isdigit() else part) or settings
    lead = f"{before}." if before else ""
    beside = {_letters(name): lead + name for name in table.model_fields}
    every = list(names(settings))
    whole = {_letters(name): name for name in every}
    whole |= {_letters(f"{where}.{old}"): f"{where}.{new}" for where, old, new in RENAMED}
    short = {_letters(name.rpartition(".")[2]): name for name in reversed(every)}
    ways = [(last, beside, 0.75), (last, short, 0.7)]
    if not before:
        ways = [(typed, whole, 0.75), *ways, (typed, whole, 0.6)]
    for wanted, known, cutoff in ways:
        found = get_close_matches(_letters(wanted), known, n=1, cutoff=cutoff)
        if found:
            return known[found[0]]
    return ""


def _letters(name: str) -> str:
    return "".join(each for each in name.lower() if each.isalnum())


def sounds_secret(name: str) -> bool:
    """Whether a variable of that name holds what must not be shown."""
    sounds = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")
    return any(sound in name.upper() for sound in sounds)


def sounds_like_secret_option(word: str) -> bool:
    """Whether the values of such an option of a server must not be shown: `--api-key`, and not
    `--tokenizer` or `--ssl-keyfile`."""
    return _SECRET_OPTION.fullmatch(word) is not None


def variable_of(name: str) -> str:
    """What sets it in the environment."""
    return PREFIX + name.upper().replace(".", NESTED)


def _told(settings: type[BaseModel]) -> str:
    return ", ".join(settings.model_fields)
