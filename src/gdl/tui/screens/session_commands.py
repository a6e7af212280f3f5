"""What can be done with rented machines, each asked for first where it costs or destroys."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial

from rich.text import Text

from gdl.domain.errors import GdlError
from gdl.domain.money import dollars, hourly, price
from gdl.orchestrator.api.views import PUBLIC_MEANS, SessionRow
from gdl.presentation.durations import hours_left
from gdl.presentation.lines import plain
from gdl.presentation.words import sentence
from gdl.tui.consequences import destroyed, of_destroying
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


def _told_now(context: AppContext, row: SessionRow) -> Callable[[], Fields]:
    """All that is known of it, with what it has cost by now."""

    def fields() -> Fields:
        latest = context.store.latest(row)
        return session_fields(latest, context.store.cost_now(latest, context.now), context.now)

    return fields


async def details(context: AppContext, row: SessionRow) -> Callable[[], Fields]:
    """The same, and how its machine is entered."""
    about, more = _told_now(context, row), await machine_fields_of(context, row)
    return lambda: [*about(), *more]


def _told_together(context: AppContext, rows: Sequence[SessionRow]) -> Fields:
    latest = [context.store.latest(row) for row in rows]
    costs = [context.store.cost_now(row, context.now) for row in latest]
    each = [
        (plain(row.session.id, 20), in_short(row, cost))
        for row, cost in zip(latest, costs, strict=True)
    ]
    told = f"{hourly(sum(row.price_per_hour for row in latest))}, {dollars(sum(costs))} so far"
    return [*each, ("Together", Text(told, "bold"))]


async def confirm_destroy(context: AppContext, rows: Sequence[SessionRow]) -> bool:
    """Whether these are to be destroyed, after a look at each of them and at what they cost."""
    title, fields = "Destroy this session?", _told_now(context, rows[0])
    if len(rows) > 1:
        title = f"Destroy these {len(rows)} sessions?"
        fields = partial(_told_together, context, rows)
    note = of_destroying(rows, context.orchestrator.deployments.active)
    answer = await context.ask(Confirm(title, fields, note, "Destroy", destroys=True))
    return bool(answer)


async def confirm_gone(context: AppContext, row: SessionRow) -> bool:
    """Whether the user has looked at the marketplace's own console, and it is not there."""
    where = plain(row.session.provider, 40) or "the marketplace"
    note = (
        f"Look at {where}'s own console. Only if the machine is not listed there has it ended:"
        " then its keys are deleted, and it counts as released."
    )
    fields = _told_now(context, row)
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


async def destroy(context: AppContext, rows: Sequence[SessionRow]) -> None:
    """All at a time; each is waited for, and one that fails keeps no other back."""
    many = len(rows) > 1
    context.say(f"releasing {len(rows)} machines" if many else "releasing the machine")
    ended = await asyncio.gather(*(_destroy_one(context, row.session.id) for row in rows))
    if gone := [row for row, over in zip(rows, ended, strict=True) if over]:
        context.say(destroyed(gone, len(rows)))


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
    about = _told_now(context, row)
    more = ("One hour more", Text(price(row.session.price_per_hour), "bold"))
    if not await context.ask(Confirm("Extend?", lambda: [more, *about()], "", "Extend")):
        return False
    try:
        until = await context.orchestrator.sessions.extend(row.session.id, 1)
    except GdlError as error:
        context.report(error)
    else:
        context.store.extended(row.session.id, until)
        context.touch()
        ends = f"ends in {hours_left(until, context.now)}" if until else "it has no fixed end"
        context.say(f"extended: {ends}")
    return True


async def confirm_public(context: AppContext, row: SessionRow) -> bool:
    """Whether it is to get an address on the internet, or to lose the one it has."""
    fields = _told_now(context, row)
    if row.public is None:
        note = f"{sentence(PUBLIC_MEANS)}. It ends with the session."
        dialog = Confirm("Give it an address on the internet?", fields, note, "Make public")
    else:
        note = "Nothing else ends: the machine is left as it is."
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
