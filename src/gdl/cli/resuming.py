"""Deployments that were interrupted: how they are named, chosen, and followed once they go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gdl.domain import clock

if TYPE_CHECKING:
    from gdl.cli.runtime import Session
    from gdl.orchestrator.api.views import ResumableDeployment


async def follow_resumed(session: Session, ident: str, *, as_json: bool) -> int:
    """Go on with one, follow it to its end, and give the exit code."""

    from gdl.cli.deployment_output import JsonDeployment, TextDeployment
    from gdl.cli.follower import Follower, to_the_end
    from gdl.cli.prompt import ask
    from gdl.cli.runtime import at_terminal

    output, deployments = session.output, session.orchestrator.deployments
    follower = Follower(
        deployments,
        JsonDeployment(output) if as_json else TextDeployment(output, since=clock.now()),
        ask=ask if at_terminal() else None,
        may_keep=session.orchestrator.keeps,
        watch=as_json,
    )
    return await to_the_end(follower, session.orchestrator.resumption.resume(ident), output)


async def to_resume(session: Session, model: str) -> str | None:
    """The id of an interrupted deployment of the same model that the user wants to go on with;
    None without one, or when a new machine is wanted. Raises UsageError when nobody can be asked:
    a second machine beside the first is nobody's wish."""
    from gdl.cli.output import say
    from gdl.cli.prompt import ask
    from gdl.cli.runtime import at_terminal
    from gdl.domain.errors import UsageError
    from gdl.presentation.lines import plain
    from gdl.presentation.resuming import machine_that_you_have

    found = await _beside(session, model)
    if found is None:
        return None
    what = machine_that_you_have(found, clock.now())
    if not at_terminal():
        raise UsageError(
            f"{plain(found.model)} was already being deployed, on {plain(what)}",
            f"`gdl-tui resume {found.deployment_id}` continues it; --new rents another machine",
        )
    say(f"a deployment of {plain(found.model)} was interrupted while {found.phase}")
    answer = await ask(f"continue on {plain(what)}? [Y/n] (n rents another machine) ")
    return None if answer in ("n", "no") else found.deployment_id


async def _beside(session: Session, model: str) -> ResumableDeployment | None:
    """An interrupted deployment of the same model whose machine is there, or may be."""
    names = {model.casefold()}
    for row in session.orchestrator.market.models():
        if model in (row.alias, row.location):
            names |= {row.alias.casefold(), row.location.casefold()}
    for each in await session.orchestrator.resumption.resumable():
        if not each.ending and names & {each.model.casefold(), each.asked_for.casefold()}:
            return each
    return None


def table_of(rows: Sequence[ResumableDeployment], columns: int | None) -> list[str]:
    """columns: of the terminal, None where a line may be of any length."""

    from gdl.cli.tables import table
    from gdl.domain.money import dollars, hourly
    from gdl.presentation.durations import clock_time
    from gdl.presentation.hardware import machine

    now = clock.now()
    headings = ("DEPLOYMENT", "MODEL", "PHASE", "SESSION", "MACHINE", ">PRICE", ">SINCE", ">COST")
    return table(
        headings,
        [
            (
                row.deployment_id,
                row.model,
                str(row.phase),
                row.session_id or "not known",
                machine(row),
                hourly(row.price_per_hour),
                clock_time((now - row.since).total_seconds()),
                dollars(row.cost),
            )
            for row in rows
        ],
        columns,
        ("MACHINE", "PRICE", "PHASE"),
    )
