"""`gdl-tui sandbox`: the simulated marketplace as a service by itself."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.options import SandboxOptions, Target
from gdl.cli.output import Output, say
from gdl.cli.runtime import SIMULATED, Cli, guarded, load_settings


def sandbox(
    cli: Cli,
    *,
    port: Annotated[
        int,
        typer.Option("--port", metavar="N", min=0, max=65535, help="0 takes a free one."),
    ] = 8080,
    options: SandboxOptions,
) -> NoReturn:
    """Run a simulated cloud-gpu-shopper on 127.0.0.1, until Ctrl-C ends it and its machines."""
    import asyncio

    output = Output(as_json=False)

    async def serve() -> int:
        import shlex

        from gdl.bootstrap import open_sandbox
        from gdl.cli.signals import handled

        settings = load_settings(cli, Target("sandbox"), {"sandbox": options.given})
        ended = asyncio.Event()
        with handled(lambda _signal: ended.set()):
            async with open_sandbox(settings, port) as url:
                shown = settings.sandbox
                say(f"{SIMULATED} (scenario {shown.scenario}, speed {shown.speed:g})")
                output.line(f"GDL_SHOPPER_URL={shlex.quote(url)}")
                say(f"use it with: GDL_SANDBOX__URL={url} gdl-tui --backend sandbox")
                say("press Ctrl-C to end it, and with it all its machines")
                await ended.wait()
        return exit_codes.OK

    raise typer.Exit(guarded(cli, lambda: asyncio.run(serve()), output))
