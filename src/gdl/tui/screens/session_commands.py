"""What can be done with rented machines, each asked for first where it costs or destroys."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from rich.text import Text

from gdl.domain.errors import GdlError
from gdl.domain.money import dollars
from gdl.orchestrator.api.views import PUBLIC_MEANS, SessionRow
from gdl.presentation.durations import hours_left
from gdl.presentation.lines import plain
from gdl.presentation.money import hourly, price
from gdl.presentation.words import sentence
from gdl.tui.context import AppContext
from gdl.tui.screens.dialogs import Confirm
from gdl.tui.widgets.fields import Fields
from gdl.tui.widgets.session_rows import in_short, machine_fields, session_fields


async def attach(context: AppContext, row: SessionRow) -> None:
    """Show the deployment that has this session here, or open its tunnel again."""
    try:
        ident = row.deployment_id
        if ident is None or ident not in context.orchestrator.deployments.active:
            ident = await context.orchestrator.deployments.attach(row.session.id)
    except GdlError as error:
        context.report(error)
    else:
        context.open_deployment(ident)


async def machine_fields_of(context: AppContext, row: SessionRow) -> Fields:
    """How its machine is entered, and what is known of it."""
    shell: Sequence[str] = ()
    if row.ours and not row.ended:
        with contextlib.suppress(GdlError):  # it cannot be entered: then nothing is said of it
            shell = (await context.orchestrator.sessions.shell(row.session.id, enter=False)).words
    followed = context.store.deployments.get(row.deployment_id or "")
    attempts = followed.state.attempts if followed is not None else ()
    of_it = (each for each in attempts if each.session_id == row.session.id)
    attempt = next(of_it, None)
    traffic = context.orchestrator.endpoints.readings(row.deployment_id or "").traffic
    return machine_fields(row, shell, attempt.facts if attempt is not None else None, traffic)


async def confirm_destroy(context: AppContext, rows: Sequence[SessionRow]) -> bool:
    """Whether these are to be destroyed, after a look at each of them and at what they cost."""
    costs = [context.store.cost_now(row, context.now) for row in rows]
    if len(rows) == 1:
        title, note = (
            "Destroy this session?",
            ("The machine is released; everything on it is lost."),
        )
        fields: Fields = session_fields(rows[0], costs[0], context.now)
    else:
        title = f"Destroy these {len(rows)} sessions?"
        note = "The machines are released; everything on them is lost."
        each = [
            (plain(row.session.id, 20), in_short(row, cost))
            for row, cost in zip(rows, costs, strict=True)
        ]
        per_hour = sum(row.price_per_hour for row in rows)
        told = f"{hourly(per_hour)}, {dollars(sum(costs))} so far"
        fields = [*each, ("Together", Text(told, "bold"))]
    answer = await context.ask(Confirm(title, fields, note, "Destroy", destroys=True))
    return bool(answer)


async def confirm_gone(context: AppContext, row: SessionRow) -> bool:
    """Whether the user has looked at the marketplace's own console, and it is not there."""
    fields = session_fields(row, context.store.cost_now(row, context.now), context.now)
    where = plain(row.session.provider, 40) or "the marketplace"
    note = (
        f"Look at {where}'s own console. Only if the machine is not listed there has it ended:"
        " then its keys are deleted, and it counts as released."
    )
    answer = await context.ask(
        Confirm("Is this machine gone?", fields, note, "It is gone", destroys=True)
    )
    return bool(answer)


async def mark_gone(context: AppContext, row: SessionRow) -> None:
    try:
        context.store.replace_session(
            await context.orchestrator.sessions.confirm_gone(row.session.id)
        )
    except GdlError as error:
        context.report(error)
    else:
        context.say("the machine is gone, as you confirmed")


async def destroy(context: AppContext, idents: Sequence[str]) -> None:
    """All at a time; each is waited for, and one that fails keeps no other back."""
    many = len(idents) > 1
    context.say(f"releasing {len(idents)} machines" if many else "releasing the machine")
    gone = sum(await asyncio.gather(*(_destroy_one(context, ident) for ident in idents)))
    if gone:
        what = f"{gone} of {len(idents)} machines are gone" if many else "the machine is gone"
        context.say(f"{what}: confirmed")


async def _destroy_one(context: AppContext, ident: str) -> bool:
    try:
        row = await context.orchestrator.sessions.destroy(ident, context.say)
        context.store.replace_session(row)
    except GdlError as error:
        context.report(error)
        return False
    return True


async def extend(context: AppContext, row: SessionRow) -> bool:
    """Reserve an hour more; whether it was asked for."""
    about = session_fields(row, context.store.cost_now(row, context.now), context.now)
    fields = [("One hour more", Text(price(row.session.price_per_hour), "bold")), *about]
    if not await context.ask(Confirm("Extend?", fields, "", "Extend")):
        return False
    try:
        until = await context.orchestrator.sessions.extend(row.session.id, 1)
    except GdlError as error:
        context.report(error)
    else:
        context.store.extended(row.session.id, until)
        context.touch()
        left = hours_left(until, context.now) if until else "no fixed time"
        context.say(f"extended: ends in {left}")
    return True


async def confirm_public(context: AppContext, row: SessionRow) -> bool:
    """Whether it is to get an address on the internet, or to lose the one it has."""
    fields = session_fields(row, context.store.cost_now(row, context.now), context.now)
    if row.public is None:
        note = f"{sentence(PUBLIC_MEANS)}. It ends with the session."
        dialog = Confirm("Give it an address on the internet?", fields, note, "Make public")
    else:
        note = "The machine keeps serving."
        dialog = Confirm("End its public address?", fields, note, "End it")
    answer = await context.ask(dialog)
    return bool(answer)


async def publish(context: AppContext, ident: str) -> None:
    try:
        made = await context.orchestrator.sessions.make_public(ident, context.say)
    except GdlError as error:
        context.report(error)
    else:
        context.say(f"public: {plain(made.url, 100)}")


async def unpublish(context: AppContext, ident: str) -> None:
    try:
        await context.orchestrator.sessions.stop_public(ident)
    except GdlError as error:
        context.report(error)
    else:
        context.say("the session is no longer public")
