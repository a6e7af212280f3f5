"""The command `gdl-tui`: without a subcommand the terminal UI, with one the command line.

Imports are lazy on purpose: `--version` answers from a bare interpreter, `--help` without the
network and terminal libraries, and the first frame comes before all that works behind it.
"""

from __future__ import annotations

import gc
import os
import sys

from gdl.domain import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gdl.orchestrator.api.ports import OrchestratorApi
    from gdl.settings import Settings


def main() -> None:
    """Run what `sys.argv` asks for and leave with its exit code."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        from gdl import __version__

        print(f"gdl-tui {__version__}")  # noqa: T201 - the answer itself
        return
    # To look for plugins, pydantic would read the metadata of all that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    # None: not there. httpx would import a command line of its own, with rich and a highlighter.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    code = _run(arguments)
    # Everything ends with the process: it need not be looked through once more.
    gc.freeze()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    if not arguments and not _completing():
        from gdl.cli.output import never_fail_to_print
        from gdl.cli.runtime import Cli, open_orchestrator, show_ui

        never_fail_to_print()
        return show_ui(Cli(open_orchestrator, open_ui))
    # A start makes tens of thousands of objects and drops few of them: looking through them for
    # garbage, at every 700th by default, is a twentieth of the time of a short command.
    gc.set_threshold(100_000)
    from gdl.cli.app import run

    return run(arguments, open_ui=open_ui, alone=True)


def _completing() -> bool:
    """Whether a shell asks for completions: it passes the words in the environment."""
    return "_GDL_TUI_COMPLETE" in os.environ


async def open_ui(load: Callable[[], Settings], options: Mapping[str, str]) -> int:
    """Show the terminal UI until it is left; its exit code.

    What still runs then is released, also when the terminal itself goes away. Raises what
    `load` and the orchestrator's opening raise.
    """
    import signal
    from contextlib import AsyncExitStack

    from gdl import __version__
    from gdl.cli.exit_codes import CANCELLED
    from gdl.cli.release_on_exit import ReleaseOnExit
    from gdl.cli.signals import handled, ignore
    from gdl.tui.boot import BootApp

    stack = AsyncExitStack()

    async def connect(backend: str | None, host: str | None) -> tuple[OrchestratorApi, Settings]:
        import asyncio

        settings = await asyncio.to_thread(_prepare, load)
        from gdl.bootstrap import open_orchestrator

        given = options
        if backend is not None:
            settings = settings.model_copy(update={"backend": backend})
            given = {} if host is None else {"host": host}
        opened = open_orchestrator(settings, options=given)
        async with AsyncExitStack() as made:
            orchestrator = await made.enter_async_context(opened)
            await stack.aclose()
            stack.push_async_exit(made.pop_all())
        return orchestrator, settings

    app = BootApp(connect, clock=clock.now, version=__version__)
    end: ReleaseOnExit | None = None

    def stop(number: signal.Signals) -> None:
        if end is not None:
            end.signalled(number)
        # Ctrl-C is for the shell, while one has the terminal.
        elif not (app.handed_over and number is signal.SIGINT):
            app.exit(return_code=CANCELLED)

    # A terminal that goes away may send its signal more than once, also while all is being closed.
    try:
        with handled(stop):
            async with stack:
                await app.run_async()
                end = ReleaseOnExit(app.orchestrator if app.connected else None)
            if app.failure is not None:
                raise app.failure
            return end.exit_code(app.return_code or 0)
    finally:
        ignore()


def _prepare(load: Callable[[], Settings]) -> Settings:
    """Import what is slow to import, beside the first frame, and read the settings."""
    settings = load()
    import gdl.bootstrap
    import gdl.tui.screens.offers  # noqa: F401

    return settings


if __name__ == "__main__":
    main()
