"""`gdl-tui public`: an address on the internet for a served model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.id_arguments import OptionalSessionArgument
from gdl.cli.options import JsonOption, MachineTarget
from gdl.cli.output import say
from gdl.cli.runtime import Cli, Session, execute

if TYPE_CHECKING:
    from gdl.orchestrator.api.views import PublicRow


def public(
    cli: Cli,
    *,
    ident: OptionalSessionArgument = None,
    stop: Annotated[
        bool, typer.Option("--stop", help="End the address; the machine keeps running.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep running, and report when the address changes.")
    ] = False,
    target: MachineTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Give a serving machine an address on the internet (cloudflared); without ID, list them."""
    if stop and watch:
        raise typer.BadParameter("--stop and --watch exclude each other")

    async def body(session: Session) -> int:
        from gdl.domain.errors import UsageError
        from gdl.orchestrator.api.views import PUBLIC_MEANS
        from gdl.presentation.lines import plain

        sessions = session.orchestrator.sessions
        if ident is None:
            if stop or watch:
                raise UsageError("which session?", "`gdl-tui public` lists what is public")
            _list(session, await sessions.public_rows())
        elif stop:
            session_id = await sessions.stop_public(ident)
            say(f"session {plain(session_id)} is no longer public; its machine is left as it is")
        else:
            row = await sessions.make_public(ident, lambda text: say(f"{plain(text)} ..."))
            _show(session, row)
            say(f"warning: {PUBLIC_MEANS}")
            say(f"`gdl-tui public {plain(row.session_id)} --stop` ends it")
            if watch:
                await _follow(session, ident, row)
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, rented=True)


def _list(session: Session, rows: Sequence[PublicRow]) -> None:

    if session.output.as_json:
        for row in rows:
            _show(session, row)
    elif rows:
        cells = [
            (
                r.session_id,
                r.model,
                r.url or "(no address yet)",
                f"{r.since.astimezone():%Y-%m-%d %H:%M}",
            )
            for r in rows
        ]
        headings = ("SESSION", "MODEL", "ADDRESS AS LAST SEEN", "SINCE")
        session.output.table(headings, cells, ("MODEL", "SINCE"))
    else:
        say("nothing is public")


def _show(session: Session, row: PublicRow) -> None:
    from gdl.presentation.lines import plain

    if session.output.as_json:
        session.output.json(row)
    else:
        session.output.line(plain(row.url))


async def _follow(session: Session, ident: str, row: PublicRow) -> None:
    """Every other address, until it is public no more or Ctrl-C."""
    import asyncio
    from contextlib import aclosing

    from gdl.cli.signals import uncancel
    from gdl.presentation.lines import plain

    try:
        async with aclosing(session.orchestrator.sessions.watch_public(ident)) as rows:
            async for now in rows:
                if now.url != row.url:
                    row = now
                    say("the address has changed")
                    _show(session, row)
        say("it is no longer public")
    except asyncio.CancelledError:
        uncancel()
        say(f"still public: `gdl-tui public {plain(row.session_id)} --stop` ends it")
