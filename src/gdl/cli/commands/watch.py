"""`gdl-tui watch`: wait for an offer, and tell it or rent it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.amounts import check_load
from gdl.cli.completions import model_names
from gdl.cli.deploy_options import DeployOptions
from gdl.cli.fleet_options import FleetOptions
from gdl.cli.offer_words import FilterArgument, filter_of
from gdl.cli.options import JsonOption, MarketTarget
from gdl.cli.output import ring, say
from gdl.cli.runtime import Cli, Session, execute
from gdl.cli.time_spans import at_least
from gdl.domain.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from gdl.domain.offers import RankedOffer
    from gdl.orchestrator.api.offer_watch import Times

_EVERY_S, _LEAST_S = 30.0, 1.0


@dataclass(frozen=True, slots=True)
class WatchOptions(DeployOptions):
    """Those of `deploy`, for whatever appears. A machine of an interrupted deployment is none."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Only machines that can serve this model; with --rent, the model to deploy.",
            show_default=False,
            autocompletion=model_names,
        ),
    ] = None
    dry_run: bool = False
    new: bool = True
    volume_size: int | None = None


@dataclass(frozen=True, slots=True)
class WaitOptions:
    """How, and how long, it is waited."""

    rent: Annotated[
        bool,
        typer.Option(
            "--rent",
            help="Deploy on the offer that appears, as `deploy` does, "
            "instead of only reporting it.",
        ),
    ] = False
    every: Annotated[
        float | None,
        typer.Option(
            "--every",
            metavar="TIME",
            parser=partial(at_least, _LEAST_S),
            help="Time between two checks, such as 30s or 5m. A list that is still fresh is not "
            "requested again.  [default: 30s]",
            show_default=False,
        ),
    ] = None
    limit: Annotated[
        float | None,
        typer.Option(
            "--for",
            metavar="TIME",
            parser=partial(at_least, 0.1),
            help="Wait no longer than this, such as 2h; then the exit code is 3.",
            show_default=False,
        ),
    ] = None
    every_one: Annotated[
        bool,
        typer.Option("--all", help="Continue after the first match, and report all that appear."),
    ] = False


def watch(
    cli: Cli,
    *,
    words: FilterArgument = None,
    wait: WaitOptions,
    wanted: WatchOptions,
    target: MarketTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Wait until a matching offer appears, and report it, or deploy on it with --rent.

    An offer matches if it passes FILTER, is not excluded, costs no more than --max-price and, with
    --model, can serve that model.

    With --rent, you are shown the price and asked once, before the waiting begins; without a
    terminal, --yes or a limit (--max-price, --max-spend) gives consent. No machine is rented that
    costs more than --max-price or FILTER allows.
    """
    from gdl.cli.commands.deploy import with_the_file

    if wait.rent and wait.every_one:
        raise typer.BadParameter("--all only reports offers, so not with --rent")
    filled, fleet, target = with_the_file(cli, wanted, FleetOptions(), target, as_json=as_json)
    if fleet.replicas is not None:
        raise typer.BadParameter("a fleet cannot be deployed by watch")
    if wait.rent and filled.model is None:
        raise typer.BadParameter("--rent deploys a model: name it with --model")
    filled.check()
    check_load(
        filled.model,
        context=filled.context,
        concurrency=filled.concurrency,
        quantization=filled.quantization,
        text_only=filled.text_only,
    )

    async def body(session: Session) -> int:
        if wait.rent:
            return await _rent(session, words or [], wait, filled)
        return await _tell(session, words or [], wait, filled)

    changes = "rented" if wait.rent else ""
    execute(cli, body, target=target, as_json=as_json, changes=changes, flags=filled.flags)


async def _tell(
    session: Session, words: list[str], wait: WaitOptions, options: DeployOptions
) -> int:
    from gdl.cli.deployment_spec import query_of
    from gdl.cli.volume_for import mounting
    from gdl.orchestrator.api.offer_watch import Wanted, appearing, nothing_appeared

    narrows = filter_of(words)
    query = query_of(options, options.model, session.settings)
    query = await mounting(session, query, options.volume)
    wanted = Wanted(query, narrows)
    times = _begun(session, words, wait, options.model)
    any_found = False
    async with aclosing(appearing(session.orchestrator.market, wanted, times, say)) as rounds:
        async for rows in rounds:
            untold = session.orchestrator.market.size(query).untold if options.model else ""
            if untold and not any_found:
                say(f"warning: its size is not known: {untold}; no offer is excluded for that")
            any_found = True
            _show(session, rows)
            if not wait.every_one:
                return exit_codes.OK
    if not any_found:
        raise nothing_appeared(times.limit_s or 0.0)
    return exit_codes.OK


async def _rent(
    session: Session, words: list[str], wait: WaitOptions, options: DeployOptions
) -> int:
    """Deploy on what appears first; go on watching when others were quicker."""
    from gdl.cli.consent import consent, to_rent_when_it_appears
    from gdl.cli.deployment_spec import spec_of
    from gdl.cli.follower import concluded
    from gdl.cli.following import begin, follower_of
    from gdl.cli.prompt import yes
    from gdl.cli.volume_for import mounting
    from gdl.orchestrator.api.offer_watch import (
        Wanted,
        appearing,
        check_before,
        nothing_appeared,
        on_these,
        others_were_quicker,
    )
    from gdl.presentation.offer_line import offer_line
    from gdl.presentation.words import plural

    orchestrator, narrows = session.orchestrator, filter_of(words)
    spec = spec_of(options, options.model or "", session)
    ceilings = [most for most in (spec.query.max_price, narrows.most_price) if most is not None]
    query = replace(spec.query, max_price=min(ceilings, default=None))
    spec = replace(spec, query=await mounting(session, query, options.volume))
    said = consent(yes=options.yes, limited=options.limited, as_json=session.output.as_json)
    await check_before(orchestrator.market, spec)
    await to_rent_when_it_appears(orchestrator, spec, said)
    times = _begun(session, words, wait, spec.model)
    wanted = Wanted(replace(spec.query, hours=spec.hours), narrows)
    async with aclosing(appearing(orchestrator.market, wanted, times, say)) as rounds:
        async for rows in rounds:
            if session.output.as_json:
                _show(session, rows)
            else:
                say(f"{plural(len(rows), 'offer')} now: {offer_line(rows[0])}")
            start = begin(
                orchestrator.deployments, on_these(spec, rows), yes if said.asks else None
            )
            ending = await follower_of(session, spec.after).follow(start)
            if not others_were_quicker(ending.finished) or ending.ordered:
                return concluded(ending, session.output)
            say("others were quicker; still watching")
    raise nothing_appeared(times.limit_s or 0.0)


def _begun(session: Session, words: list[str], wait: WaitOptions, model: str | None) -> Times:
    """Say what is watched for, and begin to count the time."""
    from gdl.domain import clock
    from gdl.orchestrator.api.offer_watch import Times
    from gdl.presentation.durations import clock_time
    from gdl.presentation.lines import plain

    every_s = _EVERY_S if wait.every is None else wait.every
    line = " ".join(words)
    if session.output.as_json:
        told: dict[str, Any] = {"type": "watching", "filter": line, "model": model}
        session.output.json({**told, "every_s": every_s, "limit_s": wait.limit, "rent": wait.rent})
    else:
        asked = [f"pass {plain(line, 200)}"] if line else []
        asked += [f"can serve {plain(model, 80)}"] if model else []
        what = f"offers that {' and '.join(asked)}" if asked else "an offer"
        ends = "" if wait.limit is None else f", for {clock_time(wait.limit)}"
        say(f"watching for {what}, every {clock_time(every_s)}{ends}; press Ctrl-C to end")
    return Times(clock.now, asyncio.sleep, every_s, wait.limit)


def _show(session: Session, rows: list[RankedOffer]) -> None:
    from gdl.domain import clock
    from gdl.domain.serialization import to_plain
    from gdl.presentation.offer_line import offer_line

    ring()
    if not session.output.as_json:
        session.output.lines(map(offer_line, rows))
        return
    from gdl.cli.commands.offers import offer_to_plain

    at = to_plain(clock.now())
    for row in rows:
        session.output.json({"type": "offer_appeared", "at": at, **offer_to_plain(row)})
