"""`gdl-tui exclusions`: who is left out, why and until when; leave out, let in again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from gdl.cli.options import BackendOption, JsonOption, cli_of
from gdl.cli.runtime import Target

app = typer.Typer(
    name="exclusions",
    help="Show who is left out of deployments, and until when; clear or add exclusions.",
    rich_markup_mode=None,
)

Kind = Literal["provider", "machine", "offer"]


@app.callback(invoke_without_command=True)
def show(
    context: typer.Context, backend: BackendOption = None, as_json: JsonOption = False
) -> None:
    """Show who is left out of deployments, and until when; clear or add exclusions."""
    if context.invoked_subcommand is not None:
        return
    from gdl.cli import exit_codes
    from gdl.cli.output import say
    from gdl.cli.render import table
    from gdl.cli.runtime import Session, execute

    async def body(session: Session) -> int:
        found = await session.orchestrator.market.exclusions()
        if as_json:
            for exclusion in found:
                session.output.json(_plain(exclusion))
        elif found:
            headings = ("KIND", "KEY", "UNTIL", "REASON")
            for line in table(headings, [_cells(exclusion) for exclusion in found]):
                session.output.line(line)
        else:
            say("nobody is left out")
        return exit_codes.OK

    execute(cli_of(context), body, target=Target(backend), as_json=as_json)


def _plain(exclusion: Any) -> dict[str, Any]:
    from gdl.domain.serialization import to_plain

    plain: dict[str, Any] = to_plain(exclusion)
    return plain


def _cells(exclusion: Any) -> tuple[str, ...]:
    until = "cleared" if exclusion.until is None else f"{exclusion.until:%d %b %H:%M} UTC"
    return exclusion.kind, exclusion.key, until, exclusion.reason


@app.command()
def clear(
    context: typer.Context,
    key: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="Provider, machine or offer.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    backend: BackendOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a provider, machine or offer in again, or all of them."""
    from gdl.cli import exit_codes
    from gdl.cli.runtime import Session, execute

    if (key is None) != everything:
        raise typer.BadParameter("name a KEY, or say --all")

    async def body(session: Session) -> int:
        cleared = await session.orchestrator.market.clear_exclusions(key)
        if as_json:
            session.output.json({"cleared": cleared})
        else:
            session.output.line(f"{cleared} exclusion{'' if cleared == 1 else 's'} cleared")
        return exit_codes.OK

    execute(cli_of(context), body, target=Target(backend), as_json=as_json, changes="cleared")


@app.command()
def add(
    context: typer.Context,
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="provider, machine or offer.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its name or id.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why.")] = "",
    backend: BackendOption = None,
    as_json: JsonOption = False,
) -> None:
    """Leave out a provider, machine or offer until that is cleared."""
    from gdl.cli import exit_codes
    from gdl.cli.runtime import Session, execute
    from gdl.presentation.lines import plain

    async def body(session: Session) -> int:
        exclusion = await session.orchestrator.market.exclude(kind, key, reason)
        if as_json:
            session.output.json(_plain(exclusion))
        else:
            session.output.line(f"{exclusion.kind} {plain(exclusion.key)} is left out")
        return exit_codes.OK

    execute(cli_of(context), body, target=Target(backend), as_json=as_json, changes="excluded")
