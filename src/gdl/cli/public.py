"""The `public` subcommand: an address on the internet for a served model."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import NoReturn

from gdl.cli import exit_codes
from gdl.cli.output import say
from gdl.cli.render import table
from gdl.cli.runtime import Cli, Session, Target, execute
from gdl.domain.errors import UsageError
from gdl.domain.serialization import to_plain
from gdl.orchestrator.api.views import PUBLIC_MEANS, PublicRow
from gdl.presentation.lines import plain


def public(
    cli: Cli, target: Target, ident: str | None, *, stop: bool, watch: bool, as_json: bool
) -> NoReturn:
    """List what is public, end it, or make a session public (and follow its address)."""

    async def body(session: Session) -> int:
        orchestrator = session.orchestrator
        if ident is None:
            if stop or watch:
                raise UsageError("which session is meant?", "`gdl-tui public` lists what is public")
            _list(session, list(await orchestrator.sessions.public_rows()))
        elif stop:
            session_id = await orchestrator.sessions.stop_public(ident)
            say(f"session {plain(session_id)} is not public any more; the machine goes on")
        else:
            row = await orchestrator.sessions.make_public(
                ident, lambda text: say(f"{plain(text)} ...")
            )
            _show(session, row)
            say(f"warning: {PUBLIC_MEANS}")
            say(f"`gdl-tui public {plain(row.session_id)} --stop` ends it")
            if watch:
                await _follow(session, ident, row)
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json)


def _list(session: Session, rows: list[PublicRow]) -> None:
    if session.output.as_json:
        for row in rows:
            _show(session, row)
    elif rows:
        cells = [
            (r.session_id, r.model, r.url or "(no address yet)", f"{r.since:%Y-%m-%d %H:%M}")
            for r in rows
        ]
        for line in table(("SESSION", "MODEL", "ADDRESS AS LAST SEEN", "SINCE, UTC"), cells):
            session.output.line(line)
    else:
        say("nothing is public")


def _show(session: Session, row: PublicRow) -> None:
    if session.output.as_json:
        session.output.json(to_plain(row))
    else:
        session.output.line(plain(row.url))


async def _follow(session: Session, ident: str, row: PublicRow) -> None:
    """Every other address, until it is public no more or Ctrl-C."""
    try:
        async with aclosing(session.orchestrator.sessions.watch_public(ident)) as rows:
            async for now in rows:
                if now.url != row.url:
                    row = now
                    say("the address has changed")
                    _show(session, row)
        say("it is not public any more")
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
        say(f"still public: `gdl-tui public {plain(row.session_id)} --stop` ends it")
