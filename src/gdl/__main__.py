"""The command `gdl-tui`: without a subcommand the terminal UI, with one the command line.

Imports are lazy on purpose: `--version` answers from a bare interpreter, `--help` without the
network and terminal libraries.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gdl.settings import Settings


def main() -> None:
    """Run what `sys.argv` asks for and leave with its exit code."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        from gdl import __version__

        print(f"gdl-tui {__version__}")  # noqa: T201 - the answer itself
        return
    from gdl.cli.app import run

    sys.exit(run(arguments, open_ui=open_ui))


async def open_ui(settings: Settings, host: str | None, identity: str | None) -> int:
    """Show the terminal UI until it is left; its exit code.

    What still runs then is given back, also when the terminal itself goes away.
    """
    from datetime import UTC, datetime

    from gdl import __version__
    from gdl.bootstrap import open_orchestrator
    from gdl.cli.exit_codes import CANCELLED
    from gdl.cli.output import say
    from gdl.cli.signals import handled
    from gdl.tui.app import GdlApp

    async with open_orchestrator(settings, host=host, identity=identity) as orchestrator:
        app = GdlApp(orchestrator, settings, clock=lambda: datetime.now(UTC), version=__version__)
        with handled(lambda _signal: app.exit(return_code=CANCELLED)):
            await app.run_async()
        if orchestrator.active():
            say("giving back what is rented ...")
        return app.return_code or 0


if __name__ == "__main__":
    main()
