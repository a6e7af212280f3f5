"""`gdl-tui sandbox`: the simulated marketplace as a service by itself."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.options import SandboxOptions, StandInOption, Target
from gdl.cli.output import Output, say
from gdl.cli.runtime import SIMULATED, Cli, guarded, load_settings


def sandbox(
    cli: Cli,
    *,
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="N", min=0, max=65535, help="Port to listen on; 0: any free one."
        ),
    ] = 8080,
    market: StandInOption = None,
    options: SandboxOptions,
) -> NoReturn:
    """Run a simulated cloud-gpu-shopper on 127.0.0.1, or simulated marketplaces, until Ctrl-C ends
    them and their machines."""
    import asyncio

    output = Output(as_json=False)

    async def serve() -> int:
        import shlex

        from gdl.bootstrap import open_markets, open_sandbox
        from gdl.cli.signals import handled

        settings = load_settings(cli, Target("sandbox"), {"sandbox": options.given})
        ended = asyncio.Event()
        with handled(lambda _signal: ended.set()):
            shown = settings.sandbox
            about = f"{SIMULATED} (scenario {shown.scenario}, speed {shown.speed:g})"
            if market:
                async with open_markets(settings, market.split(","), port) as variables:
                    say(about)
                    for name, value in variables.items():
                        output.line(f"export {name}={shlex.quote(value)}")
                    say(f"set these, and use them with: gdl-tui --backend {market}")
                    say("press Ctrl-C to end them and all their machines")
                    await ended.wait()
                return exit_codes.OK
            async with open_sandbox(settings, port) as url:
                say(about)
                output.line(f"GDL_SHOPPER_URL={shlex.quote(url)}")
                say(f"use it with: GDL_SANDBOX__URL={url} gdl-tui --backend sandbox")
                say("press Ctrl-C to end it and all its machines")
                await ended.wait()
        return exit_codes.OK

    raise typer.Exit(guarded(cli, lambda: asyncio.run(serve()), output))
