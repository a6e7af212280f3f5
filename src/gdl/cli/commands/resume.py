"""`gdl-tui resume`: go on with a deployment that was interrupted."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

from gdl.cli import exit_codes
from gdl.cli.id_arguments import id_argument
from gdl.cli.options import JsonOption, MachineTarget, WebhookOption, webhook_flags
from gdl.cli.output import columns_of
from gdl.cli.runtime import Cli, Session, execute


def resume(
    cli: Cli,
    target: MachineTarget,
    ident: Annotated[
        str | None,
        id_argument(
            "Session or deployment id, or its beginning.  [default: the only one]", optional=True
        ),
    ] = None,
    webhook: WebhookOption = None,
    as_json: JsonOption = False,
) -> NoReturn:
    """Continue a deployment whose gdl-tui was killed, on its machine.

    It continues where it was, under its own id and with everything you asked for. If there are
    several, they are listed.
    """

    async def body(session: Session) -> int:
        from gdl.cli.output import say
        from gdl.cli.resuming import follow_resumed, table_of
        from gdl.domain.serialization import to_plain

        fleets = [view for view in await session.orchestrator.fleets.rows() if view.resumable]
        named = ident is not None and ident.startswith("fleet")
        if named or (ident is None and len(fleets) == 1):
            from gdl.cli.fleet_follower import follow_fleet
            from gdl.domain import clock

            start = session.orchestrator.fleets.resume(ident or fleets[0].id)
            return await follow_fleet(session, start, asks=True, since=clock.now())
        if ident is not None:
            return await follow_resumed(session, ident, as_json=as_json)
        members = {replica.id for view in fleets for replica in view.replicas}
        resumable = await session.orchestrator.resumption.resumable()
        rows = [row for row in resumable if row.deployment_id not in members]
        for view in fleets:
            say(f"{view.id}: a fleet of {view.model} that can be resumed")
        if len(rows) == 1 and not fleets:
            return await follow_resumed(session, rows[0].deployment_id, as_json=as_json)
        if as_json:
            for row in rows:
                session.output.json(to_plain(row))
        elif rows or fleets:
            session.output.lines(table_of(rows, columns_of(sys.stdout)))
            say("several can be resumed: name one")
        else:
            here = session.orchestrator.backend_name.replace(",", " or ")
            say(f"nothing to resume: no deployment was interrupted on a machine of {here}")
        return exit_codes.USAGE if rows or fleets else exit_codes.OK

    flags = webhook_flags(webhook)
    execute(cli, body, target=target, as_json=as_json, rented=True, changes="resumed", flags=flags)
