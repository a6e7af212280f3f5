"""`gdl-tui costs`: what was spent."""

from __future__ import annotations

from typing import NoReturn

from gdl.cli import exit_codes
from gdl.cli.options import JsonOption, MachineTarget
from gdl.cli.output import say
from gdl.cli.runtime import Cli, Session, execute


def costs(cli: Cli, target: MachineTarget, as_json: JsonOption = False) -> NoReturn:
    """Show what was spent, as the backend counts it."""

    async def body(session: Session) -> int:
        from gdl.domain.money import dollars
        from gdl.presentation.lines import plain
        from gdl.presentation.words import plural

        report = await session.orchestrator.market.costs()
        if as_json:
            session.output.json(report)
            return exit_codes.OK
        rows = [
            (provider, dollars(spent)) for provider, spent in sorted(report.by_provider.items())
        ]
        rows.append(("total", f"{dollars(report.total)} {report.currency}"))
        session.output.table(("PROVIDER", ">COST"), rows)
        session.output.line(
            f"{plural(report.session_count, 'session')}, {report.hours_used:.2f} hours"
        )
        if report.note:
            say(plain(report.note))
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json)
