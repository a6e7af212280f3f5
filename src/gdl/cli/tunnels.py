"""Tunnels in the background: a process of its own holds each."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from gdl.cli import exit_codes
from gdl.cli.options import Target
from gdl.cli.output import say
from gdl.cli.runtime import Cli, Session
from gdl.domain import clock
from gdl.domain.backoff import Backoff
from gdl.domain.errors import GdlError, SshError, UsageError
from gdl.domain.id_matching import matching
from gdl.orchestrator.api.views import TunnelRow
from gdl.presentation.durations import clock_time
from gdl.presentation.lines import plain

_OPENS_S = 60.0
_HEADINGS = ("SESSION", "MODEL", "ENDPOINT", ">PID", ">OPEN FOR")


def show(session: Session, rows: Sequence[TunnelRow]) -> None:
    if session.output.as_json:
        for row in rows:
            session.output.json(row)
    elif rows:
        cells = [(r.session_id, r.model, r.endpoint, str(r.pid), _age(r)) for r in rows]
        session.output.table(_HEADINGS, cells, ("PID", "OPEN FOR", "MODEL"))
    else:
        say("no tunnels")


def _age(row: TunnelRow) -> str:
    return clock_time(max((clock.now() - row.since).total_seconds(), 0.0))


async def hold(session: Session, ident: str, port: int | None) -> int:
    def opened(row: TunnelRow) -> None:
        show(session, [row])

    why = await session.orchestrator.endpoints.hold_tunnel(ident, port, _say_state, opened)
    say(f"the tunnel is closed: {plain(why)}")
    return exit_codes.OK


def _say_state(state: str) -> None:
    say(f"{time.strftime('%H:%M:%S')} {plain(state)}")


async def start(
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
    deadline, pauses = time.monotonic() + _OPENS_S, Backoff(0.05, 0.5)
    while time.monotonic() < deadline:
        if row := find(await session.orchestrator.endpoints.tunnels(), ident):
            return row
        if child.poll() is not None:
            raise await asyncio.to_thread(_why, log, child.returncode)
        await asyncio.sleep(next(pauses))
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
    what = said.get("error", "the tunnel's process ended without a message")
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
