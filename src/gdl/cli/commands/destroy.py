"""`gdl-tui destroy`: release a machine."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.consent import Consent, YesOption, agreed, consent, row_of, session_words
from gdl.cli.id_arguments import SessionArgument
from gdl.cli.options import JsonOption, MachineTarget
from gdl.cli.output import say
from gdl.cli.runtime import Cli, Session, at_terminal, execute
from gdl.cli.time_spans import at_least

if TYPE_CHECKING:
    from gdl.orchestrator.api.ports import Sessions


def destroy(
    cli: Cli,
    *,
    ident: SessionArgument,
    yes: YesOption = False,
    seen_gone: Annotated[
        bool,
        typer.Option(
            "--seen-gone",
            help="Confirm that you looked at the marketplace's own console and the machine is "
            "not there: its end then counts as proven.",
        ),
    ] = False,
    wait: Annotated[
        float | None,
        typer.Option(
            "--wait",
            metavar="TIME",
            parser=partial(at_least, 1.0),
            help="How long to ask for its end and wait for the proof, as in 30s; without a proof "
            "the exit code is 9.  [default: timeouts.release, 10 minutes]",
            show_default=False,
        ),
    ] = None,
    target: MachineTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Release a machine and wait for the proof that it is gone."""
    if wait is not None and (seen_gone or ident.startswith("fleet")):
        raise typer.BadParameter("--wait is for the release of one machine, without --seen-gone")

    async def body(session: Session) -> int:
        import asyncio

        from gdl.cli.commands.sessions import session_to_plain
        from gdl.cli.signals import uncancel
        from gdl.domain.errors import Cancelled, ReleaseUnconfirmed
        from gdl.domain.money import dollars
        from gdl.presentation.lines import plain

        if ident.startswith("fleet"):
            return await _destroy_fleet(session, ident, consent(yes=yes, as_json=as_json))
        sessions = session.orchestrator.sessions
        if not (said := consent(yes=yes, as_json=as_json)).given:
            await _confirm(sessions, ident, said, seen_gone=seen_gone)
        try:
            if seen_gone:
                row = await sessions.confirm_gone(ident)
            else:
                stop = "; Ctrl-C stops waiting" if at_terminal() else ""
                say(f"releasing {plain(ident, 80)} ...{stop}")
                row = await sessions.destroy(ident, lambda text: say(plain(text, 300)))
        except asyncio.CancelledError:
            uncancel()
            stopped = f"stopped waiting for the release of {ident}"
            again = "run `gdl-tui sessions` to see whether it is gone, and destroy it again if not"
            if not session.orchestrator.bills:
                raise Cancelled(stopped, again) from None
            raise ReleaseUnconfirmed(f"{stopped}: it may still be billing", again) from None
        if as_json:
            session.output.json(session_to_plain(row))
        else:
            session.output.line(
                f"{plain(row.session.id)}  {plain(row.billing)}  {dollars(row.cost)} in all"
            )
        return exit_codes.OK

    flags = {} if wait is None else {"timeouts": {"release": wait}}
    execute(
        cli,
        body,
        target=target,
        as_json=as_json,
        rented=True,
        changes="destroyed",
        flags=flags,
    )


async def _destroy_fleet(session: Session, ident: str, said: Consent) -> int:
    """Release all replicas of a fleet, in whichever process it runs."""
    from gdl.domain.errors import ReleaseUnconfirmed
    from gdl.domain.money import dollars
    from gdl.presentation.fleets import summary
    from gdl.presentation.lines import plain

    fleets = session.orchestrator.fleets
    view = await fleets.view(ident)
    question = f"release all replicas of {view.id} ({summary(view)})?"
    refusal = f"releasing {view.id} cannot be undone, and there is no terminal to ask on"
    await agreed(plain(question, 300), said, undone="not released", refusal=refusal)
    if view.runs or view.resumable:
        say(f"releasing {plain(view.id)} ...")
        view = await fleets.released(view.id)
    if view.doubts:
        raise ReleaseUnconfirmed(
            f"the end of {', '.join(view.doubts)} is not proven: it may still be billing",
            "`gdl-tui sessions` shows what is rented, `gdl-tui destroy ID` ends it",
        )
    if session.output.as_json:
        session.output.json(view)
    else:
        session.output.line(f"{plain(view.id)}  {plain(view.outcome)}  {dollars(view.cost)} in all")
    return exit_codes.OK


async def _confirm(sessions: Sessions, ident: str, said: Consent, *, seen_gone: bool) -> None:
    """Ask whether to release, naming machine and price. Raises Cancelled when not, UsageError where
    nobody can be asked."""
    from gdl.presentation.lines import plain

    row = await row_of(sessions, ident) if said.asks else None
    what = plain(ident, 80) if row is None else plain(session_words(row))
    question = f"release {what}?"
    if row is not None and row.fleet is not None:
        fleet = plain(row.fleet, 80)
        say(
            f"it is a replica: a gdl-tui that runs {fleet} rents another instead;"
            f" `gdl-tui scale {fleet} N` makes that smaller"
        )
    if seen_gone:
        where = "the marketplace" if row is None else plain(row.session.provider, 40)
        question = f"{what}: have you checked that it is not in {where}'s own console?"
    refusal = f"releasing {plain(ident, 80)} cannot be undone, and there is no terminal to ask on"
    await agreed(question, said, undone="not released", refusal=refusal)
