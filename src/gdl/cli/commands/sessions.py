"""`gdl-tui sessions`: what is rented."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from gdl.cli import exit_codes
from gdl.cli.options import JsonOption, MachineTarget
from gdl.cli.output import say, say_away
from gdl.cli.runtime import Cli, Session, execute
from gdl.domain import clock

if TYPE_CHECKING:
    from datetime import datetime

    from gdl.orchestrator.api.views import SessionRow

_HEADINGS = (
    "SESSION", "STATUS", "BILLING", "PROVIDER", "MACHINE", ">PRICE", ">COST", ">ENDS IN", "MODEL",
    "OURS",
)  # fmt: skip
_SPARE = ("OURS", "PROVIDER", "MACHINE", "BILLING", "MODEL", "PRICE")


def sessions(cli: Cli, target: MachineTarget, as_json: JsonOption = False) -> NoReturn:
    """List rented machines, with what they cost so far."""

    async def body(session: Session) -> int:

        from gdl.presentation.lines import plain
        from gdl.presentation.session_end import UNTIL_TERM
        from gdl.presentation.spending import volume_line

        rows = await session.orchestrator.sessions.rows()
        say_away(session.orchestrator.sessions.away)
        if as_json:
            for row in rows:
                session.output.json(session_to_plain(row))
        elif rows:
            now = clock.now()
            several = "," in session.orchestrator.backend_name
            headings = ("MARKET", *_HEADINGS) if several else _HEADINGS
            cells = [_cells(row, now) for row in rows]
            if several:
                cells = [(r.session.backend, *c) for r, c in zip(rows, cells, strict=True)]
            session.output.table(headings, cells, _SPARE)
            for name in dict.fromkeys(row.fleet for row in rows if row.fleet):
                its = [row for row in rows if row.fleet == name]
                names = ", ".join(row.session.id for row in its)
                say(plain(f"{name}: {names}; `gdl-tui scale {name}` shows all of it", 300))
            for row in rows:
                if row.ends_with_term and not row.session.terminal:
                    say(f"{plain(row.session.id)}: {UNTIL_TERM}")
                for number, address in enumerate(row.joined, 1):
                    say(f"{plain(row.session.id)}: rank {number} is {plain(address, 200)}")
                if row.guard:
                    say(f"{plain(row.session.id)}: {plain(row.guard, 200)}")
                if row.idle:
                    ident, why = plain(row.session.id), plain(row.session.error or "it is over")
                    say(f"warning: {ident}: {why}; `gdl-tui destroy {ident}` ends it")
                if row.doubt:
                    say(
                        f"warning: {plain(row.session.id)} may still be billing:"
                        f" {plain(row.doubt, 300)}"
                    )
                if row.public is not None:
                    say(f"warning: {plain(row.session.id)} is public: {plain(row.public)}")
        else:
            say("no sessions")
        if not as_json and session.orchestrator.volumes.keeps:
            for kept in (await session.orchestrator.volumes.list()).rows:
                say(plain(volume_line(kept.volume, kept.used_by), 200))
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, rented=True)


def session_to_plain(row: SessionRow) -> dict[str, Any]:
    """The session's own fields, then what we know of it."""
    from gdl.domain.serialization import to_plain

    return {
        **to_plain(row.session),
        "ours": row.ours,
        "deployment_id": row.deployment_id,
        "model": row.model,
        "endpoint": row.endpoint,
        "public": row.public,
        "cost": row.cost,
        "billing": row.billing,
        "doubt": row.doubt,
        "guard": row.guard,
        "ends_at": to_plain(row.ends_at),
        "fleet": row.fleet,
        "joined": row.joined,
    }


def _cells(row: SessionRow, now: datetime) -> tuple[str, ...]:
    from gdl.domain.money import dollars, hourly
    from gdl.presentation.durations import hours_left
    from gdl.presentation.hardware import machine

    session = row.session
    return (
        session.id,
        row.status,
        row.billing,
        session.provider,
        machine(session),
        hourly(row.price_per_hour),
        dollars(row.cost),
        hours_left(row.ends_at, now) if row.ends_at and not session.terminal else "",
        row.model or "",
        "yes" if row.ours else "no",
    )
