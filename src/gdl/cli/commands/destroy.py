"""`gdl-tui destroy`: release a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.options import JsonOption, MachineTarget, SessionArgument
from gdl.cli.output import say
from gdl.cli.runtime import Cli, Session, at_terminal, execute

if TYPE_CHECKING:
    from gdl.orchestrator.api.ports import Sessions


def destroy(
    cli: Cli,
    *,
    ident: SessionArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    seen_gone: Annotated[
        bool,
        typer.Option(
            "--seen-gone",
            help="You looked at the marketplace's own console, and the machine is not there: its"
            " end counts as proven. Nothing is asked.",
        ),
    ] = False,
    target: MachineTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Release a machine and wait for the proof that it is gone."""

    async def body(session: Session) -> int:
        import asyncio

        from gdl.cli.commands.sessions import session_to_plain
        from gdl.cli.signals import uncancel
        from gdl.domain.errors import ReleaseUnconfirmed
        from gdl.domain.money import dollars
        from gdl.presentation.lines import plain

        sessions = session.orchestrator.sessions
        if not yes and at_terminal():
            await _confirm(sessions, ident, seen_gone=seen_gone)
        try:
            if seen_gone:
                row = await sessions.confirm_gone(ident)
            else:
                say(f"releasing {plain(ident, 80)} ...")
                row = await sessions.destroy(ident, lambda text: say(plain(text, 300)))
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


async def _confirm(sessions: Sessions, ident: str, *, seen_gone: bool) -> None:
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
    question = f"release {plain(what)}?"
    if seen_gone:
        where = plain(found[0].session.provider, 40) if len(found) == 1 else "the marketplace"
        question = f"{plain(what)}: it is not in {where}'s own console?"
    if await ask(f"{question} [y/N] ") not in ("y", "yes"):
        raise Cancelled("not released", "say y, or pass --yes, to release it")
