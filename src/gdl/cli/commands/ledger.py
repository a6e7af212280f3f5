"""`gdl-tui ledger`: what happened to money."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.id_arguments import id_argument
from gdl.cli.options import JsonOption
from gdl.cli.output import Output, say
from gdl.cli.runtime import Cli, guarded, load_settings
from gdl.domain import clock
from gdl.domain.ledger import is_simulated

if TYPE_CHECKING:
    from datetime import datetime

    from gdl.domain.ledger import LedgerAccount, LedgerEntry

_HEADINGS = ("WHEN", "SERVICE'S TIME", "WHAT", "SESSION", "PROVIDER", ">PRICE", ">COST", "EVIDENCE")


def ledger(
    cli: Cli,
    *,
    ident: Annotated[
        str | None,
        id_argument("Session or deployment id, or its beginning.", optional=True),
    ] = None,
    as_json: JsonOption = False,
) -> NoReturn:
    """Show every rent, end, doubt and proof, with the cost by our own clock.

    Only the journal is read; no backend is queried.
    """
    output = Output(as_json)

    def work() -> int:
        import asyncio

        return asyncio.run(_shown(cli, output, ident))

    raise typer.Exit(guarded(cli, work, output))


async def _shown(cli: Cli, output: Output, ident: str | None) -> int:

    from gdl.domain.ledger import accounts
    from gdl.journal import ledger as journaled
    from gdl.journal.store import Journal

    journal = await Journal.open(load_settings(cli).data_dir / "journal.sqlite")
    try:
        entries = await journaled.entries(journal)
    finally:
        await journal.aclose()
    found = entries if ident is None else _of(ident, entries)
    wanted = {*map(id, found)}
    shown = [
        account
        for account in accounts(entries, clock.now())
        if any(id(one) in wanted for one in account.entries)
    ]
    if output.as_json:
        _as_json(output, found, shown)
    elif found:
        _as_lines(output, found, shown)
    else:
        say("nothing has been rented yet")
    return exit_codes.OK


def _of(ident: str, entries: list[LedgerEntry]) -> list[LedgerEntry]:
    """The entries of a session or a deployment. Raises UsageError when nothing is called so."""
    from gdl.domain.errors import UsageError
    from gdl.domain.id_matching import matching

    named = matching(ident, entries, lambda one: (one.session_id, one.deployment_id))
    if not named:
        raise UsageError(f"the ledger has no session or deployment {ident}", "see `gdl-tui ledger`")
    # How a session was asked for is told before its id is known.
    intents = {one.intent_id for one in named}
    return [one for one in entries if one.intent_id in intents]


def _as_json(output: Output, found: list[LedgerEntry], shown: list[LedgerAccount]) -> None:
    from gdl.domain.serialization import to_plain

    cost = {id(one): account.cost for account in shown for one in account.entries}
    for one in found:
        output.json({"type": "entry", **to_plain(one), "cost": cost[id(one)]})
    output.json(
        {
            "type": "total",
            "cost": _total(shown, simulated=False),
            "simulated_cost": _total(shown, simulated=True),
            "in_doubt": [
                each.session_id or each.entries[0].intent_id for each in shown if not each.certain
            ],
        }
    )


def _as_lines(output: Output, found: list[LedgerEntry], shown: list[LedgerAccount]) -> None:
    from gdl.domain.money import dollars
    from gdl.presentation.lines import plain

    last = {id(account.entries[-1]): account for account in shown}
    rows = [_cells(one, last.get(id(one))) for one in found]
    output.table(_HEADINGS, rows, ("SERVICE'S TIME", "PROVIDER"))
    total = f"{dollars(_total(shown, simulated=False))} in all, by our own clock"
    if simulated := _total(shown, simulated=True):
        total += f"; on simulated machines, where nothing is paid, {dollars(simulated)}"
    output.prose(total)
    for each in shown:
        if not each.certain:
            say(f"in doubt: {plain(each.name)} may be billing; the entries say what was tried")


def _total(accounts: list[LedgerAccount], *, simulated: bool) -> float:
    """Dollars so far, of the simulated market's machines or of the others."""
    return round(sum(each.cost or 0.0 for each in accounts if each.simulated is simulated), 6)


def _cells(one: LedgerEntry, account: LedgerAccount | None) -> tuple[Any, ...]:
    """account: what it all came to, at the last entry about it."""
    from gdl.domain.money import dollars, hourly

    cost = ""
    if account is not None:
        cost = "unknown" if account.cost is None else dollars(account.cost)
    return (
        _time(one.at),
        "" if one.service_at is None else _time(one.service_at),
        one.kind.value.replace("_", " "),
        one.session_id or "",
        one.provider + (", simulated" if is_simulated(one.backend) else ""),
        hourly(one.price),
        cost,
        one.evidence,
    )


def _time(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
