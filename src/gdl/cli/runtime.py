"""What every subcommand runs in: settings, orchestrator, signals, errors, exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from gdl.cli import exit_codes
from gdl.cli.crash_log import written
from gdl.cli.output import Output, OutputClosed, say
from gdl.domain.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from gdl.cli.options import Target
    from gdl.domain.errors import GdlError
    from gdl.orchestrator.api.ports import OrchestratorApi
    from gdl.settings import Settings

Opener = Callable[..., AbstractAsyncContextManager["OrchestratorApi"]]
"""`opener(settings, options=...)`: an orchestrator that is closed on leaving."""
Load = Callable[[], tuple["Settings", Mapping[str, str]]]
"""Reads the settings in force, and what was given for the backend itself for this run alone."""
Ui = Callable[[Load], Awaitable[int]]
"""`ui(load)`: shows the terminal UI; the exit code."""
CheckUi = Callable[[str, Iterable[str]], None]
"""`check_ui(theme, keys)`: raises UsageError for a theme (not "") or a name of keys that the
terminal UI does not have."""


def open_orchestrator(
    settings: Settings, *, options: Mapping[str, str]
) -> AbstractAsyncContextManager[OrchestratorApi]:
    """The real orchestrator, imported when it is needed."""
    from gdl import bootstrap

    return bootstrap.open_orchestrator(settings, options=options)


@dataclass(slots=True)
class Cli:
    """The global options, and the ways out of this layer. One per run.

    data_dir: where crash logs go; the settings' folder once they are read. alone: this run is all
    that its process does. asks: takes what the UI, which is there already, is to be started with.
    """

    opener: Opener
    open_ui: Ui | None = None
    check_ui: CheckUi | None = None
    backend: str | None = None
    config: Path | None = None
    read_only: bool = False
    host: str | None = None
    identity: str | None = None
    plain: bool = False
    data_dir: Path | None = None
    alone: bool = False
    asks: Callable[[Load], None] | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """What the body of a subcommand works with."""

    orchestrator: OrchestratorApi
    settings: Settings
    output: Output


Body = Callable[[Session], Awaitable[int]]

SIMULATED = "sandbox: simulated machines, nothing is rented"
"""Said once by whatever works on the sandbox."""


def backend_options(cli: Cli, target: Target | None) -> dict[str, str]:
    """What was given for the backend itself, by the names that backends know."""
    given = {"host": cli.host, "identity": cli.identity}
    if target is not None:
        given |= {
            "host": cli.host if target.host is None else target.host,
            "identity": cli.identity if target.identity is None else target.identity,
            "scenario": target.scenario,
        }
    return {name: value for name, value in given.items() if value is not None}


def load_settings(
    cli: Cli,
    target: Target | None = None,
    flags: Mapping[str, Any] | None = None,
    *,
    market: bool = True,
) -> Settings:
    """The settings in force for one subcommand. market: it asks the backend, which must be there.
    Raises UsageError."""
    from gdl import settings as settings_module
    from gdl.domain.errors import UsageError

    backend = cli.backend if target is None or target.backend is None else target.backend
    options = backend_options(cli, target)
    if not market:
        settings = settings_module.load(cli.config, backend=backend, **(flags or {}))
        cli.data_dir = settings.data_dir
        return settings
    from gdl.backends import registry

    # An empty one is a mistake to be told, not a wish for another backend.
    if backend == "":
        registry.options_of(backend)
    if "host" in options:
        taking = registry.taking("host")
        if backend is not None and "host" not in registry.options_of(backend):
            raise UsageError(
                f"--host names a machine of the {taking} backend, not of {backend}",
                f"use --backend {taking}",
            )
        backend = backend or taking
    settings = settings_module.load(
        cli.config, backend=backend, read_only=cli.read_only or None, **(flags or {})
    )
    if "backend" not in settings.model_fields_set and (at_hand := registry.at_hand(settings)):
        settings = settings.model_copy(update={"backend": ",".join(at_hand)})
    known = registry.options_of(settings.backend)
    if "scenario" in options and "scenario" not in known:
        raise UsageError(
            f"--scenario is for simulated machines, not for the {settings.backend} backend",
            f"use --backend {registry.taking('scenario')}",
        )
    cli.data_dir = settings.data_dir
    return settings


def execute(
    cli: Cli,
    body: Body,
    *,
    target: Target,
    as_json: bool = False,
    changes: str = "",
    flags: Mapping[str, Any] | None = None,
    on_error: Callable[[GdlError, Output], None] | None = None,
    fast: bool = False,
    rented: bool = False,
) -> NoReturn:
    """Run `body` with an open orchestrator, report what goes wrong, leave with the exit code.

    changes: the verb that read-only forbids ("" for commands that only look). on_error: how an
    expected failure is put on stdout with `--json`; default: one object of type "error". fast: it
    carries or measures many bytes. rented: it is about machines that are rented, so that the
    backends where some are belong to it, unless some are named for this run.
    """
    import asyncio

    import typer

    from gdl.domain.errors import UsageError

    output = Output(as_json)

    async def main() -> int:
        settings = load_settings(cli, target, flags)
        if rented and not (target.backend or cli.backend or "host" in backend_options(cli, target)):
            from gdl import bootstrap

            settings = await bootstrap.with_rented(settings)
        _check_identity(settings, backend_options(cli, target))
        if changes and settings.read_only:
            raise UsageError(f"read-only: nothing is {changes}", "omit --read-only")
        return await _interruptible(cli, target, settings, output, body)

    def work() -> int:
        with output.patient():
            if fast:
                from gdl.cli.event_loop import run_fast

                return run_fast(main())
            return asyncio.run(main())

    raise typer.Exit(guarded(cli, work, output, on_error))


def _check_identity(settings: Settings, options: Mapping[str, str]) -> None:
    """Raises UsageError for a key file that nothing would read."""
    from gdl.backends import registry
    from gdl.domain.errors import UsageError

    if "identity" in options and "identity" not in registry.options_of(settings.backend):
        raise UsageError(
            f"--identity is for machines of your own, not for the {settings.backend} backend",
            "name such a machine with --host, or omit --identity",
        )


async def _interruptible(
    cli: Cli, target: Target, settings: Settings, output: Output, body: Body
) -> int:
    """`body`, with signals turned into a cancellation, so that everything is closed in order."""
    import asyncio

    from gdl.cli import signals
    from gdl.domain.errors import Cancelled

    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("not in a task")
    code: int | None = None
    try:
        with signals.handled(lambda _signal: task.cancel()):
            async with cli.opener(settings, options=backend_options(cli, target)) as orchestrator:
                if orchestrator.simulated and not output.as_json:
                    say(SIMULATED)
                code = await body(Session(orchestrator, settings, output))
    except asyncio.CancelledError as cancelled:
        task.uncancel()
        # A signal while everything is being closed must not hide why it is being closed.
        if (earlier := _behind(cancelled)) is not None:
            raise earlier from None
        if code is None:
            raise Cancelled("interrupted", "run it again when you are ready") from None
    finally:
        if cli.alone:
            signals.ignore()
    return code


def _behind(error: BaseException) -> GdlError | None:
    """The expected failure that was on its way when `error` came in between."""
    from gdl.domain.errors import GdlError

    context = error.__context__
    while context is not None and not isinstance(context, GdlError):
        context = context.__context__
    return context


def show_ui(cli: Cli, target: Target | None = None, flags: Mapping[str, Any] | None = None) -> int:
    """Show the terminal UI until it is left; the exit code."""

    def load() -> tuple[Settings, Mapping[str, str]]:
        return load_settings(cli, target, flags), backend_options(cli, target)

    if cli.asks is not None:
        cli.asks(load)
        return exit_codes.OK
    return run_ui(cli, load)


def run_ui(cli: Cli, load: Load) -> int:
    """The same, with settings that are read once the first frame is drawn."""
    import asyncio

    from gdl.domain.errors import UsageError

    def work() -> int:
        if cli.open_ui is None or not has_terminal():
            raise UsageError("the terminal UI needs a terminal", "gdl-tui --plain needs none")

        async def show(ui: Ui) -> int:
            return await ui(load)

        return asyncio.run(show(cli.open_ui))

    return guarded(cli, work, Output(as_json=False))


def has_terminal() -> bool:
    """Whether the terminal UI can be seen. It is drawn on stderr; textual-serve runs this program
    with a driver of its own."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return "TEXTUAL_DRIVER" in os.environ or all(each.isatty() for each in streams)


def guarded(
    cli: Cli,
    work: Callable[[], int],
    output: Output,
    on_error: Callable[[GdlError, Output], None] | None = None,
) -> int:
    """The exit code of `work`, or of the way it failed. Nothing but SystemExit passes."""
    from gdl.domain.errors import Cancelled, GdlError

    try:
        return work()
    except GdlError as error:
        return report(error, output, on_error)
    except KeyboardInterrupt:
        return report(Cancelled("interrupted", "run it again when you are ready"), output)
    except OutputClosed as closed:
        return output.abandon(closed)
    except Exception as error:
        code = written(error, cli.data_dir)
        if output.as_json:
            with contextlib.suppress(OutputClosed):
                message = f"{type(error).__name__}: {error}"
                output.error("internal", message, "see the crash log that stderr names")
        return code


def report(
    error: GdlError,
    output: Output,
    on_error: Callable[[GdlError, Output], None] | None = None,
) -> int:
    """Tell an expected failure; the exit code that stands for it."""
    complain(error.message, error.hint)
    code = exit_codes.of_error(error)
    if not output.as_json:
        return code
    try:
        if on_error is not None:
            on_error(error, output)
        else:
            output.error(error.kind, error.message, error.hint)
    except OutputClosed as closed:
        output.abandon(closed)
    return code


def complain(message: str, hint: str) -> None:
    """The two lines on stderr that every expected failure ends with."""
    from gdl.presentation.lines import plain

    say(f"error: {plain(message)}")
    say(f"hint: {plain(hint) or 'see `gdl-tui doctor`'}")


def at_terminal() -> bool:
    """Whether somebody can be asked: stdin and stderr are both a terminal."""
    return bool(sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty())
