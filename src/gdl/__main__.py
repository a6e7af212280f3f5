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
    from collections.abc import Iterable, Mapping, Sequence

    from gdl.cli.runtime import Cli, Load
    from gdl.orchestrator.api.ports import OrchestratorApi
    from gdl.settings import Settings


def main() -> None:
    """Run what `sys.argv` asks for and leave with its exit code."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _open_closed_streams()
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        from gdl import version_line

        try:
            print(version_line(), flush=True)  # noqa: T201 - the answer itself
        except OSError as error:
            from gdl.cli.output import Output, OutputClosed

            sys.exit(Output(as_json=False).abandon(OutputClosed(error)))
        return
    # To look for plugins, pydantic would read the metadata of all that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    # None: not there. httpx would import a command line of its own, with rich and a highlighter.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    code = _run(arguments)
    # Everything ends with the process: it need not be looked through once more.
    gc.freeze()
    sys.exit(code)


def _open_closed_streams() -> None:
    """Where we were started with a standard stream closed, there is nothing to read and nobody who
    reads. Its number is taken, lest the journal, say, gets it and what is printed goes there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number, which is this one
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def _run(arguments: list[str]) -> int:
    asked = None if _completing() else asks_for_ui(arguments)
    if asked is not None and (code := _ui_first(asked, arguments)) is not None:
        return code
    # A start makes tens of thousands of objects and drops few of them: looking through them for
    # garbage, at every 700th by default, is a twentieth of the time of a short command.
    gc.set_threshold(100_000)
    from gdl.cli.app import run

    return run(arguments, open_ui=open_ui, check_ui=check_ui, alone=True)


_WITH_VALUE = frozenset({"--backend", "--config", "--host", "--identity"})
_READ_ONLY = "--read-only"


class AsksForUi:
    """A command line that looks as if it asks for the terminal UI: global options, or the demo.

    given: options by name, without what is read as nothing here. demo: whether it is the demo.
    plain: these words say all; else they are to be read as any other command line's are, which
    takes longer and is done behind the first frame.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.given: dict[str, str] = {}
        self.read_only = self.demo = False
        self.plain = True
        rest = iter(arguments)
        for word in rest:
            name, equals, value = word.partition("=")
            if word == "demo":
                self.demo, others = True, list(rest)
                self.plain = not others
                if any(each in ("-h", "--help") for each in others):
                    raise ValueError("asks for help")
            elif name in _WITH_VALUE:
                told = value if equals else next(rest, None)
                self.plain = self.plain and told is not None and not told.startswith("-")
                self.given[name.lstrip("-")] = told or ""
            elif word == _READ_ONLY:
                self.read_only = True
            else:
                raise ValueError("asks for something else")

    def read(self, cli: Cli) -> tuple[Settings, Mapping[str, str]]:
        """The settings in force, and what was given for the backend. Raises UsageError."""
        from pathlib import Path

        from gdl.cli.runtime import backend_options, load_settings

        config = self.given.get("config")
        cli.config = None if config is None else Path(config)
        cli.read_only = self.read_only
        if self.demo:
            cli.backend = "sandbox"
            return load_settings(cli, flags={"sandbox": {"url": ""}}), {}
        cli.backend = self.given.get("backend")
        cli.host, cli.identity = self.given.get("host"), self.given.get("identity")
        return load_settings(cli), backend_options(cli, None)


def asks_for_ui(arguments: Sequence[str]) -> AsksForUi | None:
    """None for a command line that asks for something else."""
    try:
        return AsksForUi(arguments)
    except ValueError:
        return None


def _ui_first(asked: AsksForUi, arguments: Sequence[str]) -> int | None:
    """Show the terminal UI, and read the command line behind its first frame; None where that does
    not lead there after all, or there is no terminal: then it is to be read as any other."""
    from gdl.cli.output import never_fail_to_print, say
    from gdl.cli.runtime import SIMULATED, Cli, has_terminal, open_orchestrator, run_ui
    from gdl.domain.errors import GdlError

    if not has_terminal():
        return None
    never_fail_to_print()
    if asked.demo:
        say(SIMULATED)
    elsewhere = False

    def load() -> tuple[Settings, Mapping[str, str]]:
        nonlocal elsewhere
        if asked.plain:
            return asked.read(cli)
        from gdl.cli.app import NotForTheUi, asked_ui

        try:
            return asked_ui(cli, arguments)()
        except NotForTheUi:
            elsewhere = True
            raise

    async def show(load: Load) -> int:
        try:
            return await open_ui(load)
        except GdlError:
            if not elsewhere:
                raise
            return 0

    cli = Cli(open_orchestrator, show)
    code = run_ui(cli, load)
    return None if elsewhere else code


def _completing() -> bool:
    """Whether a shell asks for completions: it passes the words in the environment."""
    return "_GDL_TUI_COMPLETE" in os.environ


async def open_ui(load: Load) -> int:
    """Show the terminal UI until it is left; its exit code.

    What still runs then is released, also when the terminal itself goes away. Raises what
    `load` and the orchestrator's opening raise.
    """
    import signal
    from contextlib import AsyncExitStack

    from gdl import __version__
    from gdl.cli.exit_codes import CANCELLED
    from gdl.cli.release_on_exit import ReleaseOnExit
    from gdl.cli.signals import handled, ignore, leave_now
    from gdl.tui.boot import BootApp

    stack = AsyncExitStack()

    async def connect(backend: str | None, host: str | None) -> tuple[OrchestratorApi, Settings]:
        import asyncio

        settings, given = await asyncio.to_thread(_prepare, load)
        from gdl.bootstrap import open_orchestrator

        if backend is not None:
            settings = settings.model_copy(update={"backend": backend})
            given = {} if host is None else {"host": host}
        opened = open_orchestrator(settings, options=given)
        async with AsyncExitStack() as made:
            orchestrator = await made.enter_async_context(opened)
            await stack.aclose()
            stack.push_async_exit(made.pop_all())
        return orchestrator, settings

    app = BootApp(connect, clock=clock.now, version=__version__, leave=lambda: leave_now(CANCELLED))
    end: ReleaseOnExit | None = None
    stopped = False

    def stop(number: signal.Signals) -> None:
        nonlocal stopped
        stopped = True
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
            code = end.exit_code(app.return_code or 0)
            if stopped and not app.connected:
                leave_now(code)  # What is still being imported is waited for by nobody.
            return code
    finally:
        ignore()


def check_ui(theme: str, keys: Iterable[str]) -> None:
    """Raises UsageError for a theme (not "") or a name of keys that the terminal UI does not
    have."""
    from gdl.tui.app import GdlApp
    from gdl.tui.keymap_check import check_names

    check_names(GdlApp, theme, keys)


def _prepare(load: Load) -> tuple[Settings, Mapping[str, str]]:
    """Import what is slow to import, beside the first frame, and read the settings."""
    loaded = load()
    import gdl.bootstrap
    import gdl.tui.screens.offers  # noqa: F401

    return loaded


if __name__ == "__main__":
    main()
