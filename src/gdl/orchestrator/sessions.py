"""Sessions beyond this process's deployments: list, attach again, check, destroy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from gdl.backends.base import Backend
from gdl.domain import events as ev
from gdl.domain.errors import (
    GdlError,
    MachineError,
    SessionGone,
    SshError,
    UsageError,
)
from gdl.domain.events import Billing, Phase
from gdl.domain.models import BenchReport, Check, Session, SessionStatus, SshAddress
from gdl.domain.secret import Secret
from gdl.journal.keys import read_key
from gdl.journal.store import Journal, Rental
from gdl.orchestrator import owners, serving
from gdl.orchestrator.api import SessionRow, Story
from gdl.orchestrator.deployment import Deployment
from gdl.orchestrator.leftovers import Leftovers
from gdl.orchestrator.machine import ENGINE_JOB, target_for
from gdl.orchestrator.pipeline import Attempt
from gdl.orchestrator.renting import Renter
from gdl.settings import Settings
from gdl.ssh import jobs
from gdl.ssh.link import Link

_LEAST_PREFIX = 4
"""Characters of an id that must be typed at least."""


class Sessions:
    def __init__(
        self,
        backend: Backend,
        journal: Journal,
        settings: Settings,
        renter: Renter,
        leftovers: Leftovers,
        clock: Callable[[], datetime],
    ) -> None:
        self._backend = backend
        self._journal = journal
        self._settings = settings
        self._renter = renter
        self._leftovers = leftovers
        self._clock = clock

    # -- listing ---------------------------------------------------------------------------------

    async def rows(self) -> list[SessionRow]:
        """Everything this consumer has rented, ours or not; then what only our journal knows."""
        listed = await self._backend.sessions()
        await self._leftovers.settle(listed)
        rentals = await self._mine()
        by_session = {r.session_id: r for r in reversed(rentals) if r.session_id}
        rows = [self._row(session, by_session.get(session.id)) for session in listed]
        known = {session.id for session in listed}
        unlisted = [r for r in rentals if r.session_id and r.session_id not in known and r.open]
        return rows + [self._row(await self._ask(rental), rental) for rental in unlisted]

    async def _mine(self) -> list[Rental]:
        rentals = await self._journal.rentals()
        return [r for r in rentals if r.backend == self._backend.name]

    async def _ask(self, rental: Rental) -> Session:
        """The session of a rental, or a stand-in that says that nobody knows."""
        assert rental.session_id is not None
        try:
            return await self._backend.session(rental.session_id)
        except GdlError as error:
            return Session(
                id=rental.session_id,
                backend=rental.backend,
                provider=rental.provider,
                status=SessionStatus.UNKNOWN,
                price_per_hour=rental.price,
                error=error.message,
                consumer_id=rental.consumer_id,
                created_at=rental.requested_at,
            )

    def _row(self, session: Session, rental: Rental | None) -> SessionRow:
        began = session.created_at or (rental.requested_at if rental else None)
        ended = rental.released_at if rental else None
        hours = 0.0
        if began is not None and (ended is not None or not session.terminal):
            hours = max(((ended or self._clock()) - began).total_seconds(), 0.0) / 3600
        price = session.price_per_hour or (rental.price if rental else 0.0)
        return SessionRow(
            session=session,
            ours=rental is not None and bool(rental.key_file or rental.agent_auth),
            deployment_id=rental.deployment_id if rental else None,
            model=rental.served_name if rental else None,
            endpoint=None,
            cost=round(price * hours, 6) if self._backend.rents else 0.0,
            billing=self._billing(session, rental),
        )

    def _billing(self, session: Session, rental: Rental | None) -> str:
        if not self._backend.rents:
            return str(Billing.NONE)
        if rental is not None and rental.billing is not Billing.NONE:
            if rental.billing is Billing.ACTIVE and session.terminal:
                # Ended without our asking: the backend may be wrong about that.
                return str(Billing.UNKNOWN)
            return str(rental.billing)
        return str(Billing.RELEASED if session.terminal else Billing.ACTIVE)

    async def stories(self) -> list[Story]:
        rentals: dict[str, Rental] = {}
        for rental in await self._journal.rentals():
            rentals.setdefault(rental.deployment_id, rental)
        stories = []
        for row in await self._journal.deployments():
            last = rentals.get(row.id)
            cost = 0.0
            if last is not None and last.billing is not Billing.NONE:
                end = last.released_at or self._clock()
                cost = last.price * max((end - last.requested_at).total_seconds(), 0.0) / 3600
            stories.append(
                Story(
                    deployment_id=row.id,
                    model=row.model,
                    backend=row.backend,
                    started_at=row.created_at,
                    outcome=row.outcome or ("running" if owners.runs(row) else "interrupted"),
                    billing=str(last.billing if last else Billing.NONE),
                    session_id=last.session_id if last else None,
                    cost=round(cost, 6),
                )
            )
        return stories

    # -- finding ---------------------------------------------------------------------------------

    async def row(self, ident: str) -> SessionRow:
        """The session that `ident` names: its id, its deployment's id, or the beginning of one."""
        rows = await self.rows()
        found = [
            r for r in rows if _named(ident, r.session.id) or _named(ident, r.deployment_id or "")
        ]
        exact = [r for r in found if ident in (r.session.id, r.deployment_id)]
        found = exact or [r for r in found if not r.session.terminal] or found
        if len({r.session.id for r in found}) == 1:
            return found[0]
        raise _not_one(ident, [r.session.id for r in found], [r.session.id for r in rows])

    async def find(self, ident: str) -> Rental:
        """The rental of a session whose key we hold."""
        open_ones = [r for r in await self._mine() if r.session_id and r.open]
        found = [
            r
            for r in open_ones
            if _named(ident, r.session_id or "") or _named(ident, r.deployment_id)
        ]
        if len({r.session_id for r in found}) != 1:
            listed = [r.session_id or "" for r in found]
            raise _not_one(ident, listed, [r.session_id or "" for r in open_ones])
        return found[0]

    # -- entering again --------------------------------------------------------------------------

    async def reopen(self, deployment: Deployment, rental: Rental, attempt: Attempt) -> None:
        """From a rented session to a verified endpoint again, as events of a new deployment."""
        deployment.rental = rental
        assert rental.session_id is not None
        await deployment.emit(
            ev.AttemptStarted(
                1, rental.offer_id, rental.provider, "", 0, 0.0, rental.price, rental.host
            )
        )
        await deployment.enter(Phase.RENTING, f"session {rental.session_id} is rented already")
        session = await self._running(rental)
        await deployment.emit(ev.BillingChanged(1, rental.billing, session.id, "as before"))
        await deployment.emit(
            ev.SessionRented(
                1,
                session.id,
                rental.provider,
                rental.price,
                session.expires_at,
                since=rental.requested_at,
            )
        )
        await deployment.enter(Phase.CONNECTING, str(session.ssh))
        deployment.rental = await self._moved(rental, session)
        await attempt.machine.connect(session)
        await attempt.server.adopt()
        tunnel = await attempt.open_endpoint(await self._api_key(rental))
        await deployment.emit(tunnel)
        await deployment.enter(Phase.VERIFYING)
        await attempt.verify()
        await deployment.enter(Phase.SERVING, tunnel.endpoint)

    async def _running(self, rental: Rental) -> Session:
        assert rental.session_id is not None
        session = await self._backend.session(rental.session_id)
        if session.status is not SessionStatus.RUNNING or session.ssh is None:
            raise MachineError(
                f"session {session.id} is {session.status}"
                + (f": {session.error}" if session.error else ""),
                "`gdl-tui sessions` shows what is rented",
            )
        return session

    async def _moved(self, rental: Rental, session: Session) -> Rental:
        """The rental with the address the session has now (an embedded server changes port)."""
        assert session.ssh is not None
        ssh: SshAddress = session.ssh
        if (rental.host, rental.port, rental.user) == (ssh.host, ssh.port, ssh.user):
            return rental
        rental = replace(rental, host=ssh.host, port=ssh.port, user=ssh.user)
        await self._journal.save(rental)
        return rental

    async def _api_key(self, rental: Rental) -> Secret:
        if not rental.api_key_file:
            raise MachineError(
                f"no key of the endpoint on session {rental.session_id}",
                "its deployment ended before the server was started",
            )
        return await asyncio.to_thread(read_key, Path(rental.api_key_file))

    @asynccontextmanager
    async def _visit(self, rental: Rental) -> AsyncIterator[tuple[serving.Endpoint, int | None]]:
        """A connection and tunnel for one errand; (endpoint, pid of the server)."""
        rental = await self._moved(rental, await self._running(rental))
        key = await self._api_key(rental)
        link = Link(target_for(rental, self._settings))
        endpoint = serving.Endpoint(link, rental.engine_port, key, self._settings)
        try:
            await link.connect()
            job = await jobs.find(link, rental.work_dir, ENGINE_JOB)
            await endpoint.open()
            yield endpoint, job.pid if job else None
        finally:
            with contextlib.suppress(GdlError):
                await endpoint.aclose()
            await link.aclose()

    async def health(self, rental: Rental) -> list[Check]:
        async with self._visit(rental) as (endpoint, pid):
            return await endpoint.check(rental.served_name, pid=pid, has_gpu=rental.has_gpu)

    async def bench(self, rental: Rental) -> BenchReport:
        async with self._visit(rental) as (endpoint, _):
            return await endpoint.bench(
                rental.served_name,
                price_per_hour=rental.price,
                on_answer=lambda answer: None,
                on_progress=lambda done, total, rate: None,
            )

    # -- ending ----------------------------------------------------------------------------------

    async def destroy(self, row: SessionRow) -> None:
        """Give a session back and wait for the proof. Raises ReleaseUnconfirmed."""
        if not self._backend.rents:
            await self._stop_server(row)
        await self._renter.releaser.release_session(row.session.id)

    async def _stop_server(self, row: SessionRow) -> None:
        """On a machine that nobody destroys, our server is ended by its pid."""
        rentals = [r for r in await self._mine() if r.session_id == row.session.id and r.open]
        if not rentals:
            return
        session = await self._backend.session(row.session.id)
        rental = await self._moved(rentals[0], session) if session.ssh else rentals[0]
        link = Link(target_for(rental, self._settings))
        try:
            await link.connect()
            for job in await jobs.running_jobs(link, rental.work_dir):
                await jobs.stop(link, job)
        except SshError as error:
            if self._backend.name != "local":
                raise MachineError(
                    f"the server on {rental.host} could not be ended: {error.message}",
                    error.hint,
                ) from None
        finally:
            await link.aclose()

    async def gone(self, row: SessionRow) -> SessionRow:
        """The row as it is after the end."""
        try:
            session = await self._backend.session(row.session.id)
        except SessionGone:
            session = replace(row.session, status=SessionStatus.STOPPED, ssh=None)
        billing = Billing.RELEASED if self._backend.rents else Billing.NONE
        return replace(row, session=session, billing=str(billing))


def _named(ident: str, full: str) -> bool:
    return full == ident or (len(ident) >= _LEAST_PREFIX and full.startswith(ident))


def _not_one(ident: str, found: list[str], there: list[str]) -> UsageError:
    if found:
        return UsageError(
            f"{ident} names several sessions: {', '.join(sorted(set(found))[:5])}",
            "type more of the id",
        )
    known = ", ".join(there[:5]) or "none"
    return UsageError(f"no session {ident}", f"sessions: {known}; `gdl-tui sessions` shows all")
