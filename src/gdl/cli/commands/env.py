"""`gdl-tui env`: an open tunnel for other programs."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.options import JsonOption, OptionalSessionArgument, Target
from gdl.cli.runtime import Cli, Session, execute


def env(
    cli: Cli,
    *,
    ident: OptionalSessionArgument = None,
    form: Annotated[
        str, typer.Option("--format", metavar="F", help="sh, curl, python or litellm.")
    ] = "sh",
    target: Target,
    as_json: JsonOption = False,
) -> NoReturn:
    """Print what a program needs to use an open tunnel: eval "$(gdl-tui env ID)"."""

    async def body(session: Session) -> int:
        from gdl.cli.tunnels import chosen
        from gdl.domain.client_snippets import FORMATS, Call
        from gdl.domain.errors import UsageError

        if form not in FORMATS:
            raise UsageError(f"unknown format {form}", f"one of {', '.join(FORMATS)}")
        row = chosen(await session.orchestrator.endpoints.tunnels(), ident)
        if as_json:
            session.output.json(row)
        else:
            call = Call(row.endpoint, row.model, row.api_key_file)
            session.output.line(call.lines(form).rstrip())
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json)
