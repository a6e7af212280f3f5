"""This machine as if it were a rented one: an SSH server of our own on loopback.

Everything of a session lies in one folder, `<data folder>/local/<session id>/`: keys, notes, the
work folder, caches that would otherwise be left behind. Release ends its processes and removes it.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gdl.backends.local import session_folder, this_machine
from gdl.backends.local.session_folder import SESSION_ID, Folder
from gdl.domain import clock
from gdl.domain.backend import BackendTraits
from gdl.domain.errors import BackendError, MachineError, OfferGone, SessionGone
from gdl.domain.findings import Finding
from gdl.domain.money import CostReport
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.secret import Secret
from gdl.domain.session import RentAnswer, RentRequest, Session, SessionStatus, SshAddress
from gdl.domain.text import one_line
from gdl.settings import Settings
from gdl.sshd import processes

if TYPE_CHECKING:
    from gdl.sshd.server import LocalServer

OFFER_ID = "local"
_LOOPBACK = "127.0.0.1"

_GRACE_S = 5.0


@dataclass(slots=True)
class _Open:
    """A session whose server runs in this process."""

    server: LocalServer
    created: datetime


class LocalBackend:
    """The `local` backend. A session outlives this process: its detached jobs go on, and
    `session` in a later process opens a server for it again, with the same host key."""

    name = "local"
    traits = BackendTraits(bills=False, cpu_allowed=True, serves_ssh=True)
    service_url = ""

    def __init__(self, settings: Settings) -> None:
        self._root = Path(os.path.abspath(settings.data_dir)) / "local"  # noqa: PTH100 - links stay
        self._open: dict[str, _Open] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._gpu: tuple[str, int, float] | None = None

    # -- where things are

    def work_dir(self, session_id: str) -> str:
        """The folder that commands start in. Raises SessionGone for what is no session id."""
        return str(self._folder(session_id).work)

    def log_path(self, session_id: str, title: str) -> str:
        """Where the server's log belongs, so that release removes it as well."""
        return str(self._folder(session_id).path / title)

    def _folder(self, ident: str) -> Folder:
        if not SESSION_ID.fullmatch(ident):
            raise _gone(ident)
        return Folder(self._root / ident)

    # -- offers

    async def offers(self, query: OfferQuery) -> Sequence[Offer]:
        """The one offer: this machine, with its GPUs if nvidia-smi tells of any."""
        if self._gpu is None:
            self._gpu = await this_machine.look_for_gpus()
        name, count, vram_gb = self._gpu
        return (
            Offer(
                id=OFFER_ID,
                backend=self.name,
                provider="local",
                gpu_name=name,
                gpu_count=count,
                vram_gb=vram_gb,
                price_per_hour=0.0,
                location="this machine",
                fetched_at=clock.now(),
            ),
        )

    # -- sessions

    async def rent(self, request: RentRequest) -> RentAnswer:
        """Make a folder and keys, and start a server. Raises MachineError when that fails."""
        import asyncssh

        if request.offer.id != OFFER_ID:
            raise OfferGone(
                one_line(request.offer.id, 100), hint=f"this backend's only offer is `{OFFER_ID}`"
            )
        ident = f"local-{secrets.token_hex(4)}"
        folder = self._folder(ident)
        created = clock.now()
        async with self._locks[ident]:
            try:
                await asyncio.to_thread(session_folder.delete_aside, self._root)
                await asyncio.to_thread(session_folder.make, folder, created)
                await self._start(ident, folder, created)
            except (OSError, asyncssh.Error) as error:
                await asyncio.to_thread(shutil.rmtree, folder.path, ignore_errors=True)
                raise MachineError(
                    f"this machine cannot be set up: {one_line(error)}",
                    f"check that {one_line(self._root)} can be written and has space",
                ) from None
            key = await asyncio.to_thread(folder.client_key.read_text)
        return RentAnswer(
            self._session(ident, created),
            private_key=Secret(key),
            work_dir=self.work_dir(ident),
            engine_log=self.log_path(ident, request.log_title),
        )

    async def session(self, session_id: str) -> Session:
        """The session, its server running in this process from now on."""
        import asyncssh

        folder = self._folder(session_id)
        async with self._locks[session_id]:
            opened = self._open.get(session_id)
            if opened is not None:
                return self._session(session_id, opened.created)
            if not await asyncio.to_thread(session_folder.is_ours, folder):
                raise _gone(session_id)
            created = await asyncio.to_thread(session_folder.read_created, folder)
            try:
                await self._start(session_id, folder, created)
            except (OSError, ValueError, asyncssh.Error, asyncssh.KeyImportError) as error:
                return self._session(
                    session_id, created, error=f"it cannot be opened again: {one_line(error)}"
                )
            return self._session(session_id, created)

    async def _start(self, ident: str, folder: Folder, created: datetime) -> None:
        environment = await asyncio.to_thread(session_folder.environment, ident, folder)
        host_key, client_key = await asyncio.to_thread(session_folder.read_keys, folder)
        # Its library takes longer to import than all that is needed to list this machine.
        from gdl.sshd.server import LocalServer

        server = LocalServer(folder.work, environment, host_key, client_key)
        await server.start()
        try:
            await asyncio.to_thread(session_folder.write_notes, folder, created, server.port)
        except OSError:
            await server.aclose()
            raise
        self._open[ident] = _Open(server, created)

    def _session(self, ident: str, created: datetime, error: str | None = None) -> Session:
        opened = self._open.get(ident)
        gpu = self._gpu or ("", 0, 0.0)
        return Session(
            id=ident,
            backend=self.name,
            provider="local",
            status=SessionStatus.FAILED if error else SessionStatus.RUNNING,
            gpu_name=gpu[0],
            gpu_count=gpu[1],
            ssh=SshAddress(_LOOPBACK, opened.server.port, getpass.getuser()) if opened else None,
            error=error,
            created_at=created,
        )

    async def sessions(self) -> Sequence[Session]:
        """One for each folder. Those not opened by `session` in this process have no address."""
        found = await asyncio.to_thread(session_folder.list_all, self._root)
        found.sort(key=lambda pair: pair[1], reverse=True)
        return [self._session(ident, created) for ident, created in found]

    async def release(self, session_id: str) -> None:
        """End every process of the session, then its server, then remove its folder.

        Raises BackendError when a process or a file remains.
        """
        if not SESSION_ID.fullmatch(session_id):
            return
        folder = self._folder(session_id)
        async with self._locks[session_id]:
            opened = self._open.get(session_id)
            if opened is not None:
                opened.server.closing = True
            if not await asyncio.to_thread(session_folder.is_ours, folder):
                await self._close(session_id)
                return
            groups = opened.server.groups if opened else set()
            left = await processes.end(session_id, folder.path, groups, _GRACE_S)
            await self._close(session_id)
            if left:
                pids = ", ".join(str(pid) for pid in sorted(left)[:10])
                raise BackendError(
                    f"processes of {session_id} do not end: {pids}",
                    f"end them yourself, then `gdl-tui destroy {session_id}` again",
                )
            await asyncio.to_thread(session_folder.remove, folder)

    async def _close(self, ident: str) -> None:
        opened = self._open.pop(ident, None)
        if opened is not None:
            await opened.server.aclose()

    async def costs(self) -> CostReport:
        return CostReport(0.0, note="your own machine: nothing is billed")

    async def check(self) -> Sequence[Finding]:
        offer = (await self.offers(OfferQuery()))[0]
        machine = offer.gpu_name if not offer.gpu_count else f"{offer.gpu_count} x {offer.gpu_name}"
        return (
            Finding("this machine", "ok", machine),
            await asyncio.to_thread(this_machine.check_disk, self._root),
        )

    async def aclose(self) -> None:
        """Stop the servers. Detached jobs and folders stay: they are for a later process."""
        for ident in list(self._open):
            async with self._locks[ident]:
                await self._close(ident)


def _gone(ident: str) -> SessionGone:
    return SessionGone(
        f"no session {one_line(ident, 60)} on this machine",
        "`gdl-tui sessions` shows what there is",
    )
