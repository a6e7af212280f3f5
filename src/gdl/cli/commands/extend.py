"""`gdl-tui extend`: more hours for a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.consent import (
    Consent,
    YesOption,
    agreed,
    consent,
    costs,
    row_of,
    session_words,
)
from gdl.cli.id_arguments import SessionArgument
from gdl.cli.options import JsonOption, MachineTarget
from gdl.cli.output import say
from gdl.cli.runtime import Cli, Session, execute
from gdl.presentation.words import plural

if TYPE_CHECKING:
    from gdl.orchestrator.api.ports import OrchestratorApi


def extend(
    cli: Cli,
    ident: SessionArgument,
    hours: Annotated[
        int,
        typer.Argument(metavar="HOURS", min=1, max=12, help="Hours to add.", show_default=False),
    ],
    yes: YesOption = False,
    *,
    target: MachineTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Reserve a machine for more hours.

    If that costs money, you are shown the price and asked; --yes gives consent.
    """

    async def body(session: Session) -> int:
        from gdl.presentation.lines import plain

        await _agree(session.orchestrator, ident, hours, consent(yes=yes, as_json=as_json))
        until = await session.orchestrator.sessions.extend(ident, hours)
        if as_json:
            session.output.json({"id": ident, "hours": hours, "expires_at": until})
        elif until is None:
            session.output.line(f"{plain(ident)}  has no fixed end")
        else:
            session.output.line(
                f"{plain(ident)}  until {until.astimezone().isoformat(timespec='minutes')}"
            )
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, rented=True, changes="extended")


async def _agree(orchestrator: OrchestratorApi, ident: str, hours: int, said: Consent) -> None:
    """Ask whether to pay for these hours. Raises Cancelled, UsageError."""
    from gdl.domain.money import dollars, hourly
    from gdl.orchestrator.api.session_ids import refuse_over
    from gdl.presentation.lines import plain

    if said.given or not costs(orchestrator):
        return
    row = await row_of(orchestrator.sessions, ident)
    if row is not None:
        refuse_over(row)
        if row.session.price_per_hour <= 0:
            return
    more = plural(hours, "hour")
    price = "at an unknown price"
    if row is not None:
        each = row.session.price_per_hour
        price = f"{more} more at {hourly(each)} = {dollars(each * hours)}"
    if row is not None and said.asks:
        say(plain(session_words(row)))
    refusal = f"{more} more of {plain(ident, 80)} cost money, and there is no terminal to ask on"
    question = f"extend {plain(ident, 80)}: {price}?"
    await agreed(question, said, undone="not extended", refusal=refusal)
