"""Connecting again to a machine that was rented earlier."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gdl.backends.base import Backend
from gdl.domain import events as ev
from gdl.domain.engine import NOTHING_MORE, Capabilities
from gdl.domain.errors import GdlError, MachineError, SessionGone
from gdl.domain.health import Check
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.phase import Phase
from gdl.domain.rental import Rental
from gdl.domain.secret import Secret
from gdl.domain.server_memory import memory_check
from gdl.domain.session import Session, SessionStatus
from gdl.engines.base import Engine, EngineResolver
from gdl.journal import guards
from gdl.journal.store import Journal
from gdl.keyring.key_files import read_key
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.endpoint import served_endpoint
from gdl.orchestrator.leasing.session_monitor import RESERVE_LONGER, TIME_OVER
from gdl.orchestrator.leasing.uninterrupted import uninterrupted
from gdl.orchestrator.machine import guard
from gdl.orchestrator.machine.earlier_work import ENGINE_JOB
from gdl.orchestrator.machine.joined_machine import session_at
from gdl.orchestrator.machine.ways import first_link, ways_to
from gdl.orchestrator.sessions.ranks import rank_of
from gdl.settings import Settings
from gdl.ssh import jobs

if TYPE_CHECKING:
    from gdl.endpoint.client import EndpointClient
    from gdl.orchestrator.run.attempt import Attempt
    from gdl.ssh.reconnecting import Link


@dataclass(frozen=True, slots=True)
class Reconnection:
    """rental: with the address that the session has now. pid: of the server, if it is known."""

    link: Link
    rental: Rental
    engine: Engine
    endpoint: served_endpoint.Endpoint
    key: Secret
    pid: int | None

    def client(self, otherwise: str) -> EndpointClient:
        """The way through the tunnel. otherwise: what does without. Raises MachineError."""
        if self.endpoint.client is None:
            raise MachineError("the machine refuses port forwarding", otherwise)
        return self.endpoint.client


@dataclass(frozen=True, slots=True)
class ToldOfServer:
    """What a server was started for and holds, as events of a first attempt; None: nobody
    said so, as in earlier versions."""

    planned: ev.ServerPlanned | None = None
    memory: ev.MemoryCompared | None = None

    @property
    def events(self) -> list[ev.Event]:
        return [event for event in (self.planned, self.memory) if event is not None]

    @property
    def can(self) -> Capabilities:
        return NOTHING_MORE if self.planned is None else self.planned.capabilities

    @property
    def checks(self) -> list[Check]:
        """Of what nobody has to be asked for."""
        return [] if self.memory is None else [memory_check(self.memory.memory)]


class Reconnector:
    """All methods raise GdlError when the session does not run or cannot be entered. backend_of:
    the backend of that name; raises UsageError."""

    def __init__(
        self,
        backend_of: Callable[[str], Backend],
        engines: EngineResolver,
        journal: Journal,
        settings: Settings,
        clock: Callable[[], datetime],
    ) -> None:
        self._backend_of = backend_of
        self._engines = engines
        self._journal = journal
        self.settings = settings
        self._clock = clock

    async def reopen(self, deployment: Deployment, rental: Rental, attempt: Attempt) -> None:
        """From a rented session to a verified endpoint again, as events of a new deployment."""
        deployment.record.taken_up(rental)
        assert rental.session_id is not None
        session: Session | None = None
        try:
            session = await self._session(rental)
        except GdlError as error:
            away = error
        finally:
            # Whatever the backend says, and whoever ends it now: it is rented, and bills.
            await uninterrupted(_tell_rented(deployment, rental, session))
        if session is None:
            raise away
        self._check_running(session)
        await deployment.enter(Phase.CONNECTING, str(session.ssh))
        await attempt.while_it_lives(attempt.connect(session))
        key = await self._api_key(rental)
        attempt.opening.begin(key)
        await attempt.server.adopt()
        tunnel = await attempt.open_endpoint(key)
        await deployment.emit(tunnel)
        for event in (await self.told_of_server(rental)).events:
            await deployment.emit(event)
        await deployment.enter(Phase.VERIFYING)
        await attempt.verify()
        await deployment.enter(Phase.SERVING, tunnel.endpoint)

    async def told_of_server(self, rental: Rental) -> ToldOfServer:
        """From the journal: what the server of a session was started for and holds."""
        told = ToldOfServer()
        for recorded in await self._journal.events(rental.deployment_id):
            match recorded.event:
                case ev.ServerPlanned(attempt=number) as planned if number == rental.attempt:
                    told = ToldOfServer(replace(planned, attempt=1))
                case ev.MemoryCompared(attempt=number) as compared if number == rental.attempt:
                    told = replace(told, memory=replace(compared, attempt=1))
        return told

    @asynccontextmanager
    async def entered(
        self, rental: Rental, *, on_state: Callable[[str], None] | None = None
    ) -> AsyncIterator[tuple[Link, Rental]]:
        """A connection of its own; (link, the rental with the address it has now)."""
        session = await self._running(rental)
        # An embedded server changes its port, a marketplace the way that leads there.
        first = ways_to(session, rental)[0]
        moved = replace(rental, host=first.host, port=first.port, user=first.user)
        await self._journal.change(rental, moved)
        link, now = await first_link(moved, session, self.settings, on_state=on_state)
        try:
            await self._journal.change(moved, now)
            yield link, now
        finally:
            await link.aclose()

    @asynccontextmanager
    async def entered_rank(self, rental: Rental, number: int) -> AsyncIterator[tuple[Link, Rental]]:
        """As `entered`, of one of several machines that serve a model together. Raises UsageError
        for one that there is not."""
        if number == 0:
            async with self.entered(rental) as there:
                yield there
            return
        one = rank_of(rental, number)
        link, now = await first_link(one, session_at(one), self.settings)
        try:
            yield link, now
        finally:
            await link.aclose()

    @asynccontextmanager
    async def reconnected(self, rental: Rental) -> AsyncIterator[Reconnection]:
        """A connection and a tunnel of its own."""
        engine = self._engines(rental.engine)
        key = await self._api_key(rental)
        async with self.entered(rental) as (link, rental):
            endpoint = served_endpoint.Endpoint(
                link, rental.engine_port, key, self.settings, engine.readiness
            )
            seen: asyncio.Task[None] | None = None
            if await guards.of_rental(self._journal, rental.intent_id) is not None:
                seen = asyncio.create_task(guard.keep_seen(link, rental.work_dir))
            try:
                found, _ = await asyncio.gather(
                    jobs.look(link, rental.work_dir, ENGINE_JOB), endpoint.open()
                )
                pid = found.job.pid if found is not None else None
                yield Reconnection(link, rental, engine, endpoint, key, pid)
            finally:
                if seen is not None:
                    seen.cancel()
                    await asyncio.gather(seen, return_exceptions=True)
                with contextlib.suppress(GdlError):
                    await endpoint.aclose()

    async def over(self, rental: Rental) -> str:
        """Why a session is over, by its backend's word; "" when it is not, or nobody knows."""
        try:
            session = await self._session(rental)
        except SessionGone as gone:
            return gone.message
        except GdlError:
            return ""
        return f"session {session.id} is {session.status}" if session.terminal else ""

    async def _session(self, rental: Rental) -> Session:
        assert rental.session_id is not None
        return await self._backend_of(rental.backend).session(rental.session_id)

    async def _running(self, rental: Rental) -> Session:
        session = await self._session(rental)
        self._check_running(session)
        return session

    def _check_running(self, session: Session) -> None:
        if session.time_over(self._clock()):
            raise MachineError(f"session {session.id} is over: {TIME_OVER}", RESERVE_LONGER)
        if session.status is not SessionStatus.RUNNING or session.ssh is None:
            raise MachineError(
                f"session {session.id} is {session.status}"
                + (f": {session.error}" if session.error else ""),
                "`gdl-tui sessions` shows what is rented",
            )

    async def _api_key(self, rental: Rental) -> Secret:
        if not rental.api_key_file:
            raise MachineError(
                f"no key of the endpoint on session {rental.session_id}",
                "its deployment ended before the server was started",
            )
        return await asyncio.to_thread(read_key, Path(rental.api_key_file))


async def _tell_rented(deployment: Deployment, rental: Rental, session: Session | None) -> None:
    """session: as its backend tells of it; None where it does not."""
    assert rental.session_id is not None
    gpu, count = ("", 0) if session is None else (session.gpu_name, session.gpu_count)
    await deployment.emit(
        ev.AttemptStarted(
            *(1, rental.offer_id, rental.provider, gpu, count),
            *(0.0, rental.price, rental.host),
            backend=rental.backend,
        )
    )
    await deployment.enter(Phase.RENTING, f"session {rental.session_id} is rented already")
    await deployment.emit(ev.BillingChanged(1, rental.billing, rental.session_id, "as before"))
    await deployment.emit(
        ev.SessionRented(
            1,
            rental.session_id,
            rental.provider,
            rental.price,
            None if session is None else session.expires_at,
            since=rental.requested_at,
        )
    )
