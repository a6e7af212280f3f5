"""The command `gdl-tui`: without a subcommand the terminal UI, with one the command line.

Imports are lazy on purpose: `--version` answers from a bare interpreter, `--help` without the
network and terminal libraries, and the first frame comes before all that works behind it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gdl.orchestrator.api import OrchestratorApi
    from gdl.settings import Settings


def main() -> None:
    """Run what `sys.argv` asks for and leave with its exit code."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        from gdl import __version__

        print(f"gdl-tui {__version__}")  # noqa: T201 - the answer itself
        return
    if not arguments:
        from gdl.cli.output import never_fail_to_print
        from gdl.cli.runtime import Cli, open_orchestrator, show_ui

        never_fail_to_print()
        sys.exit(show_ui(Cli(open_orchestrator, open_ui)))
    from gdl.cli.app import run

    sys.exit(run(arguments, open_ui=open_ui))


async def open_ui(load: Callable[[], Settings], host: str | None, identity: str | None) -> int:
    """Show the terminal UI until it is left; its exit code.

    What still runs then is given back, also when the terminal itself goes away. Raises what
    `load` and the orchestrator's opening raise.
    """
    import signal
    from contextlib import AsyncExitStack
    from datetime import UTC, datetime

    from gdl import __version__
    from gdl.cli.exit_codes import CANCELLED
    from gdl.cli.output import say
    from gdl.cli.signals import handled
    from gdl.tui.starting import StartingApp

    async with AsyncExitStack() as stack:

        async def connect(
            backend: str | None, other_host: str | None
        ) -> tuple[OrchestratorApi, Settings]:
            import asyncio

            settings = await asyncio.to_thread(_prepare, load)
            from gdl.bootstrap import open_orchestrator

            where, key = host, identity
            if backend is not None:
                settings, where, key = (
                    settings.model_copy(update={"backend": backend}), other_host, None
                )  # fmt: skip
            opened = open_orchestrator(settings, host=where, identity=key)
            async with AsyncExitStack() as made:
                orchestrator = await made.enter_async_context(opened)
                await stack.aclose()
                stack.push_async_exit(made.pop_all())
            return orchestrator, settings

        app = StartingApp(connect, clock=lambda: datetime.now(UTC), version=__version__)

        def stop(number: signal.Signals) -> None:
            # Ctrl-C is for the shell, while one has the terminal.
            if not (app.handed_over and number is signal.SIGINT):
                app.exit(return_code=CANCELLED)

        with handled(stop):
            await app.run_async()
        if app.failure is not None:
            raise app.failure
        if app.connected and app.orchestrator.active():
            say("giving back what is rented ...")
        return app.return_code or 0


def _prepare(load: Callable[[], Settings]) -> Settings:
    """Import what is slow to import, beside the first frame, and read the settings."""
    settings = load()
    import gdl.bootstrap
    import gdl.tui.screens.offers  # noqa: F401

    return settings


if __name__ == "__main__":
    main()
