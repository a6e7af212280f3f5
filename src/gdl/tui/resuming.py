"""At the start: a deployment that was interrupted, on a machine that may still cost money."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from gdl.domain.errors import GdlError
from gdl.domain.money import hourly
from gdl.presentation.lines import plain
from gdl.presentation.resuming import machine_that_you_have
from gdl.tui.context import AppContext

if TYPE_CHECKING:
    from gdl.orchestrator.api.views import ResumableDeployment


async def offer_to_resume(context: AppContext) -> None:
    """Ask whether to go on with the one there is; of several, say where they are."""
    if context.read_only:
        return
    resumption = context.orchestrator.resumption
    try:
        rows = [row for row in await resumption.resumable() if not row.ending]
    except GdlError:
        return  # whoever looks at the sessions is told
    if len(rows) > 1:
        context.say(
            f"{len(rows)} interrupted deployments have machines: 4 Sessions to attach",
            severity="warning",
        )
    if len(rows) != 1 or not await _wanted(context, rows[0]):
        return
    try:
        ident = await resumption.resume(rows[0].deployment_id, ask_on_failure=True)
    except GdlError as error:
        context.report(error)
        return
    context.open_deployment(ident)


async def _wanted(context: AppContext, row: ResumableDeployment) -> bool:
    from gdl.tui.screens.dialogs import Confirm

    fields: list[tuple[str, Text | str]] = [
        ("Model", plain(row.model)),
        ("Continue on", plain(machine_that_you_have(row, context.now))),
        ("Price", hourly(row.price_per_hour)),
        ("Session", plain(row.session_id or "not known yet")),
        ("It was", str(row.phase)),
    ]
    bills = ", and may be billing" if row.price_per_hour > 0 else ""
    dialog = Confirm(
        "Continue the deployment that was interrupted?",
        fields,
        f"Otherwise it stays as it is{bills}: use 4 Sessions to attach to it or end it.",
        "Continue",
    )
    return await context.ask(dialog) is True
