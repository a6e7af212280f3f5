"""`gdl-tui bundle`: a deployment's traces, packed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.id_arguments import DeploymentArgument
from gdl.cli.options import JsonOption, Target
from gdl.cli.output import say
from gdl.cli.runtime import Cli, Session, execute

_REPORT = (
    "to report a failure that was not explained: check the archive for anything private, "
    "then open an issue with it; or add the excerpt of its log as a case "
    "(tests/data/failures/README.md)"
)


def bundle(
    cli: Cli,
    *,
    ident: DeploymentArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Output file; default: gdl-tui-ID.tar.gz in the current folder.",
        ),
    ] = None,
    target: Target,
    as_json: JsonOption = False,
) -> NoReturn:
    """Pack a deployment's facts, events, logs and settings, with all secrets removed."""

    async def body(session: Session) -> int:
        made = await session.orchestrator.support.bundle(ident, output)
        if as_json:
            session.output.json({"type": "bundle", "path": str(made)})
        else:
            session.output.line(str(made))
            say(_REPORT)
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, rented=True)
