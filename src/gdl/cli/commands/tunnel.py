"""`gdl-tui tunnel`: the endpoint of a serving machine, open in the background."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.id_arguments import OptionalSessionArgument
from gdl.cli.options import JsonOption, MachineTarget
from gdl.cli.output import say
from gdl.cli.runtime import Cli, Session, execute


def tunnel(
    cli: Cli,
    *,
    ident: OptionalSessionArgument = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", metavar="N", min=1, max=65535, help="Local port; default: the session's own."
        ),
    ] = None,
    stop: Annotated[
        bool, typer.Option("--stop", help="Close the tunnel; the machine keeps running.")
    ] = False,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Hold the tunnel in this terminal, until Ctrl-C.")
    ] = False,
    target: MachineTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Keep the endpoint of a serving machine open in the background; without ID, list the
    tunnels."""

    async def body(session: Session) -> int:
        from gdl.cli import tunnels
        from gdl.domain.errors import UsageError
        from gdl.presentation.lines import plain

        rows = await session.orchestrator.endpoints.tunnels()
        if ident is None:
            if stop:
                raise UsageError("which tunnel should be closed?", "name its session")
            tunnels.show(session, rows)
        elif stop:
            row = tunnels.chosen(rows, ident)
            await session.orchestrator.endpoints.stop_tunnel(row)
            say(f"the tunnel to {plain(row.session_id)} is closed; its machine is left as it is")
        elif foreground:
            return await tunnels.hold(session, ident, port)
        else:
            open_ = tunnels.find(rows, ident)
            row = open_ or await tunnels.start(cli, target, session, ident, port)
            tunnels.show(session, [row])
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, rented=True, fast=foreground)
