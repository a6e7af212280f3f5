"""`gdl-tui env`: an open tunnel for other programs."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.id_arguments import OptionalSessionArgument
from gdl.cli.options import JsonOption, Target
from gdl.cli.output import say
from gdl.cli.runtime import Cli, Session, execute
from gdl.presentation.lines import plain


def env(
    cli: Cli,
    *,
    ident: OptionalSessionArgument = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="F",
            help="sh, curl, python, litellm; claude, codex, opencode, cline, litellm-proxy:"
            " settings for that client.",
        ),
    ] = "sh",
    target: Target,
    as_json: JsonOption = False,
) -> NoReturn:
    """Print what a program needs to use an open tunnel: eval "$(gdl-tui env ID)"."""

    async def body(session: Session) -> int:
        from gdl.cli.tunnels import chosen
        from gdl.domain.agent_settings import CLIENTS
        from gdl.domain.client_snippets import FORMATS, Call
        from gdl.domain.errors import UsageError

        known = (*FORMATS, *CLIENTS)
        if form not in known:
            raise UsageError(f"unknown format {form}", f"one of {', '.join(known)}")
        endpoints = session.orchestrator.endpoints
        row = chosen(await endpoints.tunnels(), ident)
        call = Call(row.endpoint, row.model, row.api_key_file)
        if as_json:
            session.output.json(row)
        elif form in FORMATS:
            session.output.line(call.lines(form).rstrip())
        else:
            client = CLIENTS[form]
            served = await endpoints.served(row, client.path)
            session.output.line(client.settings(call, served).rstrip())
            for warning in client.warnings(served):
                say(f"warning: {plain(warning)}")
            say(f"to use it: {plain(client.use(call))}")
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, rented=True)
