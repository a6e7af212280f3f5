"""What is rented: list it, end it, go in, and open its endpoint to everybody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime

from gdl.backends import base as backends
from gdl.domain import events as ev
from gdl.domain.clock import day_and_time
from gdl.domain.errors import GdlError, MachineError, SessionGone, SshError, UsageError
from gdl.domain.ledger import LedgerKind
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.session import Session, SessionStatus
from gdl.journal import fleets, guards, ledger, public_endpoints
from gdl.journal.store import Journal
from gdl.orchestrator.api.read_only import changing
from gdl.orchestrator.api.session_ids import refuse_over
from gdl.orchestrator.api.views import PublicRow, SessionRow, ShellCommand
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.endpoint.unpublish import LIMIT_S, unpublish
from gdl.orchestrator.leasing.markets import Markets
from gdl.orchestrator.machine import guard
from gdl.orchestrator.machine.earlier_work import end_jobs
from gdl.orchestrator.run.registry import DeploymentRegistry
from gdl.orchestrator.sessions import shell
from gdl.orchestrator.sessions.ending import end_all, joined_ends
from gdl.orchestrator.sessions.lookup import SessionLookup
from gdl.orchestrator.sessions.public_url import PublicUrls
from gdl.orchestrator.sessions.ranks import rank_of
from gdl.orchestrator.sessions.reconnect import Reconnector
from gdl.orchestrator.sessions.tunnels import Tunnels


class RentedSessions:
    """See `api.ports.Sessions`."""

    def __init__(
        self,
        markets: Markets,
        journal: Journal,
        registry: DeploymentRegistry,
        lookup: SessionLookup,
        reconnector: Reconnector,
        tunnels: Tunnels,
        public_urls: PublicUrls,
        clock: Callable[[], datetime],
        *,
        read_only: bool,
    ) -> None:
        self.read_only = read_only
        self._markets = markets
        self._journal = journal
        self._registry = registry
        self._lookup = lookup
        self._reconnector = reconnector
        self._tunnels = tunnels
        self._public_urls = public_urls
        self._clock = clock

    @property
    def away(self) -> Mapping[str, str]:
        return self._lookup.away

    async def rows(self) -> list[SessionRow]:
        tunnels = {row.session_id: row.endpoint for row in await self._tunnels.rows()}
        public = {row.session_id: row.url for row in await self._public_urls.rows()}
        of_fleets = await fleets.fleet_of(self._journal)
        return [
            replace(
                row,
                endpoint=tunnels.get(row.session.id),
                public=public.get(row.session.id),
                fleet=of_fleets.get(row.deployment_id or ""),
            )
            for row in await self._lookup.rows()
        ]

    @changing("extend")
    async def extend(self, ident: str, hours: int) -> datetime | None:
        row = await self._lookup.row(ident)
        refuse_over(row)
        rentals = await self._lookup.rentals_of(row.session)
        backend = self._markets.of(row.session.backend).backend
        await self._extended(rentals, f"asking for {hours} more hours")
        try:
            until = await backends.extend(backend, row.session.id, hours)
        except GdlError as error:
            await self._extended(rentals, f"not extended: {error.message}")
            raise
        ends = "it has no end" if until is None else f"reserved until {day_and_time(until)}"
        await self._extended(rentals, ends)
        active = self._registry.with_session(row.session.backend, row.session.id)
        if active is not None:
            await active.emit(ev.SessionExtended(active.attempt, row.session.id, until))
        return until

    async def _extended(self, rentals: list[Rental], evidence: str) -> None:
        if rentals and self._markets.of(rentals[0].backend).bills:
            one = ledger.entry(rentals[0], LedgerKind.EXTENDED, self._clock(), evidence)
            await ledger.add(self._journal, one)

    @changing("a shell")
    async def shell(self, ident: str, *, enter: bool = True, rank: int = 0) -> ShellCommand:
        deployment = self._registry.get(ident)
        rental = deployment.rental if deployment is not None else None
        if rental is None or not rental.open:
            rental = await self._lookup.find(ident)
        rental = rank_of(rental, rank)
        backend = self._markets.of(rental.backend).backend
        within = backend.traits.serves_ssh
        if within and enter:
            rental = await shell.opened(backend, rental)
        return ShellCommand(await asyncio.to_thread(shell.argv, rental), within)

    # -- public endpoints ------------------------------------------------------------------------

    @changing("making public")
    async def make_public(self, ident: str, tell: Callable[[str], None]) -> PublicRow:
        return await self._public_urls.open(ident, tell)

    async def watch_public(self, ident: str) -> AsyncGenerator[PublicRow]:
        async with aclosing(self._public_urls.watch(ident)) as rows:
            async for row in rows:
                yield row

    @changing("ending what is public")
    async def stop_public(self, ident: str) -> str:
        return await self._public_urls.stop(ident)

    async def public_rows(self) -> list[PublicRow]:
        return await self._public_urls.rows()

    # -- ending ----------------------------------------------------------------------------------

    @changing("destroy")
    async def destroy(self, ident: str, tell: Callable[[str], None] | None = None) -> SessionRow:
        row = await self._lookup.row(ident)
        over = row.session.terminal and row.billing == Billing.RELEASED
        if over and (not row.session.error or await self._lookup.released(row.session)):
            return row
        active = self._registry.with_session(row.session.backend, row.session.id)
        if active is None or not await self._ended_with(active):
            await self._release(row.session, tell)
        for tunnel in await self._tunnels.rows():
            if tunnel.session_id == row.session.id:
                await self._tunnels.stop(tunnel)
        return await self._released(row)

    async def _ended_with(self, deployment: Deployment) -> bool:
        """Whether a deployment of this process has ended its machine with itself. One that was told
        to leave it, or is attached and has failed, has only closed its tunnel."""
        finished = await self._registry.end(deployment)
        left = finished.outcome == "serving"
        left = left or (deployment.spec.attached and finished.outcome != "released")
        return finished.billing in (Billing.NONE, Billing.RELEASED) and not left

    @changing("destroy")
    async def confirm_gone(self, ident: str) -> SessionRow:
        row = await self._lookup.row(ident)
        session = row.session
        if await self._lookup.released(session):
            return row
        asked = any(r.release_requests for r in await self._lookup.rentals_of(session))
        goes_on = session.status not in (SessionStatus.STOPPING, SessionStatus.UNKNOWN)
        if goes_on and not row.ended and not asked:
            raise UsageError(
                f"session {session.id} is {session.status}, and its end was not requested",
                f"`gdl-tui destroy {session.id}` without --seen-gone requests it",
            )
        await self._markets.of(session.backend).releaser.seen_gone(session.id, session)
        return await self._released(row)

    @changing("asking for an end")
    async def ask_again(self) -> None:
        trouble: GdlError | None = None
        for each in self._markets.all:
            try:
                await each.orphans.ask_again()
            except GdlError as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble

    async def _release(self, session: Session, tell: Callable[[str], None] | None) -> None:
        """Release a session and wait for the proof. Raises ReleaseUnconfirmed."""

        async def told(text: str) -> None:
            if tell is not None:
                tell(text)

        there = self._markets.of(session.backend)
        first = self._unpublish if there.bills else self._stop_server
        await there.releaser.release_session(session.id, told, session=session, first=first)

    async def _unpublish(self, rental: Rental) -> None:
        """End what is public on a machine that goes anyway, as far as it can be reached."""
        if await public_endpoints.of_session(self._journal, rental.session_id or "") is None:
            return
        with contextlib.suppress(GdlError, TimeoutError):
            async with (
                asyncio.timeout(LIMIT_S),
                self._reconnector.entered(rental) as (link, entered),
            ):
                await unpublish(link, entered, self._journal)

    async def _stop_server(self, rental: Rental) -> None:
        """On a machine that nobody destroys, our server is ended by its pid."""
        try:
            await end_all(self._stop_here(rental), *joined_ends(rental, self._reconnector.settings))
        except SshError as error:
            if not self._markets.of(rental.backend).backend.traits.ends_processes:
                raise MachineError(
                    f"the server on {rental.host} could not be ended: {error.message}",
                    error.hint,
                ) from None

    async def _stop_here(self, rental: Rental) -> None:
        async with self._reconnector.entered(rental) as (link, entered):
            await end_jobs(link, entered.work_dir)
            if await guards.of_rental(self._journal, rental.intent_id) is not None:
                await guard.remove(link, entered.work_dir)

    async def _released(self, row: SessionRow) -> SessionRow:
        """The row as it is after the end."""
        there = self._markets.of(row.session.backend)
        try:
            session = await there.backend.session(row.session.id)
        except SessionGone:
            session = replace(row.session, status=SessionStatus.STOPPED, ssh=None)
        billing = Billing.RELEASED if there.bills else Billing.NONE
        return replace(row, session=session, billing=str(billing), doubt="")
