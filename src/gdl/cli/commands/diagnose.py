"""`gdl-tui diagnose`: what went wrong in a log."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.diagnosis_lines import lines
from gdl.cli.options import JsonOption
from gdl.cli.output import Output, say
from gdl.cli.runtime import Cli, guarded
from gdl.presentation.lines import plain

if TYPE_CHECKING:
    from gdl.diagnosis.rule_engine import Diagnosis, RuleSet

_PIECE = 1 << 20
UNKNOWN = 1
"""The exit code of `diagnose` when the log holds no known cause."""


def diagnose(
    cli: Cli,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A log of a server, pip, uv, docker or ssh, or of several in one file; - "
            "reads stdin.",
            show_default=False,
        ),
    ],
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Say why: which rule and which lines, what else was considered, what the "
            "remedy does.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> NoReturn:
    """Say what went wrong in a log, and what helps.

    The program that wrote the log is recognized automatically; the log may be gzip-compressed,
    UTF-16, or from Docker, Kubernetes or journald. --json prints everything, with or without
    --explain.

    Exit code 0: the cause is known. 1: it is not; the last error in the log is shown.
    """
    output = Output(as_json)

    def work() -> int:
        found = _read(file)
        if as_json:
            output.json(_plain(found))
        else:
            output.lines(lines(found, shutil.get_terminal_size().columns, explain=explain))
        return exit_codes.OK if found.known else UNKNOWN

    raise typer.Exit(guarded(cli, work, output))


def _read(file: str) -> Diagnosis:
    """Raises UsageError when it cannot be read."""
    from gdl.diagnosis.rule_engine import Scanner, explain
    from gdl.domain.errors import UsageError

    scanner = Scanner(_rules())
    try:
        stream = sys.stdin.buffer if file == "-" else Path(file).open("rb")  # noqa: SIM115
        with stream:
            _refuse_device(stream)
            while data := stream.read(_PIECE):
                scanner.feed(data)
    except OSError as error:
        raise UsageError(
            f"cannot read {plain(file, 200)}: {error.strerror}",
            "name a log file, or - for stdin",
        ) from None
    return explain(scanner)


def _rules() -> RuleSet:
    """Those of every engine there is: nobody says whose log it is."""
    from gdl.diagnosis.rule_engine import rule_set
    from gdl.domain.errors import UsageError
    from gdl.engines import registry

    texts: list[tuple[str, str]] = []
    for name in registry.names():
        try:
            text = (name, registry.get(name).rules())
            rule_set(text)
        except (UsageError, ValueError) as error:
            say(f"the rules of engine {plain(name, 60)} are skipped: {plain(error, 300)}")
        else:
            texts.append(text)
    return rule_set(*texts)


def _refuse_device(stream: IO[bytes]) -> None:
    """Raises OSError for what has no end, such as /dev/zero."""
    mode = os.fstat(stream.fileno()).st_mode
    if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not stream.isatty()):
        if os.fstat(stream.fileno()).st_rdev == Path(os.devnull).stat().st_rdev:
            return
        raise OSError(errno.EINVAL, "It is a device")


def _plain(found: Diagnosis) -> dict[str, object]:
    """One JSON object; `known` says whether a cause was found."""
    from gdl.domain.serialization import to_plain

    return {"type": "diagnosis", "known": found.known, **to_plain(found)}
