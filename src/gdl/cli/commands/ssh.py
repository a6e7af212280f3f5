"""`gdl-tui ssh`: a shell on a machine, by one's own ssh program."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.id_arguments import SessionArgument
from gdl.cli.option_groups import may_be_empty
from gdl.cli.options import JsonOption, MachineTarget
from gdl.cli.output import say
from gdl.cli.rank_option import RankOption
from gdl.cli.runtime import Cli, Session, execute
from gdl.cli.signals import STOPPING

_OF_PYTHON = tuple(
    getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)
)
"""What the interpreter ignores at its start, and other programs expect not to be."""


def ssh(
    cli: Cli,
    *,
    ident: SessionArgument,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND]...",
            help="The command to run there instead of a shell.",
            callback=may_be_empty,
        ),
    ] = None,
    shown: Annotated[
        bool, typer.Option("--print", help="Print the ssh command instead of running it.")
    ] = False,
    rank: RankOption = 0,
    target: MachineTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Open a shell on a machine, or run a command there, with your own ssh.

    ssh gets the machine's key, address and pinned host key. The words of COMMAND are joined by
    spaces and passed to the machine's shell; the exit code is ssh's own. --json only prints the
    command.
    """
    before = {number: signal.getsignal(number) for number in STOPPING}
    found: list[str] = []

    async def body(session: Session) -> int:
        enter = not (shown or as_json)
        made = await session.orchestrator.sessions.shell(ident, enter=enter, rank=rank)
        words = _with_command(made.words, command or ())
        if as_json:
            session.output.json({"type": "ssh", "argv": words})
        elif shown:
            session.output.line(shlex.join(words))
        if made.within and not enter:
            say("note: this works only while a gdl-tui has this session open")
        elif made.within:
            return await _run(words)
        elif enter:
            found.extend(words)
        return exit_codes.OK

    try:
        execute(cli, body, target=target, as_json=as_json, rented=True, changes="entered")
    except typer.Exit as end:
        if end.exit_code or not found:
            raise
    _become(found, before)


def _with_command(words: Sequence[str], command: Sequence[str]) -> list[str]:
    """Without a terminal there, where a command's output goes elsewhere."""
    program, terminal, *rest = words
    asks = not command or (sys.stdin.isatty() and sys.stdout.isatty())
    return [program, *([terminal] if asks else []), *rest, *command]


async def _run(words: Sequence[str]) -> int:
    """Its exit code, once it has ended; this program stays, as the machine's SSH server is in it.
    A Ctrl-C is left to ssh, which the terminal tells as well."""
    import asyncio

    from gdl.cli.signals import handled

    process: asyncio.subprocess.Process | None = None

    def passed_on(number: signal.Signals) -> None:
        if number is not signal.SIGINT and process is not None and process.returncode is None:
            process.send_signal(number)

    with handled(passed_on):
        process = await asyncio.create_subprocess_exec(*words)
        status = await process.wait()
    return status if status >= 0 else 128 - status


def _become(words: Sequence[str], before: Mapping[signal.Signals, Any]) -> NoReturn:
    """Replace this process, with the signals as they were at its start."""
    for number, handler in before.items():
        ignored = handler is signal.SIG_IGN
        signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
    for number in _OF_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execv(words[0], list(words))  # noqa: S606 - the words are ours, and no shell reads them
