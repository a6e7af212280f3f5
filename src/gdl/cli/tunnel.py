"""Subcommands that hand the endpoint over: tunnel, env."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NoReturn

from gdl.cli import exit_codes
from gdl.cli.output import say
from gdl.cli.render import table
from gdl.cli.runtime import Cli, Session, Target, execute
from gdl.domain.client_snippets import FORMATS, Call
from gdl.domain.errors import GdlError, SshError, UsageError
from gdl.domain.id_matching import matching
from gdl.domain.serialization import to_plain
from gdl.orchestrator.api.views import TunnelRow
from gdl.presentation.durations import clock_time
from gdl.presentation.lines import plain

_OPENS_S = 60.0


def tunnel(
    cli: Cli,
    target: Target,
    ident: str | None,
    port: int | None,
    *,
    stop: bool,
    foreground: bool,
    as_json: bool,
) -> NoReturn:
    """List the tunnels, end one, hold one here, or start one in the background."""

    async def body(session: Session) -> int:
        rows = await session.orchestrator.endpoints.tunnels()
        if ident is None:
            if stop:
                raise UsageError("which tunnel is to end?", "name its session")
            _show(session, rows)
        elif stop:
            row = chosen(rows, ident)
            await session.orchestrator.endpoints.stop_tunnel(row)
            say(f"the tunnel to {plain(row.session_id)} is closed; the machine goes on")
        elif foreground:
            return await _hold(session, ident, port)
        else:
            row = find(rows, ident) or await _start(cli, target, session, ident, port)
            _show(session, [row])
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, fast=foreground)


def _show(session: Session, rows: Sequence[TunnelRow]) -> None:
    if session.output.as_json:
        for row in rows:
            session.output.json(to_plain(row))
    elif rows:
        cells = [(r.session_id, r.model, r.endpoint, str(r.pid), _age(r)) for r in rows]
        for line in table(("SESSION", "MODEL", "ENDPOINT", ">PID", ">OPEN FOR"), cells):
            session.output.line(line)
    else:
        say("no tunnels")


def _age(row: TunnelRow) -> str:
    return clock_time(max(time.time() - row.since.timestamp(), 0.0))


async def _hold(session: Session, ident: str, port: int | None) -> int:
    def opened(row: TunnelRow) -> None:
        _show(session, [row])

    why = await session.orchestrator.endpoints.hold_tunnel(ident, port, _say_state, opened)
    say(f"the tunnel is closed: {plain(why)}")
    return exit_codes.OK


def _say_state(state: str) -> None:
    say(f"{time.strftime('%H:%M:%S')} {plain(state)}")


async def _start(
    cli: Cli, target: Target, session: Session, ident: str, port: int | None
) -> TunnelRow:
    """A process of its own that holds the tunnel; returns once it is open."""
    log = session.settings.logs_dir / f"tunnel-{Path(ident).name[:80]}.log"
    file = await asyncio.to_thread(_open_log, log)
    with file:
        # Nothing secret is among the words: keys are files.
        child = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            _command(cli, target, ident, port),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, "GDL_DATA_DIR": str(session.settings.data_dir)},
            start_new_session=True,
        )
    deadline, wait = time.monotonic() + _OPENS_S, 0.05
    while time.monotonic() < deadline:
        if row := find(await session.orchestrator.endpoints.tunnels(), ident):
            return row
        if child.poll() is not None:
            raise await asyncio.to_thread(_why, log, child.returncode)
        await asyncio.sleep(wait)
        wait = min(wait * 1.5, 0.5)
    child.terminate()
    raise SshError(f"the tunnel was not open within {_OPENS_S:.0f} s", f"its log: {log}")


def _command(cli: Cli, target: Target, ident: str, port: int | None) -> list[str]:
    words = [sys.executable, "-m", "gdl"]
    if cli.config is not None:
        words += ["--config", str(cli.config)]
    words += ["tunnel", "--foreground"]
    options = {
        "--backend": target.backend or cli.backend,
        "--host": target.host or cli.host,
        "--identity": target.identity or cli.identity,
        "--port": None if port is None else str(port),
    }
    for name, value in options.items():
        words += [] if value is None else [name, value]
    return [*words, "--", ident]


def _open_log(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    except OSError as error:
        raise GdlError(f"cannot write {path}: {error.strerror}", "check its folder") from None


def _why(log: Path, code: int) -> GdlError:
    """What the process said before it ended with that exit code."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    said = {line.partition(": ")[0]: line.partition(": ")[2] for line in lines}
    kind = UsageError if code == exit_codes.USAGE else SshError
    what = said.get("error", "the tunnel's process ended without a word")
    return kind(what, said.get("hint", f"its log: {log}"))


def find(rows: Sequence[TunnelRow], ident: str) -> TunnelRow | None:
    """The open tunnel that a session's or deployment's id, or the beginning of one, names."""
    found = matching(ident, rows, lambda row: (row.session_id, row.deployment_id))
    if len(found) > 1:
        raise UsageError(f"{ident} names several sessions", "type more of the id")
    return found[0] if found else None


def chosen(rows: Sequence[TunnelRow], ident: str | None) -> TunnelRow:
    """Raises UsageError when no, or no single, open tunnel is meant."""
    if ident is None:
        if len(rows) == 1:
            return rows[0]
        raise UsageError(
            "no tunnel is open" if not rows else f"{len(rows)} tunnels are open: name a session",
            "`gdl-tui tunnel ID` opens one" if not rows else "`gdl-tui tunnel` lists them",
        )
    row = find(rows, ident)
    if row is None:
        raise UsageError(f"no tunnel to {ident} is open", f"`gdl-tui tunnel {ident}` opens one")
    return row


def env(cli: Cli, target: Target, ident: str | None, form: str, as_json: bool) -> NoReturn:
    """What another program needs to use the endpoint of an open tunnel."""

    async def body(session: Session) -> int:
        if form not in FORMATS:
            raise UsageError(f"unknown format {form}", f"one of {', '.join(FORMATS)}")
        row = chosen(await session.orchestrator.endpoints.tunnels(), ident)
        if as_json:
            session.output.json(to_plain(row))
        else:
            call = Call(row.endpoint, row.model, row.api_key_file)
            session.output.line(call.lines(form).rstrip())
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json)
