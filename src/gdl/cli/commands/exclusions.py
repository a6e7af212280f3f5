"""`gdl-tui exclusions`: what is excluded, why and until when; exclude, include again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.option_groups import cli_of, command, may_be_empty, passed_on
from gdl.cli.options import JsonOption, Target
from gdl.cli.output import say
from gdl.cli.runtime import Cli, Session, execute

if TYPE_CHECKING:
    from gdl.domain.offers import Exclusion

Kind = Literal["provider", "host", "machine", "offer"]


def exclusions(context: typer.Context, target: Target, as_json: JsonOption = False) -> None:
    """Show what is excluded from deployments, and until when; clear or add exclusions."""
    if context.invoked_subcommand is not None:
        passed_on(context, target.backend, as_json=as_json)
        return

    async def body(session: Session) -> int:

        found = await session.orchestrator.market.exclusions()
        if as_json:
            for exclusion in found:
                session.output.json(exclusion)
        elif found:
            headings: tuple[str, ...] = ("KIND", "KEY", "UNTIL", "REASON")
            cells = [_cells(exclusion) for exclusion in found]
            if "," in session.orchestrator.backend_name:
                headings = ("MARKET", *headings)
                cells = [(x.backend, *c) for x, c in zip(found, cells, strict=True)]
            session.output.table(headings, cells)
        else:
            say("nothing is excluded")
        return exit_codes.OK

    execute(cli_of(context), body, target=target, as_json=as_json)


def _cells(exclusion: Exclusion) -> tuple[str, ...]:
    from gdl.domain.clock import day_and_time

    until = "cleared" if exclusion.until is None else day_and_time(exclusion.until)
    return exclusion.kind, exclusion.key, until, exclusion.reason


def clear(
    cli: Cli,
    *,
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="KEY",
            help="Provider, host, machine or offer.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    target: Target,
    as_json: JsonOption = False,
) -> NoReturn:
    """Include a provider, host, machine or offer again, or all of them."""
    if (key is None) != everything:
        raise typer.BadParameter("name a KEY, or pass --all")

    async def body(session: Session) -> int:
        cleared = await session.orchestrator.market.clear_exclusions(key)
        if as_json:
            session.output.json({"cleared": cleared})
        else:
            session.output.line(f"{cleared} exclusion{'' if cleared == 1 else 's'} cleared")
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, changes="cleared")


def add(
    cli: Cli,
    *,
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="provider, host, machine or offer.")],
    key: Annotated[
        str,
        typer.Argument(metavar="KEY", help="Its name or id.", show_default=False),
    ],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="The reason.", callback=may_be_empty)
    ] = "",
    target: Target,
    as_json: JsonOption = False,
) -> NoReturn:
    """Exclude a provider, host, machine or offer, on all backends in use, until the exclusion is
    cleared."""

    async def body(session: Session) -> int:
        from gdl.presentation.lines import plain

        exclusion = await session.orchestrator.market.exclude(kind, key, reason)
        if as_json:
            session.output.json(exclusion)
        else:
            session.output.line(f"{exclusion.kind} {plain(exclusion.key)} is excluded")
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, changes="excluded")


def build() -> typer.Typer:
    """The command with its two subcommands."""
    app = typer.Typer(name="exclusions", rich_markup_mode=None, help=exclusions.__doc__)
    app.callback(invoke_without_command=True)(command(exclusions))
    app.command()(command(clear))
    app.command()(command(add))
    return app
