"""`gdl-tui deploy`: from a model's name to an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import typer

from gdl.cli.consent import Consent, consent, to_rent
from gdl.cli.deploy_options import DeployOptions, over
from gdl.cli.fleet_options import FleetOptions
from gdl.cli.options import JsonOption, MarketTarget
from gdl.cli.runtime import Cli, Session, execute, report

if TYPE_CHECKING:
    from gdl.cli.output import Output
    from gdl.domain.errors import GdlError
    from gdl.domain.fleet_spec import FleetSpec


def deploy(
    cli: Cli,
    wanted: DeployOptions,
    fleet: FleetOptions,
    target: MarketTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Rent a machine, install an inference engine, serve MODEL, verify it.

    With -f, a file describes the deployment; `gdl-tui export ID --to toml` writes one.

    If it costs money, you are shown the price and asked; without a terminal, --yes or a limit
    (--max-price, --max-spend) gives consent.

    Without --destroy or --keep, the tunnel stays open until Ctrl-C, which then asks whether to
    release the machine (without a terminal, it is released).
    """
    wanted, fleet, target = with_the_file(cli, wanted, fleet, target, as_json=as_json)
    model = _checked(wanted, fleet)

    async def body(session: Session) -> int:
        return await _deploy(session, model, wanted, fleet, as_json=as_json)

    def never_began(error: GdlError, output: Output) -> None:
        from gdl.cli.never_began import never_began_event
        from gdl.domain.serialization import recorded_to_plain

        output.json(recorded_to_plain(never_began_event(model, error)))

    execute(
        cli,
        body,
        target=target,
        as_json=as_json,
        changes="" if wanted.dry_run else "deployed",
        flags=over(wanted.flags, fleet.flags),
        on_error=never_began,
    )


def _checked(wanted: DeployOptions, fleet: FleetOptions) -> str:
    """The model. Raises typer.BadParameter for options that cannot be together."""
    wanted.check()
    if fleet.replicas is not None and wanted.volume is not None:
        raise typer.BadParameter("--volume is mounted by one machine, so not with --replicas")
    if fleet.replicas is not None and (wanted.nodes or 1) > 1:
        raise typer.BadParameter("--nodes is for one deployment, so not with --replicas")
    if fleet.replicas is None and (alone := fleet.alone):
        raise typer.BadParameter(f"{alone} is for a fleet: pass --replicas N, too")
    if wanted.model is None:
        raise typer.BadParameter("name a MODEL, or a deployment file with -f")
    return wanted.model


async def _deploy(
    session: Session, model: str, wanted: DeployOptions, fleet: FleetOptions, *, as_json: bool
) -> int:
    from gdl.cli.deployment_spec import spec_of
    from gdl.cli.follower import to_the_end
    from gdl.cli.following import begin, follower_of
    from gdl.cli.prompt import yes
    from gdl.cli.resuming import follow_resumed, to_resume
    from gdl.cli.volume_for import planned, with_volume

    output, deployments = session.output, session.orchestrator.deployments
    spec = spec_of(wanted, model, session)
    if wanted.dry_run:
        from gdl.cli import dry_run

        spec = await planned(session, spec, wanted.volume, wanted.volume_size)
        return await dry_run.show(session, spec, fleet.replicas)
    said = consent(yes=wanted.yes, limited=wanted.limited, as_json=as_json)
    if fleet.replicas is not None:
        wish = fleet.spec(spec, session.settings)
        return await _fleet(session, wish, said, hold=wanted.after == "hold")
    follower = follower_of(session, wanted.after)
    if not wanted.new:
        interrupted = await to_resume(session, model)
        if interrupted is not None:
            return await follow_resumed(session, interrupted, as_json=as_json)
    if wanted.volume is not None:
        spec = await with_volume(session, spec, wanted.volume, wanted.volume_size, said)
    else:
        spec = await to_rent(session.orchestrator, spec, said)
    start = begin(deployments, spec, yes if said.asks else None)
    return await to_the_end(follower, start, output)


async def _fleet(session: Session, spec: FleetSpec, said: Consent, *, hold: bool) -> int:
    from gdl.cli.fleet_consent import to_rent_fleet
    from gdl.cli.fleet_follower import follow_fleet

    spec = await to_rent_fleet(session.orchestrator, spec, said)
    return await follow_fleet(session, session.orchestrator.fleets.deploy(spec), asks=hold)


def with_the_file(
    cli: Cli, wanted: DeployOptions, fleet: FleetOptions, target: MarketTarget, *, as_json: bool
) -> tuple[DeployOptions, FleetOptions, MarketTarget]:
    """With what the deployment file says. Ends the command where that cannot be."""
    from gdl.cli.output import Output
    from gdl.domain.errors import GdlError

    path = wanted.file
    if path is None:
        return wanted, fleet, target
    try:
        from gdl.cli.deployment_file import with_file

        return with_file(cli, wanted, fleet, target, path)
    except GdlError as error:
        raise typer.Exit(report(error, Output(as_json))) from None
