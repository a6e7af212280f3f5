"""Subcommands that explain: diagnose a log, pack a deployment's traces."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.output import Output
from gdl.cli.runtime import Cli, Session, Target, execute, guarded
from gdl.presentation.lines import plain

if TYPE_CHECKING:
    from gdl.diagnosis.rule_engine import Diagnosis

_PIECE = 1 << 20
UNKNOWN = 1
"""The exit code of `diagnose` when the log holds no known cause."""


def diagnose(cli: Cli, file: str, as_json: bool) -> NoReturn:
    """Say what went wrong in a log; exit 0 when its cause is known, else 1."""
    output = Output(as_json)

    def work() -> int:
        found = _read(file)
        if as_json:
            output.json(to_plain(found))
        else:
            for line in _lines(found):
                output.line(line)
        return exit_codes.OK if found.known else UNKNOWN

    raise typer.Exit(guarded(cli, work, output))


def _read(file: str) -> Diagnosis:
    """Raises UsageError when it cannot be read."""
    from gdl.diagnosis.rule_engine import Scanner, explain
    from gdl.domain.errors import UsageError

    scanner = Scanner()
    try:
        stream = sys.stdin.buffer if file == "-" else Path(file).open("rb")  # noqa: SIM115
        with stream:
            _refuse_device(stream)
            while not scanner.done and (data := stream.read(_PIECE)):
                scanner.feed(data)
    except OSError as error:
        raise UsageError(
            f"cannot read {plain(file, 200)}: {error.strerror}",
            "name a log file, or - for the standard input",
        ) from None
    return explain(scanner)


def _refuse_device(stream: IO[bytes]) -> None:
    """Raises OSError for what has no end, such as /dev/zero."""
    mode = os.fstat(stream.fileno()).st_mode
    if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not stream.isatty()):
        if os.fstat(stream.fileno()).st_rdev == Path(os.devnull).stat().st_rdev:
            return
        raise OSError(errno.EINVAL, "It is a device")


def to_plain(found: Diagnosis) -> dict[str, Any]:
    """One JSON object; `known` says whether a cause was found."""
    from gdl.domain.serialization import to_plain as fields

    return {"type": "diagnosis", "known": found.known, **fields(found)}


def _lines(found: Diagnosis) -> list[str]:
    lines = [f"cause: {plain(found.cause, 400)}", f"remedy: {plain(found.remedy, 400)}"]
    if found.action.same_machine:
        lines.append(f"on the same machine: {plain(found.action.words, 200)}")
    lines.append(f"rule: {found.rule} ({found.confidence} confidence)")
    return [*lines, *(f"  > {plain(line, 300)}" for line in found.evidence)]


def bundle(cli: Cli, target: Target, ident: str, path: Path | None, as_json: bool) -> NoReturn:
    """Write the archive and tell where it is."""

    async def body(session: Session) -> int:
        made = await session.orchestrator.support.bundle(ident, path)
        if as_json:
            session.output.json({"type": "bundle", "path": str(made)})
        else:
            session.output.line(str(made))
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json)
