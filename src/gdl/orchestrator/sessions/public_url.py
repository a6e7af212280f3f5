"""A served model reachable from everywhere, when its user asks for that and not before: an address
on the internet that leads to the machine, for as long as a job on the machine keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from gdl.domain.backoff import Backoff
from gdl.domain.errors import DeployError, GdlError, MachineError, UsageError, VerificationError
from gdl.domain.rental import Rental
from gdl.domain.secret import Secret
from gdl.endpoint.ssh_curl import SshCurl
from gdl.journal import public_endpoints
from gdl.journal.public_endpoints import PublicEndpoint
from gdl.journal.store import Journal
from gdl.orchestrator.api.views import PublicRow
from gdl.orchestrator.endpoint import cloudflared
from gdl.orchestrator.leasing.uninterrupted import uninterrupted
from gdl.orchestrator.sessions.lookup import SessionLookup
from gdl.orchestrator.sessions.reconnect import Reconnection, Reconnector
from gdl.settings import Settings
from gdl.ssh import jobs

if TYPE_CHECKING:
    from gdl.endpoint.client import EndpointClient
    from gdl.ssh.reconnecting import Link

_ADDRESS_S = 60.0
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.1, 1.0
_WATCH_EVERY_S = 2.0
_TAKE_BACK_S = 30.0

Tell = Callable[[str], None]


class PublicUrls:
    """All methods raise GdlError when the session does not run or cannot be entered."""

    def __init__(
        self,
        lookup: SessionLookup,
        reconnector: Reconnector,
        journal: Journal,
        settings: Settings,
        clock: Callable[[], datetime],
    ) -> None:
        self._lookup = lookup
        self._reconnector = reconnector
        self._journal = journal
        self._settings = settings
        self._clock = clock

    async def rows(self) -> list[PublicRow]:
        """Those that the journal knows of, oldest first, at the address last seen."""
        rentals = {r.session_id: r for r in await self._journal.rentals() if r.open}
        found = await public_endpoints.known(self._journal)
        return [_row(one, rentals[one.session_id]) for one in found if one.session_id in rentals]

    async def open(self, ident: str, tell: Tell) -> PublicRow:
        """See `api.ports.Sessions.make_public`."""
        rental = await self._lookup.find(ident)
        async with self._reconnector.reconnected(rental) as there:
            link, rental = there.link, there.rental
            job = await cloudflared.running(link, rental.work_dir)
            if job is not None:
                return await self._seen(rental, await self._address(link, job))
            await _refuse_without_key(there)
            tell("getting cloudflared onto the machine, and verifying it")
            limit_s = self._settings.timeouts.install
            file, sha256 = await cloudflared.fetch(
                link, rental.work_dir, self._settings.public, limit_s=limit_s
            )
            # Known before it is there: whatever happens now, it is found again.
            await self._seen(rental, "")
            try:
                tell("asking for an address")
                job = await cloudflared.start(
                    link, rental.work_dir, rental.engine_port, file, sha256
                )
                return await self._seen(rental, await self._address(link, job))
            except BaseException:
                await uninterrupted(self._take_back(link, rental))
                raise

    async def watch(self, ident: str) -> AsyncGenerator[PublicRow]:
        """See `api.ports.Sessions.watch_public`."""
        rental, shown = await self._lookup.find(ident), ""
        async with self._reconnector.entered(rental) as (link, entered):
            while True:
                job = await cloudflared.running(link, entered.work_dir)
                if job is None:
                    await public_endpoints.forget(self._journal, entered.session_id or "")
                    return
                said = await cloudflared.read_log(link, job)
                if said.address and said.address != shown:
                    shown = said.address
                    yield await self._seen(entered, shown)
                await asyncio.sleep(_WATCH_EVERY_S)

    async def stop(self, ident: str) -> str:
        """See `api.ports.Sessions.stop_public`."""
        rental = await self._lookup.find(ident)
        async with self._reconnector.entered(rental) as (link, entered):
            ran = await cloudflared.end(link, entered.work_dir)
        session_id = rental.session_id or ""
        was = await public_endpoints.of_session(self._journal, session_id)
        await public_endpoints.forget(self._journal, session_id)
        if not ran and was is None:
            raise UsageError(
                f"session {session_id} is not public", "`gdl-tui public` lists what is"
            )
        return session_id

    async def _address(self, link: Link, job: jobs.Job) -> str:
        """The address in its log, as soon as it is there. Raises DeployError without one."""
        pauses, said = Backoff(_FIRST_LOOK_S, _LONGEST_LOOK_S), cloudflared.LogReport("", "")
        with suppress(TimeoutError):
            async with asyncio.timeout(_ADDRESS_S):
                while True:
                    status = await jobs.status(link, job)
                    said = await cloudflared.read_log(link, job)
                    if not status.running:
                        break
                    if said.address:
                        return said.address
                    await asyncio.sleep(next(pauses))
        raise DeployError(
            f"cloudflared got no address: {said.last or 'it said nothing'}",
            "the machine must be able to reach the internet, and the service comes without "
            "guarantee: try again",
        )

    async def _seen(self, rental: Rental, address: str) -> PublicRow:
        """Journal the address; the row that tells it."""
        session_id = rental.session_id or ""
        was = await public_endpoints.of_session(self._journal, session_id)
        now = PublicEndpoint(session_id, address, was.since if was else self._clock())
        if was is None or was.url != address:
            await public_endpoints.remember(self._journal, now)
        return _row(now, rental)

    async def _take_back(self, link: Link, rental: Rental) -> None:
        """After a failure; what cannot be ended stays in the journal."""
        with suppress(GdlError, TimeoutError):
            async with asyncio.timeout(_TAKE_BACK_S):
                await cloudflared.end(link, rental.work_dir)
                await public_endpoints.forget(self._journal, rental.session_id or "")


def _row(one: PublicEndpoint, rental: Rental) -> PublicRow:
    return PublicRow(
        session_id=one.session_id,
        deployment_id=rental.deployment_id,
        model=rental.served_name,
        url=f"{one.url}/v1" if one.url else "",
        api_key_file=rental.api_key_file,
        since=one.since,
    )


async def _refuse_without_key(there: Reconnection) -> None:
    """Raises MachineError unless a request without a key is turned away."""
    from gdl.endpoint.client import EndpointClient

    if not there.key:
        raise MachineError("the endpoint has no API key", "deploy it again: each gets one")
    none = Secret("")
    stranger: EndpointClient | SshCurl
    if there.endpoint.client is not None:
        stranger = EndpointClient(there.endpoint.client.base_url, none)
    else:
        stranger = SshCurl(there.link, there.rental.engine_port, none)
    try:
        await stranger.models()
    except VerificationError as error:
        if not error.message.startswith(("HTTP 401", "HTTP 403")):
            raise
    else:
        raise MachineError(
            "the endpoint answers without a key: it is not made public",
            "something other than the deployed server answers there, or it was started without one",
        )
    finally:
        if isinstance(stranger, EndpointClient):
            await stranger.aclose()
