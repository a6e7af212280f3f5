"""`gdl-tui extend`: more hours for a machine."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.options import JsonOption, MachineTarget, SessionArgument
from gdl.cli.runtime import Cli, Session, execute


def extend(
    cli: Cli,
    ident: SessionArgument,
    hours: Annotated[
        int,
        typer.Argument(metavar="HOURS", min=1, max=12, help="Hours to add.", show_default=False),
    ],
    target: MachineTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Reserve a machine for more hours."""

    async def body(session: Session) -> int:
        from gdl.presentation.lines import plain

        until = await session.orchestrator.sessions.extend(ident, hours)
        if as_json:
            session.output.json({"id": ident, "hours": hours, "expires_at": until})
        elif until is None:
            session.output.line(f"{plain(ident)}  does not run out")
        else:
            session.output.line(f"{plain(ident)}  until {until.isoformat(timespec='minutes')}")
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, changes="extended")
