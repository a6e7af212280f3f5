"""The configuration file as its user changes it: one setting at a time, comments and order kept."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from gdl.domain.errors import UsageError
from gdl.domain.requirement import about, of_problem
from gdl.settings import Settings
from gdl.settings.hiding import HIDDEN, hold_secret, safe, without_secrets
from gdl.settings.names import (
    RENAMED,
    cannot_read,
    explain,
    given_by,
    names,
    renamed,
    sounds_secret,
    what_else,
    written,
)
from gdl.whole_file import write_whole

_ARGUMENTS = ("engine", "args")


def place_of(name: str) -> tuple[str, ...]:
    """A setting's name in parts. Raises UsageError, with what was meant, for one that is none."""
    place = tuple(name.strip().replace("-", "_").split("."))
    for table, old, new in RENAMED:
        if place == (table, old):
            place = (table, new)
    if place[0] == "keys" and len(place) > 2:
        # Their names have dots of their own.
        place = ("keys", name.strip().partition(".")[2])
    if _annotation(place) is None:
        raise UsageError(f"there is no setting {name[:80]}", what_else(Settings, place))
    return place


def every_name() -> list[str]:
    """Of all settings, tables written out."""
    return list(names(Settings))


def is_secret(place: tuple[str, ...]) -> bool:
    """Whether its value is never printed and never on a command line."""
    if place[:2] == ("engine", "env") and len(place) > 2:
        return sounds_secret(place[-1])
    annotation = _annotation(place)
    return annotation is SecretStr or SecretStr in get_args(annotation)


def is_table(place: tuple[str, ...]) -> bool:
    """Whether there are settings in it, and it is none itself."""
    annotation = _annotation(place)
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def shown(settings: Settings, place: tuple[str, ...]) -> Any:
    """The value in force, as JSON has it; None for none. A secret is told to be there; so is what
    is given to the server under a secret's name, as a variable or an argument, and the login in an
    address is not shown."""
    value: Any = settings
    for part in place:
        value = value.get(part) if isinstance(value, dict) else getattr(value, part)
    if place[:2] == ("engine", "env"):
        if isinstance(value, dict):
            return {each: shown(settings, (*place, each)) for each in value}
        return HIDDEN if value and is_secret(place) else value
    if isinstance(value, SecretStr):
        return HIDDEN if value.get_secret_value() else ""
    if isinstance(value, BaseModel):
        return {each: shown(settings, (*place, each)) for each in type(value).model_fields}
    if place == _ARGUMENTS:
        return without_secrets(value)
    if isinstance(value, tuple):
        return [e.model_dump(mode="json") if isinstance(e, BaseModel) else safe(e) for e in value]
    return safe(str(value)) if isinstance(value, str | Path) else value


def holds_secret(settings: Settings, place: tuple[str, ...]) -> bool:
    """Whether there is a secret in this setting, which may be one of several things in it."""
    if place == _ARGUMENTS:
        return hold_secret(settings.engine.args)
    if place == ("engine", "env"):
        return any(sounds_secret(name) for name in settings.engine.env)
    return is_secret(place)


def source_of(place: tuple[str, ...], file: Path) -> str:
    """What gives the value in force: a variable of the environment, the file with its line, or
    "default"."""
    return given_by(place, file) or "default"


def change(
    file: Path,
    place: tuple[str, ...],
    typed: str | None,
    checked: Callable[[Settings], object] = lambda settings: None,
) -> bool:
    """Set it to what was typed, or with None leave it to its default; False where the file does
    not have it anyway. checked: looks at what would be set, and raises UsageError if that is wrong.
    A file that gets a secret can be read by its owner alone from then on.

    Raises UsageError, and changes nothing then, for a value that cannot be, and for a file that
    cannot be changed.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    text = read(file)
    crlf = "\r\n" in text and text.count("\r\n") == text.count("\n")
    text = text.replace("\r\n", "\n") if crlf else text
    before = _data(text, file)
    place = tuple(map(str, written(place, before)))
    value = None if typed is None else _value(place, typed, before, checked)
    wanted = _with(before, place, value)
    if value is None and wanted == before:
        return False
    try:
        document = tomlkit.parse(text)
        _put(document, place, value)
        made = tomlkit.dumps(document)
        done = _settled(tomllib.loads(made)) == _settled(wanted)
    except (TOMLKitError, tomllib.TOMLDecodeError):
        done = False
    if not done:
        raise UsageError(
            f"{'.'.join(place)} cannot be changed in {file} by itself", "`gdl-tui config edit`"
        )
    write(file, made.replace("\n", "\r\n") if crlf else made)
    return True


def check(text: str, file: Path) -> None:
    """Raises UsageError for a text that is no configuration."""
    data = _data(text, file)
    try:
        Settings.model_validate(renamed(data))
    except ValidationError as error:
        raise explain(Settings, error, file, text) from None


def write(file: Path, text: str) -> None:
    """Replace the file's text, at once; a new one, and one that gets a secret, can be read by its
    owner alone. Raises UsageError."""
    target = file.resolve()  # A link stays one.
    try:
        private = _secrets_of(text) - _secrets_of(read(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
        mode &= 0o600 if private else mode
        write_whole(target, text, mode=mode, sync=True)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}", "check its folder") from None


def _secrets_of(text: str) -> set[str]:
    """Settings with a secret in them, with their values; of a text that is no TOML, nothing."""
    try:
        return set(_secret_leaves(tomllib.loads(text), ()))
    except tomllib.TOMLDecodeError:
        return set()


def _secret_leaves(table: dict[str, Any], place: tuple[str, ...]) -> Iterator[str]:
    for name, value in table.items():
        here = (*place, name)
        if isinstance(value, dict):
            yield from _secret_leaves(value, here)
            continue
        words = value if isinstance(value, list) else [value]
        texts = [word for word in words if isinstance(word, str)]
        told = without_secrets(texts) if here == _ARGUMENTS else [safe(each) for each in texts]
        if is_secret(here) or told != texts:
            yield repr((here, value))


def _annotation(place: tuple[str, ...]) -> Any:
    """The type of a setting; None where there is none of that name."""
    table: Any = Settings
    for depth, part in enumerate(place):
        if not (isinstance(table, type) and issubclass(table, BaseModel)):
            # The names below are the user's own.
            one = get_origin(table) is dict and part and depth == len(place) - 1
            return get_args(table)[1] if one else None
        if part not in table.model_fields:
            return None
        table = table.model_fields[part].annotation
    return table


def _is_text(annotation: Any) -> bool:
    """Whether what is typed is the value itself, also where it looks like a number."""
    if get_origin(annotation) is Literal:
        return True
    types = (annotation, *get_args(annotation))
    return any(each in (str, Path, SecretStr) for each in types) and get_origin(annotation) not in (
        tuple,
        dict,
    )


def _value(
    place: tuple[str, ...],
    typed: str,
    before: dict[str, Any],
    checked: Callable[[Settings], object],
) -> Any:
    """What was typed, as the setting's type has it. Raises UsageError, without the value (it may
    be a secret)."""
    trouble: ValidationError | None = None
    for value in _readings(typed, text=_is_text(_annotation(place))):
        try:
            settings = Settings.model_validate(renamed(_with(before, place, value)))
        except ValidationError as error:
            trouble = trouble or error
        else:
            checked(settings)
            return value
    assert trouble is not None
    first = trouble.errors(include_input=False, include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    hint = "nothing was changed"
    if first["type"] == "tuple_type":
        hint += """; a list is typed as in TOML: '["--max-num-seqs", "64"]'"""
    raise UsageError(f"setting {about(name, of_problem(first))}", hint)


def _readings(typed: str, *, text: bool) -> Iterator[Any]:
    """What may be meant, likeliest first: the text itself, or a value of TOML."""
    try:
        value = tomllib.loads(f"value = {typed}\n")["value"]
    except tomllib.TOMLDecodeError:
        yield typed
        return
    quoted = isinstance(value, str)
    yield from ((value, typed) if quoted or not text else (typed, value))


def _with(data: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The same data with this setting, or without it for None."""
    first, rest = place[0], place[1:]
    made = dict(data)
    if rest:
        made[first] = _with(made.get(first, {}), rest, value)
        if value is None and first not in data:
            del made[first]
    elif value is None:
        made.pop(first, None)
    else:
        made[first] = value
    return made


def _settled(table: dict[str, Any]) -> dict[str, Any]:
    """Without tables that hold nothing: of `install.version = "1"` nothing is left."""
    below = {n: _settled(v) if isinstance(v, dict) else v for n, v in table.items()}
    return {name: value for name, value in below.items() if value != {}}


def _put(document: Any, place: tuple[str, ...], value: Any) -> None:
    """The same in a document of tomlkit."""
    import tomlkit

    table = document
    for part in place[:-1]:
        if part not in table:
            if value is None:
                return
            table[part] = tomlkit.table()
        table = table[part]
    if value is not None:
        table[place[-1]] = value
    elif place[-1] in table:
        del table[place[-1]]


def read(file: Path) -> str:
    """Its text, with the line ends that it has; "" where there is no file. Raises UsageError."""
    try:
        return file.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise cannot_read(file, error) from None


def _data(text: str, file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{file} is not valid TOML: {error}", "correct the line it names: `gdl-tui config edit`"
        ) from None
