"""`gdl-tui models`: the models known by alias."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from gdl.cli import exit_codes
from gdl.cli.options import EngineOption, JsonOption, Target, engine_flags
from gdl.cli.output import say
from gdl.cli.runtime import Cli, Session, execute

if TYPE_CHECKING:
    from gdl.orchestrator.api.views import ModelRow


def models(cli: Cli, engine: EngineOption = None, as_json: JsonOption = False) -> NoReturn:
    """List the models known by alias, and what they need."""

    async def body(session: Session) -> int:

        rows = session.orchestrator.market.models()
        if as_json:
            for row in rows:
                session.output.json(row)
            return exit_codes.OK
        headings = ("ALIAS", ">PARAMETERS", ">VRAM", ">DISK", "TOKEN", "MODEL")
        session.output.table(headings, [_cells(row) for row in rows])
        say("any other hub id (owner/name) or path on the machine is taken as well")
        return exit_codes.OK

    execute(cli, body, target=Target(), as_json=as_json, flags=engine_flags(engine))


def _cells(row: ModelRow) -> tuple[str, ...]:
    return (
        row.alias,
        "" if row.parameters_b is None else f"{row.parameters_b:.2f} B",
        "" if row.vram_gb is None else f"{row.vram_gb:.1f} GB",
        "" if row.disk_gb is None else f"{row.disk_gb} GB",
        "needed" if row.gated else "",
        row.location,
    )
