"""`gdl-tui scale`: the size and the flags of a fleet that serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.amounts import finite
from gdl.cli.consent import YesOption, consent
from gdl.cli.id_arguments import id_argument
from gdl.cli.options import JsonOption, MachineTarget
from gdl.cli.output import say
from gdl.cli.runtime import Cli, Session, execute
from gdl.domain.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from gdl.domain.fleet_view import FleetView

_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class ChangeOptions:
    """Other flags for the replicas."""

    engine_arg: Annotated[
        list[str] | None,
        typer.Option(
            "--engine-arg",
            metavar="ARG",
            help="New arguments for the engine, instead of the present ones; can be repeated. "
            "Replicas are replaced one after the other.",
        ),
    ] = None
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            metavar="TOKENS",
            min=1,
            help="New context; replicas are replaced likewise.",
        ),
    ] = None
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            metavar="N",
            min=1,
            max=4096,
            help="New number of requests at a time; likewise.",
        ),
    ] = None
    max_price: Annotated[
        float | None,
        typer.Option(
            "--max-price",
            metavar="USD",
            min=0.0001,
            callback=finite,
            help="Maximum dollars per hour for all replicas together.",
        ),
    ] = None
    max_spend: Annotated[
        float | None,
        typer.Option(
            "--max-spend",
            metavar="USD",
            min=0.0001,
            callback=finite,
            help="Maximum cost in dollars for all replicas together.",
        ),
    ] = None


def scale(
    cli: Cli,
    change: ChangeOptions,
    target: MachineTarget,
    ident: Annotated[
        str | None,
        id_argument("Fleet id, or its beginning.", optional=True),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Argument(metavar="[N]", help="New number of replicas.", show_default=False),
    ] = None,
    yes: YesOption = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait", help="Wait until the fleet has this size, or cannot reach it."
        ),
    ] = True,
    as_json: JsonOption = False,
) -> NoReturn:
    """Add or release replicas of a fleet, or change its flags; without ID, list the fleets."""

    async def body(session: Session) -> int:
        from gdl.domain.errors import UsageError
        from gdl.domain.fleet_orders import Change, Scale
        from gdl.domain.fleet_spec import check_replicas
        from gdl.domain.money import hourly

        fleets = session.orchestrator.fleets
        arguments = None if change.engine_arg is None else tuple(change.engine_arg)
        wanted = Change(
            arguments, change.context, change.concurrency, change.max_price, change.max_spend
        )
        if ident is None:
            if wanted != Change():
                raise UsageError("whose flags?", "name a fleet: `gdl-tui scale` lists them")
            _list(session, await fleets.rows())
            return exit_codes.OK
        view = await fleets.view(ident)
        if replicas is None and wanted == Change():
            _list(session, [view])
            return exit_codes.OK
        if not view.runs:
            raise UsageError(
                f"no gdl-tui is running {view.id}", f"`gdl-tui resume {view.id}` continues it"
            )
        if replicas is not None:
            check_replicas(replicas)
        if replicas is not None and replicas > view.wanted:
            from gdl.cli.fleet_consent import to_grow

            await to_grow(session.orchestrator, view, replicas, consent(yes=yes, as_json=as_json))
        if wanted != Change():
            await fleets.order(view.id, wanted)
            if change.max_price is not None and view.price_per_hour > change.max_price:
                say(
                    f"its replicas cost {hourly(view.price_per_hour)} together: they stay, and none"
                    f" is rented until all cost {hourly(change.max_price)} at most"
                )
        if replicas is not None:
            await fleets.order(view.id, Scale(replicas))
        if wait:
            generation = view.generation + wanted.replaces
            return await _wait(session, view.id, replicas or view.wanted, generation)
        say("requested; the fleet reads it within a second")
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, rented=True, changes="changed")


async def _wait(session: Session, fleet_id: str, replicas: int, generation: int) -> int:
    """Until so many of that generation serve, and no others; or the reason why not is known."""
    import asyncio

    from gdl.presentation.fleets import summary
    from gdl.presentation.lines import plain

    told = ""
    while True:
        view = await session.orchestrator.fleets.view(fleet_id)
        said = f"{fleet_id}: {summary(view)}"
        if view.wanted == replicas and said != told:
            told = said
            say(plain(said, 300))
        alike = all(r.generation == generation for r in view.replicas)
        there = len(view.replicas) == view.serving == replicas == view.wanted
        if there and alike and view.generation == generation:
            _list(session, [view])
            return exit_codes.OK
        if view.short and view.wanted == replicas and view.generation == generation:
            say(f"short: {plain(view.short, 300)}")
            return exit_codes.NO_MACHINE
        if not view.runs:
            say(f"the fleet has ended: {plain(view.outcome)}")
            return exit_codes.NO_MACHINE
        await asyncio.sleep(_LOOK_S)


def _list(session: Session, views: list[FleetView] | object) -> None:
    from collections.abc import Sequence

    from gdl.domain.serialization import to_plain
    from gdl.presentation.fleets import HEADINGS, cells, summary
    from gdl.presentation.lines import plain

    assert isinstance(views, Sequence)
    if session.output.as_json:
        for view in views:
            session.output.json(to_plain(view))
        return
    if not views:
        say("no fleets")
    for view in views:
        session.output.line(f"{plain(view.id)}  {plain(view.model, 80)}  {summary(view)}")
        if view.endpoint and view.routed and view.runs:
            session.output.line(f"  {view.endpoint}  key: {plain(view.api_key_file, 300)}")
        if view.short:
            session.output.line(f"  short: {plain(view.short, 300)}")
        if not view.runs:
            session.output.line(f"  no gdl-tui is running it: `gdl-tui resume {view.id}`")
        if view.replicas:
            session.output.table(HEADINGS, [cells(each) for each in view.replicas])
