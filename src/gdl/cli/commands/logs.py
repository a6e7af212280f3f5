"""`gdl-tui logs`: what a server has written."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.id_arguments import DeploymentArgument
from gdl.cli.options import JsonOption, MachineTarget
from gdl.cli.output import say
from gdl.cli.rank_option import RankOption
from gdl.cli.runtime import Cli, Session, execute
from gdl.presentation.lines import plain

if TYPE_CHECKING:
    from gdl.cli.output import Output
    from gdl.orchestrator.api.views import LogPart


def logs(
    cli: Cli,
    *,
    ident: DeploymentArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing new lines, until Ctrl-C.")
    ] = False,
    last: Annotated[
        int | None,
        typer.Option(
            "--lines", "-n", metavar="N", min=0, help="Only the last N lines.", show_default=False
        ),
    ] = None,
    rank: RankOption = 0,
    target: MachineTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Print the log of a machine's server, or the saved copy if the machine is gone.

    For an attempt that never started a server, the log of its install.
    """

    async def body(session: Session) -> int:
        import asyncio

        from gdl.cli.signals import uncancel

        reads, output = session.orchestrator.logs, session.output
        parts = reads.read(
            ident, last=last, follow=follow, tell=lambda text: say(plain(text)), rank=rank
        )
        try:
            await _told(parts, output)
        except asyncio.CancelledError:
            if not follow:
                raise
            uncancel()  # the usual end of it
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, rented=True)


async def _told(parts: AsyncGenerator[LogPart], output: Output) -> None:
    first = True
    async with aclosing(parts):
        async for part in parts:
            if output.as_json:
                output.json({"type": "log", "source": part.source, "path": part.path,
                             "lines": part.lines, "note": part.note})  # fmt: skip
                continue
            if first:
                where = "on the machine" if part.source == "machine" else "kept here"
                say(f"{where}: {plain(part.path, 300)}")
            first = False
            if part.note:
                say(plain(part.note, 300))
            output.lines(part.lines)
