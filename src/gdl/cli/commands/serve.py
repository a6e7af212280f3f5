"""`gdl-tui serve`: the terminal UI in a browser."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from gdl.cli.runtime import Cli


def serve(
    cli: Cli,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=1, max=65535, help="The port to listen on.")
    ] = 8081,
    address: Annotated[
        str,
        typer.Option("--address", metavar="A", help="The address to listen on."),
    ] = "127.0.0.1",
) -> NoReturn:
    """Show the terminal UI in a browser, until Ctrl-C. Needs the extra `serve`."""
    from gdl.cli import web_server

    web_server.serve(cli, port, address)
