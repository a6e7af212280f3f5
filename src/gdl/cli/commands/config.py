"""`gdl-tui config`: the settings, and the file that they stand in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.completions import setting_names
from gdl.cli.config_editor import edited, secret_typed
from gdl.cli.option_groups import cli_of, command, may_be_empty, passed_on
from gdl.cli.options import JsonOption
from gdl.cli.output import Output, say
from gdl.cli.runtime import Cli, guarded, load_settings

if TYPE_CHECKING:
    from gdl.settings import Settings


_IN_HISTORY = "a secret on the command line stays in the shell's history"

_OPTIONS = (("engine", "args"), ("engine", "env"))
"""Settings with options of the server."""

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Such as max_price or install.version.",
        show_default=False,
        autocompletion=setting_names,
    ),
]


def build() -> typer.Typer:
    """The command with its subcommands."""
    app = typer.Typer(
        name="config",
        help="Show and change the settings; the file keeps its comments.",
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(command(config))
    for each in (get, set_, unset, path, edit):
        # A value may begin with a minus.
        more = {"ignore_unknown_options": True} if each is set_ else None
        app.command(each.__name__.rstrip("_"), context_settings=more)(command(each))
    return app


def config(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show and change the settings; the file keeps its comments. Without a command, list them."""
    if context.invoked_subcommand is None:
        get(cli_of(context), None, as_json=as_json)
    passed_on(context, None, as_json=as_json)


def get(
    cli: Cli,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="Such as max_price or install.",
            show_default=False,
            autocompletion=setting_names,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> NoReturn:
    """Print the current value of one setting; or of all, with where each comes from.

    For a secret, only whether it is set is shown.
    """
    from gdl.settings import editing

    def body(output: Output) -> int:
        settings, file = load_settings(cli, market=False), _file(cli)
        place = () if name is None else editing.place_of(name)
        if editing.is_table(place):  # all settings are one, too
            _list(output, settings, file, "".join(f"{part}." for part in place))
            return exit_codes.OK
        if as_json:
            output.json(_row(settings, file, ".".join(place)))
        else:
            output.line(_words(editing.shown(settings, place)))
        return exit_codes.OK

    _execute(cli, body, as_json=as_json)


def set_(
    cli: Cli,
    name: NameArgument,
    value: Annotated[
        str | None,
        typer.Argument(
            metavar="VALUE",
            help='As text, or as in TOML: \'["--max-num-seqs", "64"]\'. A secret is asked for, '
            "or read from stdin.",
            show_default=False,
            callback=may_be_empty,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> NoReturn:
    """Change a setting in the file, which is created if necessary. A wrong value changes
    nothing."""
    from gdl.domain.errors import UsageError
    from gdl.domain.text import one_line
    from gdl.settings import editing

    def body(output: Output) -> int:
        place, typed = _place(name), value
        if editing.is_secret(place):
            if value is not None:
                raise UsageError(
                    _IN_HISTORY, "omit it: you are asked for it, or it is read from stdin"
                )
            typed = secret_typed(name)
        if typed is None:
            raise UsageError(
                f"no value for {name}", "`gdl-tui config unset NAME` removes a setting"
            )
        if value is not None and typed.startswith("--") and place[:2] not in _OPTIONS:
            raise UsageError(
                f"{one_line(typed, 40)} is neither an option nor a value of {name}",
                "`gdl-tui config set -h` lists the options",
            )
        _change(cli, output, place, typed)
        return exit_codes.OK

    _execute(cli, body, as_json=as_json)


def unset(cli: Cli, name: NameArgument, as_json: JsonOption = False) -> NoReturn:
    """Remove a setting from the file, so that its default applies again."""

    def body(output: Output) -> int:
        _change(cli, output, _place(name), None)
        return exit_codes.OK

    _execute(cli, body, as_json=as_json)


def path(cli: Cli, as_json: JsonOption = False) -> NoReturn:
    """Print the path of the file, even if it does not exist yet."""

    def body(output: Output) -> int:
        file = _file(cli)
        if as_json:
            output.json({"type": "config", "path": str(file), "exists": file.is_file()})
            return exit_codes.OK
        output.line(str(file))
        if not file.is_file():
            say("it does not exist yet: `gdl-tui config set NAME VALUE` creates it")
        return exit_codes.OK

    _execute(cli, body, as_json=as_json)


def edit(cli: Cli) -> NoReturn:
    """Open the file in your editor ($VISUAL, $EDITOR); it is saved only if it is valid."""

    def body(_output: Output) -> int:
        say(edited(_file(cli)))
        return exit_codes.OK

    _execute(cli, body, as_json=False)


def _place(name: str) -> tuple[str, ...]:
    """Of one setting. Raises UsageError."""
    from gdl.domain.errors import UsageError
    from gdl.settings import editing

    place = editing.place_of(name)
    if editing.is_table(place):
        raise UsageError(f"{name} is a table", "name one of its settings")
    return place


def _change(cli: Cli, output: Output, place: tuple[str, ...], typed: str | None) -> None:
    from gdl.settings import editing

    file, name = _file(cli), ".".join(place)
    done = editing.change(file, place, typed, lambda settings: _check(cli, settings, place))
    if output.as_json:
        output.json({"type": "config", "path": str(file), "name": name, "set": typed is not None})
        return
    if typed is None:
        say(f"{name} is removed from {file}" if done else f"{name} was not set in {file}")
    else:
        say(f"{name} is set in {file}")
    source = editing.source_of(place, file)
    if source.upper().startswith("GDL_"):
        say(f"warning: {source} in the environment takes precedence")


def _check(cli: Cli, settings: Settings, place: tuple[str, ...]) -> None:
    """Raises UsageError for a name of what there is not, and for a secret that was on the command
    line."""
    from gdl.domain.errors import UsageError
    from gdl.settings import editing

    if not editing.is_secret(place) and editing.holds_secret(settings, place):
        raise UsageError(_IN_HISTORY, "use `gdl-tui config edit`, which does not print it")
    match place:
        case ("backend",):
            from gdl.backends import registry

            registry.options_of(settings.backend)
        case ("engine", "name"):
            from gdl.engines import registry as engines

            engines.get(settings.engine.name)
        case ("sandbox", "scenario"):
            from gdl.simulator import scenario

            scenario.load(settings.sandbox.scenario)
        case ("theme",) if cli.check_ui is not None:
            cli.check_ui(settings.theme, ())
        case ("keys", *names) if cli.check_ui is not None:
            cli.check_ui("", names or settings.keys)


def _file(cli: Cli) -> Path:
    from gdl.settings import default_config_file

    return cli.config or default_config_file()


def _list(output: Output, settings: Settings, file: Path, before: str) -> None:
    from gdl.settings import editing

    rows = [_row(settings, file, each) for each in editing.every_name() if each.startswith(before)]
    if output.as_json:
        for row in rows:
            output.json(row)
        return
    cells = [(row["name"], _words(row["value"]), row["from"]) for row in rows]
    output.table(("SETTING", "VALUE", "FROM"), cells, ("FROM",))


def _row(settings: Settings, file: Path, name: str) -> dict[str, Any]:
    from gdl.settings import editing, hiding

    place = editing.place_of(name)
    source = editing.source_of(place, file)
    value = editing.shown(settings, place)
    # From another program's variable, such as HF_TOKEN.
    if source == "default" and value == hiding.HIDDEN:
        source = "environment"
    return {"name": name, "value": value, "from": source}


def _words(value: Any) -> str:
    """As it would be typed; "" for none."""
    import json

    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _execute(cli: Cli, body: Callable[[Output], int], *, as_json: bool) -> NoReturn:
    """Run without an orchestrator, and without an event loop: an editor may take the terminal."""
    output = Output(as_json)
    raise typer.Exit(guarded(cli, lambda: body(output), output))
