"""A backend in a package of its own, as an example: a market with two machines.

Its machines are folders of this computer behind an SSH server on loopback, so that it can be run
without an account anywhere. A real one sends requests to its marketplace in their place.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import asyncssh

from gdl.backends.base import Backend, BackendContext, BackendEntry
from gdl.domain.backend import BackendSource, BackendTraits
from gdl.domain.errors import BackendError, MachineError, OfferGone, SessionGone
from gdl.domain.findings import Finding
from gdl.domain.money import CostReport
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.secret import Secret
from gdl.domain.session import RentAnswer, RentRequest, Session, SessionStatus, SshAddress
from gdl.sshd import processes
from gdl.sshd.server import LOOPBACK, LocalServer

NAME = "spare"
PRICES = {"spare-1": 0.1, "spare-2": 0.2}
"""Dollars an hour, by offer id."""


@dataclass(slots=True)
class _Machine:
    session: Session
    folder: Path
    server: LocalServer


class SpareBackend:
    """Satisfies `Backend` and `ReportsSpending`. It has no `extend`: time does not run out."""

    name = NAME
    service_url = ""
    traits = BackendTraits(bills=True, cpu_allowed=True, outlives_program=False)

    def __init__(self) -> None:
        self._machines: dict[str, _Machine] = {}
        self._ended: dict[str, Session] = {}

    async def offers(self, query: OfferQuery) -> Sequence[Offer]:
        now = datetime.now(UTC)
        return [
            Offer(ident, NAME, "attic", "CPU", 0, 0.0, price, fetched_at=now)
            for ident, price in PRICES.items()
        ]

    async def rent(self, request: RentRequest) -> RentAnswer:
        if request.offer.id not in PRICES:
            raise OfferGone(request.offer.id)
        ident = f"spare-{secrets.token_hex(4)}"
        folder = Path(tempfile.mkdtemp(prefix=f"{ident}-"))
        client_key = asyncssh.generate_private_key("ssh-ed25519")
        host_key = asyncssh.generate_private_key("ssh-ed25519")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GDL_")}
        # By this mark the processes of the machine are found again when it ends.
        environment[processes.MARK] = ident
        server = LocalServer(folder, environment, host_key, client_key)
        try:
            await server.start()
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise MachineError(f"no machine: {error.strerror}", "try again") from None
        session = Session(
            id=ident,
            backend=NAME,
            provider="attic",
            status=SessionStatus.RUNNING,
            price_per_hour=PRICES[request.offer.id],
            ssh=SshAddress(LOOPBACK, server.port, getpass.getuser()),
            consumer_id=request.consumer_id,
            created_at=datetime.now(UTC),
        )
        self._machines[ident] = _Machine(session, folder, server)
        key = client_key.export_private_key("openssh").decode()
        return RentAnswer(session, private_key=Secret(key), work_dir=str(folder / "work"))

    async def session(self, session_id: str) -> Session:
        if session_id in self._machines:
            return self._machines[session_id].session
        if session_id in self._ended:
            return self._ended[session_id]
        raise SessionGone(f"no session {session_id}", "`gdl-tui sessions` shows what there is")

    async def sessions(self) -> Sequence[Session]:
        found = [*(m.session for m in self._machines.values()), *self._ended.values()]
        return sorted(found, key=lambda s: s.created_at or datetime.now(UTC), reverse=True)

    async def release(self, session_id: str) -> None:
        machine = self._machines.get(session_id)
        if machine is None:
            return
        machine.server.closing = True
        if await processes.end(session_id, machine.folder, machine.server.groups, 2.0):
            raise BackendError(f"{session_id} does not end", "release it again")
        await machine.server.aclose()
        shutil.rmtree(machine.folder, ignore_errors=True)
        self._ended[session_id] = replace(machine.session, status=SessionStatus.STOPPED, ssh=None)
        del self._machines[session_id]

    async def costs(self) -> CostReport:
        now = datetime.now(UTC)
        spent = 0.0
        for machine in self._machines.values():
            began = machine.session.created_at or now
            spent += machine.session.price_per_hour * (now - began).total_seconds() / 3600
        return CostReport(spent, note="machines that are rented now")

    async def check(self) -> Sequence[Finding]:
        return [Finding("spare machines", "ok", f"{len(PRICES)} in the attic")]

    async def aclose(self) -> None:
        for ident in list(self._machines):
            await self.release(ident)


def _create(context: BackendContext) -> Backend:
    return SpareBackend()


async def _discover(context: BackendContext) -> BackendSource:
    return BackendSource(NAME, True, "Spare machines", f"{len(PRICES)} in the attic")


ENTRY = BackendEntry(_create, _discover)
