"""`gdl-tui spending`: what was spent by day or month, over all backends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.options import JsonOption, MachineTarget
from gdl.cli.output import Output, say
from gdl.cli.runtime import Cli, Session, execute

if TYPE_CHECKING:
    from gdl.domain.spending import SpendingReport


def spending(
    cli: Cli,
    *,
    by: Annotated[
        Literal["day", "month"],
        typer.Option("--by", help="By day (the last 31) or by month (the last 12)."),
    ] = "day",
    target: MachineTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Show what was spent by day or month: by our own clock, and as charged by the marketplaces.

    Days and months are in local time.
    """

    async def body(session: Session) -> int:
        report = await session.orchestrator.spending.report(by)
        if as_json:
            _as_json(session.output, report)
        else:
            _as_lines(session.output, report)
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, rented=True)


def _as_json(output: Output, report: SpendingReport) -> None:
    for row in report.rows:
        output.json(
            {
                "type": "period",
                "by": report.by,
                "period": row.period,
                "backend": row.backend,
                "spent": row.spent,
                "charged": row.charged,
                "difference": None if row.difference is None else round(row.difference, 6),
            }
        )
    output.json(
        {
            "type": "total",
            "by": report.by,
            "time_zone": report.zone,
            "spent": round(report.spent, 6),
            "charged": None if report.charged is None else round(report.charged, 6),
            "caps": report.caps,
            "balances": {name: balance.credit for name, balance in report.balances.items()},
            "in_doubt": report.in_doubt,
            "silent": report.silent,
        }
    )


def _as_lines(output: Output, report: SpendingReport) -> None:
    from gdl.presentation.lines import plain
    from gdl.presentation.spending import cells, totals

    if not report.rows:
        say("nothing was spent")
    else:
        headings = (report.by.upper(), "BACKEND", ">SPENT", ">CHARGED", ">DIFFERENCE")
        output.table(headings, [cells(row) for row in report.rows])
    for line in totals(report):
        output.prose(line)
    for name, why in report.silent.items():
        say(f"warning: {name} did not report its charges: {plain(why, 200)}")
    for name in report.in_doubt:
        say(f"in doubt: {plain(name)} may be billing; `gdl-tui ledger` says what was tried")
