"""The command line itself: global options, the subcommands, and the door to the terminal UI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gdl.cli import commands, exclusions, exit_codes
from gdl.cli.options import BackendOption, ConfigOption, HostOption, IdentityOption, cli_of
from gdl.cli.output import Output, never_fail_to_print
from gdl.cli.runtime import Cli, Opener, Ui, guarded, open_orchestrator, show_ui

if TYPE_CHECKING:
    pass


def run(
    arguments: Sequence[str],
    *,
    opener: Opener = open_orchestrator,
    open_ui: Ui | None = None,
    alone: bool = False,
) -> int:
    """Run one command line (without the program's name) and return its exit code.

    opener: makes the orchestrator. open_ui: shows the terminal UI when no subcommand is named.
    alone: nothing else comes in this process: a signal after the work changes nothing any more.
    """
    never_fail_to_print()
    cli = Cli(opener=opener, open_ui=open_ui, alone=alone)

    def work() -> int:
        try:
            build()(args=list(arguments), prog_name="gdl-tui", obj=cli)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        return exit_codes.OK

    return guarded(cli, work, Output(as_json=False))


def build() -> typer.Typer:
    """The application with every subcommand."""
    app = typer.Typer(
        name="gdl-tui",
        help="Serve a large language model on a rented GPU: rent, install vLLM, verify, "
        "benchmark, give back. Without a command it opens the terminal UI.",
        epilog=exit_codes.epilog(),
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_globals)
    for command in commands.ALL:
        app.command(command.__name__)(command)
    app.add_typer(exclusions.app)
    return app


def _globals(
    context: typer.Context,
    backend: BackendOption = None,
    config: ConfigOption = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Show only: nothing is rented or destroyed.")
    ] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Lines of text in place of the terminal UI.")
    ] = False,
    host: HostOption = None,
    identity: IdentityOption = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        from gdl import __version__

        Output(as_json=False).line(f"gdl-tui {__version__}")
        raise typer.Exit
    cli = cli_of(context)
    cli.backend, cli.config, cli.read_only = backend, config, read_only
    cli.host, cli.identity = host, identity
    if context.invoked_subcommand is None and plain:
        from gdl.cli.listing import offers_and_what_next

        offers_and_what_next(cli)
    if context.invoked_subcommand is None:
        raise typer.Exit(show_ui(cli))
