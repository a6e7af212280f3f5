"""`gdl-tui export`: hand a deployment over to another tool, or keep it as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.completions import deployment_ids
from gdl.cli.id_arguments import id_argument
from gdl.cli.options import JsonOption, Target
from gdl.cli.runtime import Cli, Session, at_terminal, execute
from gdl.whole_file import write_whole


def export(
    cli: Cli,
    *,
    ident: Annotated[
        str, id_argument("Deployment, fleet or session id, or its beginning.", deployment_ids)
    ],
    to: Annotated[
        Literal["toml", "dstack", "skypilot", "compose", "script"],
        typer.Option(
            "--to",
            help="toml: a file for `gdl-tui deploy -f`; the others: for dstack, SkyPilot, "
            "Docker Compose, or as a shell script.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write to this file instead of stdout."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    target: Target,
    as_json: JsonOption = False,
) -> NoReturn:
    """Write a deployment as a file for another tool: engine, release, flags, model, machine, price.

    The file describes what runs, according to the journal. Secrets appear only as the names of
    their variables.
    """

    async def body(session: Session) -> int:
        text = await session.orchestrator.support.export(ident, to)
        if output is not None:
            await _write(output, text, force=force, ask=at_terminal() and not as_json)
        if as_json:
            path = None if output is None else str(output)
            session.output.json({"type": "export", "to": to, "path": path, "text": text})
        elif output is None:
            session.output.lines(text.splitlines())
        else:
            session.output.line(str(output))
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, rented=True)


async def _write(path: Path, text: str, *, force: bool, ask: bool) -> None:
    """A new file, or with force or consent in place of the one there: whole or not at all. Raises
    UsageError."""
    import asyncio

    from gdl.cli.output import say
    from gdl.cli.prompt import yes
    from gdl.domain.errors import UsageError
    from gdl.presentation.lines import plain

    if await asyncio.to_thread(path.is_dir):
        raise UsageError(f"{path} is a folder", "name a file with -o")
    if not force and await asyncio.to_thread(path.exists):
        refused = UsageError(
            f"{path} already exists", "--force overwrites it, -o names another file"
        )
        if not ask:
            raise refused
        say(f"{plain(str(path))} already exists")
        if not await yes("replace it?"):
            raise refused
    try:
        await asyncio.to_thread(_put, path, text)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}", "name another file with -o"
        ) from None


def _put(path: Path, text: str) -> None:
    import os

    if path.exists() and not path.is_file():
        # Such as /dev/stdout: it takes what is written, and stays what it is.
        path.write_text(text, "utf-8")
        return
    mask = os.umask(0)
    os.umask(mask)
    write_whole(path, text, mode=(0o777 if text.startswith("#!") else 0o666) & ~mask)
