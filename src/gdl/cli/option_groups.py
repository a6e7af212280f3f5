"""Options in groups: a dataclass whose fields are options stands in a command's signature for all
of them, so that each is stated once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.models import ParameterInfo

from gdl.cli.runtime import Cli

_CONTEXT = "typer_context"


def command(function: Callable[..., object]) -> Callable[..., object]:
    """What Typer is to be given for a command.

    A parameter whose type is a dataclass becomes an option or argument for each of its fields that
    has the metadata of one, and the function gets the dataclass, filled; the others keep their
    default. A parameter of type `Cli` gets the global options. Text may not be empty: a script's
    variable that is not set passes for no name, and for no filter; where it may, the callback is
    `may_be_empty`. All the rest is Typer's.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type, list[str]]] = {}
    hints = get_type_hints(function, include_extras=True)
    the_cli = ""
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints[name]
        if hint is Cli:
            the_cli = name
            parameters.append(_parameter(_CONTEXT, typer.Context))
        elif is_dataclass(hint) and isinstance(hint, type):
            options = _options(hint)
            groups[name] = hint, [option.name for option in options]
            parameters += options
        else:
            parameters.append(_parameter(name, hint, parameter.default))

    def called(**given: Any) -> object:
        if the_cli:
            given[the_cli] = cli_of(given.pop(_CONTEXT))
        for name, (group, options) in groups.items():
            given[name] = group(**{option: given.pop(option) for option in options})
        return function(**given)

    called.__name__, called.__doc__ = function.__name__, function.__doc__
    called.__annotations__ = {one.name: one.annotation for one in parameters}
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return called


def _options(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        _parameter(
            field.name,
            hints[field.name],
            inspect.Parameter.empty if field.default is MISSING else field.default,
        )
        for field in fields(group)
        if hasattr(hints[field.name], "__metadata__")
    ]


def _parameter(
    name: str, annotation: Any, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=_never_empty(annotation))


def _never_empty(annotation: Any) -> Any:
    """The annotation of an option or argument; of one that takes text, with a check of it."""
    if get_origin(annotation) is not Annotated:
        return annotation
    kind, told, *more = get_args(annotation)
    text = {str, list[str]} & {kind, *get_args(kind)}
    if not text or not isinstance(told, ParameterInfo) or told.callback is not None:
        return annotation
    told = copy(told)
    told.callback = _named
    return Annotated[(kind, told, *more)]


def _named(value: str | list[str] | None) -> str | list[str] | None:
    for each in [value] if isinstance(value, str) else value or ():
        if not each.strip():
            raise typer.BadParameter("it is empty")
    return value


def may_be_empty(value: str | list[str] | None) -> str | list[str] | None:
    """The callback of an option or argument whose empty text means something."""
    return value


def cli_of(context: typer.Context) -> Cli:
    """The global options of the command line that a command belongs to."""
    cli = context.find_object(Cli)
    if cli is None:
        raise RuntimeError("the command line was started without its context")
    return cli


def passed_on(context: typer.Context, backend: str | None, *, as_json: bool) -> None:
    """What stands between a command and its subcommand counts for the subcommand, which has its own
    options. Raises UsageError for --json, which it would not see."""
    from gdl.domain.errors import UsageError

    if as_json:
        name = f"gdl-tui {context.info_name} {context.invoked_subcommand}"
        raise UsageError("--json would have no effect there", f"put it behind: `{name} ... --json`")
    if backend is not None:
        cli_of(context).backend = backend
