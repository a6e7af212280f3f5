"""Getting a machine. Money first: the journal knows before the backend does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from gdl.backends.base import Backend, FindsByLabel
from gdl.domain import events as ev
from gdl.domain.errors import (
    BackendError,
    BackendRefused,
    BackendUnreachable,
    GdlError,
    InsufficientDisk,
    MachineError,
    OfferGone,
    OfferTaken,
    RentAmbiguous,
    SessionExists,
)
from gdl.domain.ledger import LedgerEntry, LedgerKind
from gdl.domain.money import hourly
from gdl.domain.offers import Offer, dearer
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.session import RentAnswer, RentRequest, Session
from gdl.journal import ledger
from gdl.journal.store import Journal
from gdl.keyring.key_files import write_key
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing.ambiguous import AmbiguousRents
from gdl.orchestrator.leasing.releasing import Releaser
from gdl.orchestrator.leasing.rent_proof import made_nothing, surely_not
from gdl.orchestrator.leasing.rent_request import intent_for, request_for
from gdl.orchestrator.leasing.rental_key import forget_key, host_key_path, key_path, our_key
from gdl.orchestrator.leasing.resumed_rent import ResumedRents
from gdl.orchestrator.leasing.retry import LONGEST_S, retrying
from gdl.orchestrator.leasing.session_monitor import SessionMonitor
from gdl.orchestrator.leasing.takeover import Takeover
from gdl.orchestrator.leasing.uninterrupted import uninterrupted
from gdl.settings import Settings

_NEXT = "the next offer may do better"
_WHERE_OTHERS_RENT_S = 15.0
"""How long a backend is asked again that is overloaded or away, where another may rent as well."""
_IN_DOUBT = "it is not known whether a machine was created"


@dataclass(slots=True)
class _Asked:
    """One offer being rented: what is asked for, and which ways out were taken already. before:
    the ids that the backend listed before anything was asked for."""

    offer: Offer
    rental: Rental
    request: RentRequest
    before: set[str]
    bigger_disk: bool = False
    way_cleared: bool = False


class Renter:
    """Rents for deployments. releaser: releases what it rented; monitor: asks the backend how it
    is. alone: there is no other backend to rent from."""

    def __init__(
        self,
        backend: Backend,
        journal: Journal,
        settings: Settings,
        consumer_id: str,
        clock: Callable[[], datetime],
        *,
        alone: bool = True,
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._consumer_id = consumer_id
        self._clock = clock
        longest_s = LONGEST_S if alone else _WHERE_OTHERS_RENT_S
        self._limit_s = min(longest_s, settings.timeouts.session)
        self.releaser = Releaser(backend, journal, settings, clock)
        self.monitor = SessionMonitor(backend, settings, self.releaser, clock)
        self._ambiguous = AmbiguousRents(backend, journal, settings, self.releaser, clock)
        self._takeover = Takeover(backend, journal, self.releaser, clock)
        self.resumed = ResumedRents(backend, settings, self._ambiguous, self.releaser, clock)

    async def rent(self, deployment: Deployment, offer: Offer) -> RentAnswer:
        """A rented whose key is on disk. May be cancelled at any time: whoever catches that finds
        in `deployment.rental` what is to be released."""
        intent = intent_for(deployment, offer, self._backend, self._consumer_id, self._clock())
        request = request_for(deployment, offer, intent)
        before = await retrying(self._session_ids, deployment.progress, limit_s=self._limit_s)
        try:
            return await self._until_rented(deployment, _Asked(offer, intent, request, before))
        finally:
            if deployment.rental is None:
                await forget_key(self._settings.keys_dir, intent)

    async def _until_rented(self, deployment: Deployment, asked: _Asked) -> RentAnswer:
        async def ask() -> RentAnswer:
            while True:
                rented = await uninterrupted(self._try(deployment, asked))
                if rented is not None:
                    return rented

        try:
            return await retrying(ask, deployment.progress, limit_s=self._limit_s)
        except BackendError as error:
            raise _given_up(error, asked.offer) from None

    async def _try(self, deployment: Deployment, asked: _Asked) -> RentAnswer | None:
        """One request and what follows from its answer; None: ask again at once.

        After a BackendError nothing of this request is rented.
        """
        # Whoever looks for a session that nobody claims goes by when it was asked for.
        rental = asked.rental = replace(asked.rental, requested_at=self._clock())
        if self._backend.traits.takes_key:
            _, public = await our_key(self._settings.keys_dir, rental)
            asked.request = replace(asked.request, public_key=public)
        await self._remember(deployment, rental)
        try:
            return await self._ask(deployment, rental, asked.request)
        except RentAmbiguous as error:
            return await self._not_answered(deployment, asked, error)
        except InsufficientDisk as error:
            await self._with_bigger_disk(deployment, asked, error)
            return None
        except SessionExists as error:
            return await self._from_earlier(deployment, asked, error)
        except (OfferGone, OfferTaken, BackendUnreachable) as error:
            await self._ambiguous.forget(deployment, rental, why=error.message)
            raise
        except MachineError as error:
            if not _known_rented(deployment):
                broken = not made_nothing(error.message)
                await self._resolve(deployment, asked, error, late=False, broken=broken)
            raise
        except BackendError as error:
            return await self._failed(deployment, asked, error)
        except GdlError:
            raise  # of our own journal or disk: `deployment.rental` tells what was rented
        except Exception as error:
            if not _known_rented(deployment):
                why = GdlError(f"internal error: {type(error).__name__}")
                await self._resolve(deployment, asked, why, late=True)
            raise

    async def _not_answered(
        self, deployment: Deployment, asked: _Asked, error: RentAmbiguous
    ) -> RentAnswer:
        """What the request has made, where that can be used; else raises MachineError."""
        # One that the answer names was refused or made otherwise: it is not what we want.
        looked = error.session_id is None and self._ambiguous.labelled.claims(asked.rental)
        if looked:
            claimed = await self._claim(deployment, asked.rental, error)
            if claimed is not None:
                return claimed
        clean = await self._resolve(deployment, asked, error, late=not looked)
        raise MachineError(
            f"the rent request was not answered ({error.message})",
            f"{'nothing is left rented' if clean else _IN_DOUBT}; the next offer is tried",
        ) from None

    async def _failed(
        self, deployment: Deployment, asked: _Asked, error: BackendError
    ) -> RentAnswer:
        """What the request has made all the same, where that can be used; else raises the error,
        or MachineError where something may be left of it."""
        # Even a refusal may be another's than the service's: one look is cheap. Where it broke
        # down over the request, who knows how far it had come.
        late = not (isinstance(error, BackendRefused) and surely_not(error))
        if late and (claimed := await self._claim(deployment, asked.rental, error)) is not None:
            return claimed
        late = late and not self._ambiguous.labelled.claims(asked.rental)
        if not await self._resolve(deployment, asked, error, late=late):
            # The same offer again might be a second machine.
            raise MachineError(f"{error.message}; {_IN_DOUBT}", _NEXT) from None
        raise error

    async def _with_bigger_disk(
        self, deployment: Deployment, asked: _Asked, error: InsufficientDisk
    ) -> None:
        """Ask for that from now on. Raises MachineError when that was done before."""
        # The row it leaves behind would block the next request.
        await self._resolve(deployment, asked, error, late=False)
        if asked.bigger_disk:
            raise MachineError(error.message, "the next offer is tried") from None
        asked.bigger_disk = True
        asked.request = replace(asked.request, disk_gb=error.recommended_gb)
        deployment.disk_gb = error.recommended_gb
        await deployment.note(f"{error.message}: asking again for {error.recommended_gb} GB")

    async def _from_earlier(
        self, deployment: Deployment, asked: _Asked, error: SessionExists
    ) -> RentAnswer | None:
        """The session that was there already, where it is ours to use; None once it is out of the
        way. Raises SessionExists when it stays there."""
        await self._ambiguous.forget(deployment, asked.rental, why=error.message)
        rented = await self._takeover.adopt(deployment, asked.rental, error)
        if rented is not None:
            return rented
        if asked.way_cleared:
            raise error
        await self._takeover.clear(deployment, asked.rental, error)
        asked.way_cleared = True
        return None

    async def _resolve(
        self,
        deployment: Deployment,
        asked: _Asked,
        why: GdlError,
        *,
        late: bool,
        broken: bool | None = None,
    ) -> bool:
        """See `AmbiguousRents.resolve`."""
        return await self._ambiguous.resolve(
            deployment, asked.rental, asked.offer, asked.before, why, late=late, broken=broken
        )

    async def _ask(
        self, deployment: Deployment, rental: Rental, request: RentRequest
    ) -> RentAnswer:
        """One rent request. Its answer is on disk and in the journal before anything else."""
        rented = await self._backend.rent(request)
        return await self._take(deployment, rental, rented, "the backend answered")

    async def _claim(
        self, deployment: Deployment, rental: Rental, why: BackendError | RentAmbiguous
    ) -> RentAnswer | None:
        """What was rented though the answer did not say so, where label and key tell."""
        session = await self._ambiguous.labelled.claim(deployment, rental, why.message)
        if session is None:
            return None
        await deployment.note(f"{why.message}; session {session.id} bears its label: it is ours")
        return await self._take(deployment, rental, RentAnswer(session), "found by its label")

    async def _take(
        self, deployment: Deployment, rental: Rental, rented: RentAnswer, how: str
    ) -> RentAnswer:
        offered = rental.price
        # In memory first: should the disk refuse the key, the machine is still released.
        billing = Billing.ACTIVE if self._backend.traits.bills else Billing.NONE
        rental = replace(rental, session_id=rented.session.id, billing=billing, seen=True)
        deployment.record.rented(rental)
        key_file = rented.identity_file or ""
        if self._backend.traits.takes_key and not key_file:
            key_file = str(key_path(self._settings.keys_dir, rental))
        if rented.private_key is not None:
            path = key_path(self._settings.keys_dir, rental)
            try:
                key_file = str(await asyncio.to_thread(write_key, path, rented.private_key))
            except GdlError as error:
                why = f"rented, but its key could not be written: {error.message}"
                await deployment.record.note(rental, self._rented(rental, rented.session, why))
                raise
        rental = replace(
            rental,
            key_file=key_file,
            agent_auth=rented.agent_auth,
            alias=rented.config_alias or "",
            work_dir=rented.work_dir or "",
            engine_log=rented.engine_log or "",
            host_key_file=str(host_key_path(self._settings.keys_dir, rental)),
            price=rented.session.price_per_hour or rental.price,
        )
        session = rented.session
        entry = self._rented(rental, session, f"{how}, and its key is on disk")
        await deployment.record.save(rental, entry)
        detail = "the machine is rented" if self._backend.traits.bills else "nothing is billed"
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
        refuse_dearer(session, offered)
        return rented

    async def _remember(self, deployment: Deployment, rental: Rental) -> None:
        """Nothing is asked for before the journal has it. Raises GdlError when it does not."""
        why = f"requesting {rental.offer_id} at {hourly(rental.price)}"
        await deployment.record.intend(rental, self._entry(rental, LedgerKind.REQUESTED, why))
        if rental.billing is Billing.REQUESTED:
            await deployment.emit(
                ev.BillingChanged(
                    deployment.attempt, Billing.REQUESTED, None, "asked for a machine"
                )
            )

    def _rented(self, rental: Rental, session: Session, why: str) -> LedgerEntry | None:
        return self._entry(rental, LedgerKind.RENTED, why, session.created_at)

    def _entry(
        self, rental: Rental, kind: LedgerKind, why: str, service_at: datetime | None = None
    ) -> LedgerEntry | None:
        """For the ledger, where something is billed at all."""
        if not self._backend.traits.bills:
            return None
        return ledger.entry(rental, kind, self._clock(), why, service_at=service_at)

    async def _session_ids(self) -> set[str]:
        if not self._backend.traits.bills or isinstance(self._backend, FindsByLabel):
            return set()
        return {session.id for session in await self._backend.sessions()}


def refuse_dearer(session: Session, offered: float) -> None:
    """Raises MachineError for a machine that costs more dollars an hour than its offer said. One
    whose price is not told (yet) passes."""
    price = session.price_per_hour
    if dearer(price, offered):
        raise MachineError(
            f"the machine costs {hourly(price)}, its offer said {hourly(offered)}",
            "you did not agree to that, so it is being released",
        )


def _known_rented(deployment: Deployment) -> bool:
    """Whether it is known by now what was rented."""
    return deployment.rental is not None and deployment.rental.session_id is not None


def _given_up(error: BackendError, offer: Offer) -> GdlError:
    """A service that breaks down over one offer may do well with another; one that is away, or
    refuses everything, will not."""
    broke = isinstance(error, BackendRefused) and (error.status or 0) >= 500
    if broke or type(error) is BackendError:
        return MachineError(f"offer {offer.id} could not be rented: {error.message}", _NEXT)
    return error
