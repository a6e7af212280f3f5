"""`gdl-tui demo`: the terminal UI on simulated machines."""

from __future__ import annotations

from typing import NoReturn

import typer

from gdl.cli.options import SandboxOptions, StandInOption, Target
from gdl.cli.output import say
from gdl.cli.runtime import SIMULATED, Cli, show_ui


def demo(cli: Cli, *, market: StandInOption = None, sandbox: SandboxOptions) -> NoReturn:
    """Open the terminal UI on simulated machines: nothing is rented."""
    # A market of its own, whatever backend is set.
    cli.host = cli.identity = None
    if not cli.plain:  # which says it itself
        say(SIMULATED)
    backend = "sandbox"
    if market:
        backend = ",".join(f"sandbox-{name}" for name in market.split(","))
    target, flags = Target(backend), {"sandbox": {"url": "", **sandbox.given}}
    if cli.plain:
        from gdl.cli.plain.start import run_plain

        run_plain(cli, target, flags)
    raise typer.Exit(show_ui(cli, target, flags))
