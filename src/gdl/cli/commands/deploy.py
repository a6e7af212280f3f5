"""`gdl-tui deploy`: from a model's name to an endpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import typer

from gdl.cli.deploy_options import DeployOptions
from gdl.cli.options import JsonOption, MarketTarget, check_bid
from gdl.cli.runtime import Cli, Session, at_terminal, execute
from gdl.domain import clock

if TYPE_CHECKING:
    from gdl.cli.output import Output
    from gdl.domain.errors import GdlError
    from gdl.domain.spec import DeploymentSpec
    from gdl.orchestrator.api.ports import Deployments


def deploy(
    cli: Cli, wanted: DeployOptions, target: MarketTarget, as_json: JsonOption = False
) -> NoReturn:
    """Rent a machine, install an inference engine, serve MODEL, verify it.

    Without --destroy or --keep the tunnel stays open until Ctrl-C, which then asks whether to
    release the machine (and releases it when nobody can be asked).
    """
    if wanted.destroy and wanted.keep:
        raise typer.BadParameter("--destroy and --keep exclude each other")
    check_bid(wanted.interruptible, wanted.bid)

    async def body(session: Session) -> int:
        from gdl.cli.deployment_output import JsonDeployment, TextDeployment
        from gdl.cli.follower import Follower, to_the_end
        from gdl.cli.prompt import ask
        from gdl.cli.resuming import follow_resumed
        from gdl.cli.volume_for import volume_for

        output, deployments = session.output, session.orchestrator.deployments
        follower = Follower(
            deployments,
            JsonDeployment(output) if as_json else TextDeployment(output),
            ask=ask if wanted.after == "hold" and at_terminal() else None,
            watch=as_json,
        )
        spec = _spec(wanted, session)
        if wanted.volume is not None:
            volume = await volume_for(session, wanted.volume, wanted.volume_size, spec.query)
            spec = replace(spec, query=replace(spec.query, volume=volume))
        if not wanted.new:
            interrupted = await _to_resume(session, wanted.model)
            if interrupted is not None:
                return await follow_resumed(session, interrupted, as_json=as_json)
        asks = at_terminal() and not as_json
        start = _begin(deployments, spec, asks=asks)
        return await to_the_end(follower, start, output)

    def never_began(error: GdlError, output: Output) -> None:
        from gdl.cli.never_began import never_began_event
        from gdl.domain.serialization import recorded_to_plain

        output.json(recorded_to_plain(never_began_event(wanted.model, error)))

    execute(
        cli,
        body,
        target=target,
        as_json=as_json,
        changes="deployed",
        flags=wanted.flags,
        on_error=never_began,
    )


async def _to_resume(session: Session, model: str) -> str | None:
    """The id of an interrupted deployment of the same model that the user wants to go on with;
    None without one, or when a new machine is wanted. Raises UsageError when nobody can be asked:
    a second machine beside the first is nobody's wish."""

    from gdl.cli.output import say
    from gdl.cli.prompt import ask
    from gdl.cli.resuming import beside
    from gdl.domain.errors import UsageError
    from gdl.presentation.lines import plain
    from gdl.presentation.resuming import machine_that_you_have

    found = await beside(session, model)
    if found is None:
        return None
    what = machine_that_you_have(found, clock.now())
    if not at_terminal():
        raise UsageError(
            f"{plain(found.model)} was being deployed already, on {plain(what)}",
            f"`gdl-tui resume {found.deployment_id}` goes on with it; --new rents another machine",
        )
    say(f"a deployment of {plain(found.model)} was interrupted in {found.phase}")
    answer = await ask(f"continue on {plain(what)}? [Y/n] (n rents another machine) ")
    return None if answer in ("n", "no") else found.deployment_id


async def _begin(deployments: Deployments, spec: DeploymentSpec, *, asks: bool) -> str:
    """The id of the deployment. Whether a model's own code may run is asked when it comes to
    that, before anything is rented."""
    from gdl.cli.output import say
    from gdl.cli.prompt import ask
    from gdl.domain.errors import RemoteCodeNotAllowed
    from gdl.presentation.lines import plain

    try:
        return await deployments.deploy(spec)
    except RemoteCodeNotAllowed as error:
        if not asks or spec.trust_remote_code is not None:
            raise
        say(plain(error.message))
        if await ask("do you trust its authors, and let it run? [y/N] ") not in ("y", "yes"):
            raise
    return await deployments.deploy(replace(spec, trust_remote_code=True))


def _spec(wanted: DeployOptions, session: Session) -> DeploymentSpec:
    from gdl.domain.errors import UsageError
    from gdl.domain.offers import OfferQuery
    from gdl.domain.spec import DeploymentSpec

    settings = session.settings
    if wanted.keep and not session.orchestrator.keeps:
        hint = "omit --keep"
        if session.orchestrator.simulated:
            hint = "start a market with `gdl-tui sandbox`, and name it with GDL_SANDBOX__URL"
        raise UsageError(
            "--keep keeps nothing here: the machines of this backend end with this process", hint
        )
    query = OfferQuery(
        provider=wanted.provider,
        max_price=settings.max_price,
        exclude_providers=tuple(wanted.exclude_provider or ()),
        offer_id=wanted.offer,
        min_vram_gb=wanted.min_vram,
        model=wanted.model,
        context=wanted.context,
        concurrency=wanted.concurrency,
        quantization=wanted.quantization or "",
        text_only=wanted.text_only,
        order=wanted.sort or "",
        interruptible=wanted.interruptible,
        bid=wanted.bid,
    )
    return DeploymentSpec(
        model=wanted.model,
        backend=settings.backend,
        query=query,
        hours=settings.hours,
        max_attempts=settings.max_attempts,
        exclude_provider_after=settings.exclude_provider_after,
        include_providers=tuple(wanted.include_provider or ()),
        max_spend=settings.max_spend,
        idle_minutes=settings.guard.idle_minutes,
        unseen_hours=settings.guard.unseen_hours,
        bench=wanted.bench,
        after=wanted.after,
        engine_args=tuple(wanted.engine_arg or ()),
        auto_fix=wanted.auto_fix,
        engine=settings.engine.name,
        tools=settings.engine.tools,
        trust_remote_code=wanted.trust_remote_code,
    )
