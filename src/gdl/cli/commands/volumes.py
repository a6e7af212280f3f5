"""`gdl-tui volumes`: disks for weights and compile caches; make and delete them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.consent import YesOption, agreed, consent, costs
from gdl.cli.option_groups import cli_of, command, passed_on
from gdl.cli.options import JsonOption, Target
from gdl.cli.output import Output, say
from gdl.cli.runtime import Cli, Session, execute

if TYPE_CHECKING:
    from gdl.orchestrator.api.volumes import VolumeList, VolumeRow

_HEADINGS = ("NAME", "ID", "BACKEND", "PLACE", ">SIZE", ">PRICE", ">A MONTH", ">COST", "USED BY")
_HOURS_A_MONTH = 730

IdentArgument = Annotated[
    str,
    typer.Argument(metavar="NAME|ID", help="Name or id of a volume.", show_default=False),
]


def volumes(context: typer.Context, target: Target, as_json: JsonOption = False) -> None:
    """Show volumes, which keep weights and compile caches, and what they cost; make or delete one.

    A volume is tied to a machine or data centre, and costs money until it is deleted, used or not.
    """
    if context.invoked_subcommand is not None:
        passed_on(context, target.backend, as_json=as_json)
        return

    async def body(session: Session) -> int:
        _check(session)
        listed = await session.orchestrator.volumes.list()
        _show(session.output, listed)
        unanswered = listed.silent and not listed.rows
        return exit_codes.BACKEND_FAILED if unanswered else exit_codes.OK

    execute(cli_of(context), body, target=target, as_json=as_json)


def make(
    cli: Cli,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of your choice.")],
    size: Annotated[int, typer.Option("--size", metavar="GB", min=1, max=4096, help="Its size.")],
    offer: Annotated[
        str,
        typer.Option(
            "--offer", metavar="ID", help="An offer whose machines should be able to mount it."
        ),
    ],
    yes: YesOption = False,
    target: Target,
    as_json: JsonOption = False,
) -> NoReturn:
    """Make a volume. It costs money until it is deleted."""

    async def body(session: Session) -> int:
        from gdl.domain.money import dollars, hourly
        from gdl.presentation.lines import plain

        _check(session)
        if costs(session.orchestrator):
            question = (
                f"make a volume of {size} GB? It costs money until it is deleted, used or not"
            )
            refusal = "a volume costs money, and there is no terminal to ask on"
            said = consent(yes=yes, as_json=as_json)
            if said.asks and not said.given:
                await session.orchestrator.volumes.check(offer, name)
            await agreed(question, said, undone="no volume was made", refusal=refusal)
        made = await session.orchestrator.volumes.make(offer, name, size)
        if as_json:
            session.output.json(made)
        else:
            price = made.price_per_hour
            session.output.line(
                f"{plain(made.name)} ({plain(made.id)}) at {made.backend}, {plain(made.place)}:"
                f" {hourly(price)}, {dollars(price * _HOURS_A_MONTH)} a month until it is deleted"
            )
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, changes="made")


def delete(
    cli: Cli,
    *,
    ident: IdentArgument,
    yes: YesOption = False,
    target: Target,
    as_json: JsonOption = False,
) -> NoReturn:
    """Delete a volume with everything on it."""

    async def body(session: Session) -> int:
        from gdl.presentation.lines import plain

        _check(session)
        refusal = f"what is on {plain(ident, 80)} is lost then, and there is no terminal to ask on"
        question = f"delete the volume {plain(ident, 80)} and everything on it?"
        said = consent(yes=yes, as_json=as_json)
        if said.asks and not said.given:
            await session.orchestrator.volumes.find(ident)
        await agreed(question, said, undone="not deleted", refusal=refusal)
        gone = await session.orchestrator.volumes.delete(ident)
        if as_json:
            session.output.json({"deleted": gone.id, "backend": gone.backend, "name": gone.name})
        else:
            session.output.line(f"{plain(gone.name)} ({plain(gone.id)}) is deleted")
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, changes="deleted")


def _check(session: Session) -> None:
    """Raises UsageError where no backend of this run has volumes."""
    from gdl.orchestrator.api.volumes import none_kept

    if not session.orchestrator.volumes.keeps:
        raise none_kept(session.orchestrator.backend_name.split(","))


def _show(output: Output, listed: VolumeList) -> None:
    from gdl.presentation.lines import plain

    if output.as_json:
        for row in listed.rows:
            output.json(to_plain(row))
    elif listed.rows:
        rows = [_cells(row) for row in listed.rows]
        output.table(_HEADINGS, rows, ("PRICE", "PLACE", "BACKEND", "USED BY"))
    elif not listed.silent:
        say("no volumes")
    for record in listed.in_doubt:
        say(
            f"warning: it is not known whether the volume {plain(record.name)} was made at"
            f" {record.backend}: each `gdl-tui volumes` looks for it by its name"
        )
    for name, why in listed.silent.items():
        say(f"warning: {name} does not list its volumes: {plain(why, 200)}")


def to_plain(row: VolumeRow) -> dict[str, Any]:
    from gdl.domain.serialization import to_plain as plain_of

    used = list(row.used_by)
    return {**plain_of(row.volume), "ours": row.ours, "used_by": used, "cost": row.cost}


def _cells(row: VolumeRow) -> tuple[str, ...]:
    from gdl.domain.money import dollars, hourly

    volume = row.volume
    return (
        volume.name,
        volume.id,
        volume.backend,
        volume.place,
        f"{volume.size_gb:.0f} GB",
        hourly(volume.price_per_hour),
        dollars(volume.price_per_hour * _HOURS_A_MONTH),
        "" if row.cost is None else dollars(row.cost),
        ", ".join(row.used_by) or "nobody",
    )


def build() -> typer.Typer:
    """The command with its two subcommands."""
    app = typer.Typer(name="volumes", rich_markup_mode=None, help=volumes.__doc__)
    app.callback(invoke_without_command=True)(command(volumes))
    app.command()(command(make))
    app.command()(command(delete))
    return app
