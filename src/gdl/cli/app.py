"""The command line itself: global options, the subcommands, and the door to the terminal UI."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from gdl.cli import exit_codes
from gdl.cli.completions import named_command
from gdl.cli.option_groups import cli_of, command
from gdl.cli.options import BackendOption, ConfigOption, HostOption, IdentityOption
from gdl.cli.output import Output, OutputClosed, never_fail_to_print
from gdl.cli.runtime import CheckUi, Cli, Load, Opener, Ui, guarded, open_orchestrator, show_ui
from gdl.cli.wrong_usage import asks_for_json, told
from gdl.domain.errors import GdlError, UsageError

_COMMANDS = (
    "offers",
    "prices",
    "plan",
    "watch",
    "deploy",
    "resume",
    "sessions",
    "attach",
    "logs",
    "ssh",
    "destroy",
    "extend",
    "scale",
    "costs",
    "spending",
    "ledger",
    "health",
    "chat",
    "bench",
    "benchmarks",
    "tunnel",
    "env",
    "public",
    "doctor",
    "diagnose",
    "export",
    "bundle",
    "demo",
    "sandbox",
    "serve",
)
"""In the order in which `--help` lists them; each is a function in the module of its name."""
_GROUPS = ("models", "exclusions", "volumes", "config")
"""Commands with commands of their own; they come last."""


def run(
    arguments: Sequence[str],
    *,
    opener: Opener = open_orchestrator,
    open_ui: Ui | None = None,
    check_ui: CheckUi | None = None,
    alone: bool = False,
) -> int:
    """Run one command line (without the program's name) and return its exit code.

    opener: makes the orchestrator. open_ui: shows the terminal UI when no subcommand is named.
    check_ui: knows its themes and keys.
    alone: nothing else comes in this process: a signal after the work changes nothing any more.
    """
    never_fail_to_print()
    cli = Cli(opener=opener, open_ui=open_ui, check_ui=check_ui, alone=alone)

    return guarded(cli, lambda: _read(arguments, cli), Output(asks_for_json(arguments)))


_PRINTS = frozenset({"-h", "--help", "--show-completion"})
"""Options at which Typer prints by itself."""


def _read(arguments: Sequence[str], cli: Cli) -> int:
    """Read a command line and do what it says; the exit code. Raises UsageError where it cannot be
    read."""
    app = build(arguments[0] if arguments else named_command())
    try:
        code = app(args=list(arguments), prog_name="gdl-tui", obj=cli, standalone_mode=False)
    except typer.TyperException as error:
        raise told(error, arguments) from None
    except SystemExit as end:  # completions
        code = end.code
    except OSError as error:
        if _PRINTS.isdisjoint(arguments):
            raise
        raise OutputClosed(error) from None
    return code if isinstance(code, int) else int(code is not None)


def asked_ui(cli: Cli, arguments: Sequence[str]) -> Load:
    """What the terminal UI is to be started with by a command line that asks for it. Raises
    NotForTheUi where the command line is wrong, or asks for something else after all."""
    asked: list[Load] = []
    cli.asks = asked.append
    with contextlib.suppress(UsageError):
        _read(arguments, cli)
    if not asked:
        raise NotForTheUi("no terminal UI")
    return asked[0]


class NotForTheUi(GdlError):
    """The command line does not lead to the terminal UI."""


def build(named: str = "") -> typer.Typer:
    """The application with every subcommand, or with the one of that name alone if there is one:
    importing all the others takes longer than many commands do to answer."""
    app = typer.Typer(
        name="gdl-tui",
        help="Serve a large language model on a rented GPU: rent, install an engine, verify, "
        "benchmark, release. Without a command it opens the terminal UI.",
        epilog=exit_codes.epilog(),
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(command(_globals))
    one = named in _COMMANDS or named in _GROUPS
    for name in _COMMANDS:
        if not one or name == named:
            app.command(name)(command(_named(name, name)))
    for name in _GROUPS:
        if not one or name == named:
            app.add_typer(_named(name, "build")())
    return app


def _named(command_name: str, function: str) -> Callable[..., Any]:
    """A function of a command's module, which is imported when it is asked for."""
    found: Callable[..., Any] = getattr(import_module(f"gdl.cli.commands.{command_name}"), function)
    return found


def _globals(
    context: typer.Context,
    backend: BackendOption = None,
    config: ConfigOption = None,
    read_only: Annotated[
        bool,
        typer.Option("--read-only", help="Look only: nothing is rented, changed or destroyed."),
    ] = False,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Questions and lines of text instead of the terminal UI."),
    ] = False,
    host: HostOption = None,
    identity: IdentityOption = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        from gdl import version_line

        Output(as_json=False).line(version_line())
        raise typer.Exit
    cli = cli_of(context)
    cli.backend, cli.config, cli.read_only = backend, config, read_only
    cli.host, cli.identity = host, identity
    cli.plain = plain
    if context.invoked_subcommand is None and plain:
        from gdl.cli.plain.start import run_plain

        run_plain(cli)
    if context.invoked_subcommand is None:
        raise typer.Exit(show_ui(cli))
