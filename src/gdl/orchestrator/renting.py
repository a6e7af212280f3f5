"""Getting a machine, and giving it back. Money first: the journal knows before the backend does."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from gdl.backends.base import Backend
from gdl.domain import events as ev
from gdl.domain.errors import (
    BackendError,
    BackendRefused,
    BackendUnreachable,
    GdlError,
    InsufficientDisk,
    MachineError,
    ReleaseUnconfirmed,
    RentAmbiguous,
    SessionExists,
    SessionFailed,
    SessionGone,
)
from gdl.domain.events import Billing
from gdl.domain.models import Lease, Offer, RentRequest, Session, SessionStatus
from gdl.journal.keys import write_key
from gdl.journal.store import Journal, Rental
from gdl.orchestrator.deployment import Deployment
from gdl.settings import Settings

T = TypeVar("T")

_LATE_ROW_S = 10.0
"""How long after a lost answer a session may still turn up in the list."""


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end even when we are cancelled meanwhile; then the cancellation goes
    on, or the ReleaseUnconfirmed that `work` ended with, which matters more. Only for work that
    is bounded in time by itself."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled() and isinstance(task.exception(), ReleaseUnconfirmed):
            return task.result()
        raise


class Renter:
    """Rents for deployments and releases what they rented."""

    def __init__(
        self,
        backend: Backend,
        journal: Journal,
        settings: Settings,
        consumer_id: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._backend = backend
        self._journal = journal
        self._settings = settings
        self._consumer_id = consumer_id
        self._clock = clock

    async def rent(self, deployment: Deployment, offer: Offer) -> Lease:
        """A lease whose key is on disk. `deployment.rental` tells what was asked for from before
        the request on, so whoever catches an error or a cancellation knows what to release."""
        rental = Rental(
            intent_id=uuid.uuid4().hex,
            deployment_id=deployment.id,
            attempt=deployment.attempt,
            backend=self._backend.name,
            provider=offer.provider,
            offer_id=offer.id,
            consumer_id=self._consumer_id,
            price=offer.price_per_hour,
            requested_at=self._clock(),
            billing=Billing.REQUESTED if self._backend.rents else Billing.NONE,
            model=deployment.model.location,
            served_name=deployment.model.served_name,
        )
        request = RentRequest(
            offer, self._consumer_id, deployment.spec.hours, deployment.model.location
        )
        before = await self._session_ids()
        await self._remember(deployment, rental)
        try:
            return await self._ask(deployment, rental, request)
        except RentAmbiguous as lost:
            await self._resolve(deployment, rental, before, lost)
            raise MachineError(
                f"the answer to the rent request was lost ({lost.message})",
                "nothing is left rented; the next offer is tried",
            ) from None
        except InsufficientDisk as error:
            await self._resolve(deployment, rental, before, error)
            await deployment.note(f"{error.message}: asking again for {error.recommended_gb} GB")
            return await self._ask_again(deployment, rental, request, error.recommended_gb, before)
        except SessionExists as error:
            await self._forget(deployment, rental)
            await self._clear_the_way(deployment, error.session_id)
            raise
        except BackendRefused as error:
            if error.status is None or error.status < 500:
                await self._forget(deployment, rental)
            else:
                # It broke down over the request: who knows how far it had come.
                await self._resolve(deployment, rental, before, error)
            raise
        except (MachineError, BackendError):
            await self._forget(deployment, rental)
            raise

    async def _ask_again(
        self,
        deployment: Deployment,
        rental: Rental,
        request: RentRequest,
        disk_gb: int,
        before: set[str],
    ) -> Lease:
        """The same request with a bigger disk, once."""
        await self._remember(deployment, rental)
        try:
            return await self._ask(deployment, rental, replace(request, disk_gb=disk_gb))
        except (RentAmbiguous, InsufficientDisk) as error:
            await self._resolve(deployment, rental, before, error)
            raise MachineError(error.message, "the next offer is tried") from None
        except (MachineError, BackendError):
            await self._forget(deployment, rental)
            raise

    async def _clear_the_way(self, deployment: Deployment, session_id: str) -> None:
        """A session that blocks an offer: ours stays, one whose key is lost is released."""
        if await self._known(session_id):
            return
        await deployment.note(
            f"session {session_id} blocks this offer and its key is lost: releasing it", "warning"
        )
        await self._confirm_gone(session_id)

    async def _ask(self, deployment: Deployment, rental: Rental, request: RentRequest) -> Lease:
        """One rent request. Its answer is on disk and in the journal before anything else."""
        lease = await self._backend.rent(request)
        # In memory first: should the disk refuse the key, the machine is still given back.
        billing = Billing.ACTIVE if self._backend.rents else Billing.NONE
        deployment.rental = replace(rental, session_id=lease.session.id, billing=billing)
        key_file = lease.identity_file or ""
        if lease.private_key is not None:
            path = self._settings.keys_dir / f"{rental.intent_id}.pem"
            key_file = str(await asyncio.to_thread(write_key, path, lease.private_key))
        session = lease.session
        rental = replace(
            deployment.rental,
            key_file=key_file,
            agent_auth=lease.agent_auth,
            alias=lease.config_alias or "",
            work_dir=lease.work_dir or "",
            engine_log=lease.engine_log or "",
            host_key_file=str(self._settings.keys_dir / f"{rental.intent_id}.hostkey"),
        )
        deployment.rental = rental
        await self._journal.save(rental)
        detail = "the machine is rented" if self._backend.rents else "nothing is billed"
        await deployment.emit(ev.BillingChanged(deployment.attempt, billing, session.id, detail))
        await deployment.emit(
            ev.SessionRented(
                deployment.attempt,
                session.id,
                session.provider,
                session.price_per_hour or rental.price,
                session.expires_at,
            )
        )
        return lease

    async def _remember(self, deployment: Deployment, rental: Rental) -> None:
        deployment.rental = rental
        await self._journal.save(rental)
        if rental.billing is Billing.REQUESTED:
            await deployment.emit(
                ev.BillingChanged(
                    deployment.attempt, Billing.REQUESTED, None, "asked for a machine"
                )
            )

    async def _forget(self, deployment: Deployment, rental: Rental) -> None:
        """The backend said no: nothing was rented."""
        rental = replace(rental, billing=Billing.NONE)
        deployment.rental = None
        await self._journal.save(rental)
        await deployment.emit(
            ev.BillingChanged(deployment.attempt, Billing.NONE, None, "nothing was rented")
        )

    async def _session_ids(self) -> set[str]:
        if not self._backend.rents:
            return set()
        return {session.id for session in await self._backend.sessions()}

    async def _known(self, session_id: str) -> bool:
        return any(r.session_id == session_id and r.open for r in await self._journal.rentals())

    # -- after a lost answer -------------------------------------------------------------------

    async def _resolve(
        self, deployment: Deployment, rental: Rental, before: set[str], why: GdlError
    ) -> None:
        """Find out whether the request made a machine; if so, destroy it: its key is lost.

        Raises ReleaseUnconfirmed when that cannot be found out.
        """
        await deployment.progress(f"{why.message}: asking whether a machine exists")
        found: set[str] = set()
        deadline = time.monotonic() + _LATE_ROW_S
        wait = 0.2
        while True:
            try:
                found |= await self._orphans(rental, before)
            except ReleaseUnconfirmed as error:
                await self._doubt(deployment, rental, error)
                raise
            if found or time.monotonic() >= deadline:
                break
            await asyncio.sleep(wait)
            wait = min(wait * 2, 2.0)
        for session_id in sorted(found):
            await deployment.note(
                f"session {session_id} exists but its key is lost: destroying it", "warning"
            )
            doubtful = replace(rental, session_id=session_id, billing=Billing.UNKNOWN)
            await self._journal.save(doubtful)
            try:
                await self._confirm_gone(session_id)
            except ReleaseUnconfirmed as error:
                await self._doubt(deployment, doubtful, error)
                raise
        await self._forget(deployment, rental)

    async def _doubt(
        self, deployment: Deployment, rental: Rental, error: ReleaseUnconfirmed
    ) -> None:
        """Journal and say that nobody knows whether a machine still bills."""
        billing = Billing.UNKNOWN if self._backend.rents else Billing.NONE
        rental = replace(rental, billing=billing)
        deployment.rental = rental
        await self._journal.save(rental)
        await deployment.emit(
            ev.BillingChanged(rental.attempt, billing, rental.session_id, error.message)
        )

    async def _orphans(self, rental: Rental, before: set[str]) -> set[str]:
        """Sessions that this request may have made and nobody holds a key of."""
        try:
            sessions = await self._patiently(self._backend.sessions)
        except GdlError as error:
            raise ReleaseUnconfirmed(
                f"a machine may have been rented, and the backend cannot be asked: {error.message}",
                "look at the marketplace's own console, then run `gdl-tui sessions`",
            ) from None
        ours = {r.session_id for r in await self._journal.rentals() if r.session_id}
        return {
            s.id
            for s in sessions
            if s.id not in before
            and s.id not in ours
            and s.provider == rental.provider
            and not s.terminal
        }

    # -- waiting until it runs -----------------------------------------------------------------

    async def wait_running(self, deployment: Deployment, session: Session) -> Session:
        """Poll until the session can be entered. Raises SessionFailed or MachineError."""
        limit = self._settings.timeouts.session
        started = time.monotonic()
        wait, failures = 0.2, 0
        while session.status is not SessionStatus.RUNNING or session.ssh is None:
            if session.terminal or session.status is SessionStatus.STOPPING:
                raise SessionFailed(
                    f"session {session.status}: {session.error or 'no reason given'}",
                    "the next offer may do better",
                )
            elapsed = time.monotonic() - started
            if elapsed > limit:
                raise SessionFailed(
                    f"the machine was not ready within {_clock_text(limit)}",
                    "the next offer may do better; GDL_TIMEOUTS__SESSION sets the limit",
                )
            await deployment.progress(
                f"{session.provider}: {session.status}, SSH not up yet,"
                f" {_clock_text(elapsed)} of {_clock_text(limit)}",
                elapsed / limit,
            )
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, 5.0)
            try:
                session = await self._backend.session(session.id)
                failures = 0
            except SessionGone as error:
                raise SessionFailed(error.message, "the next offer may do better") from None
            except BackendError:
                failures += 1
                if failures >= 5:
                    raise
        return session

    # -- giving back ---------------------------------------------------------------------------

    async def release(self, deployment: Deployment, rental: Rental) -> None:
        """Give a session back and wait for the proof. Raises ReleaseUnconfirmed."""
        if rental.session_id is None or rental.released_at is not None:
            return
        await deployment.progress(f"giving back {rental.session_id}")
        try:
            await self._confirm_gone(rental.session_id)
        except ReleaseUnconfirmed as error:
            await self._doubt(deployment, rental, error)
            raise
        billing = Billing.RELEASED if self._backend.rents else Billing.NONE
        deployment.rental = await self._write_off(rental, billing)
        await deployment.emit(
            ev.BillingChanged(
                rental.attempt, billing, rental.session_id, "the backend confirmed that it is gone"
            )
        )

    async def release_session(self, session_id: str) -> None:
        """The same for a session without a deployment in this process."""
        await self._confirm_gone(session_id)
        for rental in await self._journal.rentals():
            if rental.session_id == session_id and rental.open:
                billing = Billing.RELEASED if self._backend.rents else Billing.NONE
                await self._write_off(rental, billing)

    async def _write_off(self, rental: Rental, billing: Billing) -> Rental:
        """Journal that a session is gone; its keys, which open nothing any more, go too."""
        ours = self._settings.keys_dir
        for name in (rental.key_file, rental.api_key_file, rental.host_key_file):
            path = Path(name)
            if name and path.parent == ours:
                await asyncio.to_thread(path.unlink, missing_ok=True)
        released = replace(
            rental, billing=billing, released_at=self._clock(), key_file="", api_key_file=""
        )
        await self._journal.save(released)
        return released

    async def _confirm_gone(self, session_id: str) -> None:
        """Ask for the end until the backend says that the machine is gone."""
        deadline = time.monotonic() + self._settings.timeouts.release
        wait = 0.2
        asked = False
        trouble = "it still runs"
        while True:
            try:
                if not asked:
                    await self._backend.release(session_id)
                    asked = True
                session = await self._backend.session(session_id)
                if session.status is SessionStatus.FAILED:
                    # A failed session had a machine, perhaps: our own request must go through.
                    if asked:
                        return
                elif session.status is SessionStatus.STOPPED:
                    return
                trouble = f"it is {session.status}"
                if session.status is SessionStatus.RUNNING:
                    asked = False
            except SessionGone:
                return
            except GdlError as error:
                trouble = error.message
                asked = False
            if time.monotonic() > deadline:
                raise ReleaseUnconfirmed(
                    f"session {session_id} could not be released: {trouble}",
                    f"it may still be billing: try `gdl-tui destroy {session_id}`,"
                    " or the marketplace's own console",
                )
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            wait = min(wait * 1.7, 10.0)

    async def _patiently(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Ask again while the backend is away, for up to a minute."""
        deadline = time.monotonic() + min(60.0, self._settings.timeouts.release)
        wait = 0.2
        while True:
            try:
                return await ask()
            except (BackendUnreachable, BackendRefused, BackendError):
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(wait)
            wait = min(wait * 2, 5.0)


def _clock_text(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
