"""`gdl-tui costs`: what was spent."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from gdl.cli import exit_codes
from gdl.cli.options import JsonOption, MachineTarget
from gdl.cli.output import Output, say
from gdl.cli.runtime import Cli, Session, execute
from gdl.domain import clock

if TYPE_CHECKING:
    from gdl.domain.money import CostReport, SessionCost

_HEADINGS = ("BEGAN", "SESSION", "PROVIDER", ">PRICE", ">LASTED", ">COST", ">CHARGED")
_SAME = 0.005
"""Dollars that two counts may differ by without a word."""


def costs(cli: Cli, target: MachineTarget, as_json: JsonOption = False) -> NoReturn:
    """Show what was spent: on each session by our own clock, and in total as counted by the
    backend."""

    async def body(session: Session) -> int:
        report = await session.orchestrator.market.costs()
        if as_json:
            session.output.json(report)
        else:
            _as_lines(session.output, report)
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, rented=True)


def _as_lines(output: Output, report: CostReport) -> None:
    from gdl.domain.money import dollars
    from gdl.presentation.lines import plain
    from gdl.presentation.words import plural

    own = sum(one.cost or 0.0 for one in report.sessions)
    if report.sessions:
        output.table(_HEADINGS, [_cells(one) for one in report.sessions], ("BEGAN", "PROVIDER"))
        output.line(f"{dollars(own)} in all, by our own clock")
        output.line("")
    rows = [(provider, dollars(spent)) for provider, spent in sorted(report.by_provider.items())]
    rows.append(("total", f"{dollars(report.total)} {report.currency}"))
    output.table(("PROVIDER", ">COST"), rows)
    output.line(f"{plural(report.session_count, 'session')}, {report.hours_used:.2f} hours")
    if report.sessions and abs(own - report.total) >= _SAME:
        say(
            f"the backend counts {dollars(report.total)}, our own clock {dollars(own)}: some count"
            " whole hours, or machines that never ran, or what others rented"
        )
    if report.note:
        say(plain(report.note))


def _cells(one: SessionCost) -> tuple[str, ...]:
    from gdl.domain.money import dollars, hourly
    from gdl.presentation.durations import duration

    lasted = ""
    if one.since is not None:
        lasted = duration(((one.until or clock.now()) - one.since).total_seconds())
        lasted += "" if one.until is not None else ", still running"
    return (
        "" if one.since is None else f"{one.since.astimezone():%Y-%m-%d %H:%M}",
        one.session_id or f"requested by {one.deployment_id}",
        one.provider,
        hourly(one.price_per_hour),
        lasted,
        "unknown" if one.cost is None else dollars(one.cost),
        "" if one.charged is None else dollars(one.charged),
    )
