"""Subcommands on simulated machines: the terminal UI on them, and their service by itself."""

from __future__ import annotations

import asyncio
import shlex
from typing import Any, NoReturn

import typer

from gdl.bootstrap import open_sandbox
from gdl.cli import exit_codes
from gdl.cli.output import Output, say
from gdl.cli.runtime import SIMULATED, Cli, Target, guarded, load_settings, show_ui
from gdl.cli.signals import handled


def chosen(
    scenario: str | None, speed: float | None, seed: int | None, offers: int | None
) -> dict[str, Any]:
    """What was given of the `sandbox` settings; the others are left to the other sources."""
    given = {"scenario": scenario, "speed": speed, "seed": seed, "offers": offers}
    return {name: value for name, value in given.items() if value is not None}


def demo(cli: Cli, wanted: dict[str, Any]) -> NoReturn:
    """The terminal UI on a simulated market of its own, whatever backend is set."""
    cli.host = cli.identity = None
    say(SIMULATED)
    flags = {"sandbox": {"url": "", **wanted}}
    raise typer.Exit(show_ui(cli, Target("sandbox"), flags))


def serve(cli: Cli, port: int, wanted: dict[str, Any]) -> NoReturn:
    """The simulated service by itself; its address goes to stdout."""
    output = Output(as_json=False)

    async def main() -> int:
        settings = load_settings(cli, Target("sandbox"), {"sandbox": wanted})
        told = asyncio.Event()
        with handled(lambda _signal: told.set()):
            async with open_sandbox(settings, port) as url:
                shown = settings.sandbox
                say(f"{SIMULATED} (scenario {shown.scenario}, speed {shown.speed:g})")
                output.line(f"GDL_SHOPPER_URL={shlex.quote(url)}")
                say(f"use it with: GDL_SANDBOX__URL={url} gdl-tui --backend sandbox")
                say("press Ctrl-C to end it, and with it all its machines")
                await told.wait()
        return exit_codes.OK

    raise typer.Exit(guarded(cli, lambda: asyncio.run(main()), output))
