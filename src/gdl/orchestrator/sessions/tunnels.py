"""Tunnels that stay open in a process of their own, so that other programs can use an endpoint.

Each session has at most one. It is known by a file `tunnels/SESSION.json`, locked for as long as
its process lives: a lock cannot be mistaken, a process id alone can.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gdl.domain import clock
from gdl.domain.backoff import Backoff
from gdl.domain.errors import ForwardRefused, GdlError, SshError, UsageError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.rental import Rental
from gdl.orchestrator.api.views import TunnelRow
from gdl.orchestrator.sessions.lookup import SessionLookup
from gdl.orchestrator.sessions.reconnect import Reconnector
from gdl.settings import Settings

if TYPE_CHECKING:
    from gdl.ssh.connection import Forward
    from gdl.ssh.reconnecting import Link

_FIRST_PORT, _PORTS = 21_000, 10_000
_NEXT_PORTS = 20
"""Tried after the session's own local port, where another program has taken that one."""
_LOOK_S = 1.0
_ASK_S = 60.0
_RECONNECT_S = 20.0
_END_S = 10.0

Tell = Callable[[str], None]

_BY = {"openssh": "this computer's ssh", "built-in": "gdl-tui's own connection"}


@dataclass(frozen=True, slots=True)
class _Record:
    """What the file holds."""

    session_id: str
    deployment_id: str
    model: str
    port: int
    key_file: str
    pid: int
    since: str
    by: str = ""


class Tunnels:
    def __init__(self, lookup: SessionLookup, reconnector: Reconnector, settings: Settings) -> None:
        self._lookup = lookup
        self._reconnector = reconnector
        self._settings = settings
        self._folder = settings.data_dir / "tunnels"

    # -- listing ---------------------------------------------------------------------------------

    async def rows(self) -> list[TunnelRow]:
        """Those that are open now, oldest first."""
        found = await asyncio.to_thread(self._read_all)
        return sorted((_row(each) for each in found), key=lambda row: row.since)

    def _path(self, session_id: str) -> Path:
        return self._folder / f"{session_id}.json"

    def _read_all(self) -> list[_Record]:
        try:
            paths = sorted(self._folder.glob("*.json"))
        except OSError:
            return []
        return [record for path in paths if (record := self._read(path)) is not None]

    @staticmethod
    def _read(path: Path) -> _Record | None:
        """The record of a live tunnel; None when its process is gone."""
        try:
            with path.open() as file:
                if _lock(file, shared=True):
                    return None
                return _Record(**json.load(file))
        except (OSError, ValueError, TypeError):
            return None

    # -- ending ----------------------------------------------------------------------------------

    async def stop(self, row: TunnelRow) -> None:
        """Raises GdlError when its process stays."""
        path = self._path(row.session_id)
        record = await asyncio.to_thread(self._read, path)
        if record is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(_END_S):
                for pause in Backoff(0.02, 0.5):
                    if await asyncio.to_thread(self._read, path) is None:
                        return
                    await asyncio.sleep(pause)
        except TimeoutError:
            raise GdlError(
                f"the tunnel's process {record.pid} does not end", f"end it: kill -9 {record.pid}"
            ) from None

    # -- holding ---------------------------------------------------------------------------------

    async def hold(
        self, ident: str, port: int | None, tell: Tell, opened: Callable[[TunnelRow], None]
    ) -> str:
        """Keep a tunnel open until its session is over: why it is. Ends by cancellation, too.

        port: the local one; None takes the session's own, which is the same each time. Raises
        UsageError when there is one already or the machine forbids forwarding, GdlError when it
        cannot be opened.
        """
        rental = await self._lookup.find(ident)
        session_id = rental.session_id or ident

        def on_state(state: str) -> None:
            tell(f"SSH: {state}")

        claimed = self._claimed(session_id)
        entering = self._reconnector.entered(rental, on_state=on_state)
        async with claimed as file, entering as (link, entered):
            forward = await _forward(link, entered.engine_port, session_id, port)
            why = f" ({link.openssh.reason})" if link.openssh.reason else ""
            tell(f"the tunnel is carried by {_BY[forward.by]}{why}")
            record = _Record(
                session_id,
                entered.deployment_id,
                entered.served_name,
                forward.local_port,
                entered.api_key_file,
                os.getpid(),
                clock.now().isoformat(),
                forward.by,
            )
            await asyncio.to_thread(_write, file, record)
            opened(_row(record))
            return await self._watch(link, entered)

    async def _watch(self, link: Link, rental: Rental) -> str:
        """Ask the backend when the connection is gone, and now and then."""
        asked_at = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_S)
            if link.connected and time.monotonic() - asked_at < _ASK_S:
                continue
            asked_at = time.monotonic()
            if over := await self._reconnector.over(rental):
                return over
            with contextlib.suppress(SshError, TimeoutError):
                async with asyncio.timeout(_RECONNECT_S):
                    await link.get()

    @asynccontextmanager
    async def _claimed(self, session_id: str) -> AsyncIterator[IO[str]]:
        """The session's file, ours alone; removed in the end."""
        path = self._path(session_id)
        file = await asyncio.to_thread(_open, path)
        try:
            for wait in (0.02, 0.1, 0.0):
                # Somebody who only lists tunnels holds it for a moment.
                if _lock(file):
                    break
                await asyncio.sleep(wait)
            else:
                raise UsageError(
                    f"a tunnel to {session_id} is already open", "`gdl-tui tunnel` lists it"
                )
            try:
                yield file
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()
        finally:
            file.close()


def _open(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")
    except OSError as error:
        raise GdlError(
            f"cannot write {path}: {error.strerror}", "check free space and permissions"
        ) from None


def _lock(file: IO[str], *, shared: bool = False) -> bool:
    import fcntl  # not on every system, and needed by those alone that hold a tunnel

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _write(file: IO[str], record: _Record) -> None:
    file.seek(0)
    file.truncate()
    json.dump(asdict(record), file)
    file.flush()


def _row(record: _Record) -> TunnelRow:
    return TunnelRow(
        session_id=record.session_id,
        deployment_id=record.deployment_id,
        model=record.model,
        endpoint=f"http://127.0.0.1:{record.port}/v1",
        api_key_file=record.key_file,
        pid=record.pid,
        since=datetime.fromisoformat(record.since),
        by=record.by,
    )


def usual_port(session_id: str) -> int:
    """The local port that a session's tunnel takes when it is free: the same each time."""
    return _FIRST_PORT + zlib.crc32(session_id.encode()) % _PORTS


async def _forward(link: Link, remote: int, session_id: str, wanted: int | None) -> Forward:
    """Raises SshError when the port wanted, or all that are tried, are taken."""
    if wanted is not None:
        return await link.forward(remote, wanted)
    first = usual_port(session_id)
    for port in range(first, first + _NEXT_PORTS):
        try:
            return await link.forward(remote, port)
        except ForwardRefused:
            raise
        except SshError:
            if not link.connected:
                raise
    return await link.forward(remote, 0)
