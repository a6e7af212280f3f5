"""`gdl-tui destroy`: release a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.options import JsonOption, MachineTarget, SessionArgument
from gdl.cli.runtime import Cli, Session, at_terminal, execute

if TYPE_CHECKING:
    from gdl.orchestrator.api.ports import Sessions


def destroy(
    cli: Cli,
    *,
    ident: SessionArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    target: MachineTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Release a machine and wait until that is confirmed."""

    async def body(session: Session) -> int:
        import asyncio

        from gdl.cli.commands.sessions import session_to_plain
        from gdl.cli.progress import with_progress
        from gdl.cli.signals import uncancel
        from gdl.domain.errors import ReleaseUnconfirmed
        from gdl.domain.money import dollars
        from gdl.presentation.lines import plain

        sessions = session.orchestrator.sessions
        if not yes and at_terminal():
            await _confirm(sessions, ident)
        try:
            row = await with_progress(sessions.destroy(ident), f"releasing {plain(ident, 80)}")
        except asyncio.CancelledError:
            uncancel()
            raise ReleaseUnconfirmed(
                f"stopped waiting for the release of {ident}: it may still be billing",
                "run `gdl-tui sessions` to see whether it is gone, and destroy it again if not",
            ) from None
        if as_json:
            session.output.json(session_to_plain(row))
        else:
            session.output.line(
                f"{plain(row.session.id)}  {plain(row.billing)}  {dollars(row.cost)} in all"
            )
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, changes="destroyed")


async def _confirm(sessions: Sessions, ident: str) -> None:
    """Ask whether to release, naming machine and price. Raises Cancelled when not."""
    from gdl.cli.prompt import ask
    from gdl.domain.errors import Cancelled, GdlError
    from gdl.domain.id_matching import matching
    from gdl.domain.money import dollars
    from gdl.presentation.hardware import machine
    from gdl.presentation.lines import plain
    from gdl.presentation.money import hourly

    try:
        rows = await sessions.rows()
    except GdlError:
        rows = ()
    found = matching(ident, rows, lambda row: (row.session.id, row.deployment_id))
    if len(found) != 1:
        what = plain(ident, 80)
    else:
        row, session = found[0], found[0].session
        what = (
            f"session {session.id}: {machine(session)} from {session.provider}, "
            f"{hourly(session.price_per_hour)}, {dollars(row.cost)} so far"
        )
    if await ask(f"release {plain(what)}? [y/N] ") not in ("y", "yes"):
        raise Cancelled("not released", "say y, or pass --yes, to release it")
