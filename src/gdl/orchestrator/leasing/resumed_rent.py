"""What a process that is gone has rented, or asked for, taken up by the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from gdl.backends.base import Backend
from gdl.domain import events as ev
from gdl.domain.errors import BackendError, GdlError, MachineError, SessionFailed, SessionGone
from gdl.domain.ledger import LedgerKind
from gdl.domain.offers import Offer
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.session import Session
from gdl.journal import ledger
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing.ambiguous import AmbiguousRents
from gdl.orchestrator.leasing.guarded_ends import ended_by_guard
from gdl.orchestrator.leasing.labelled import cannot_tell
from gdl.orchestrator.leasing.releasing import Releaser
from gdl.orchestrator.leasing.rental_key import answered_by, forget_key, key_path
from gdl.orchestrator.leasing.retry import LONGEST_S, retrying
from gdl.settings import Settings

_NEXT = "the next offer may do better"
_NOTHING_CAME = "requested before the interruption: the backend lists no machine for it"


class ResumedRents:
    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        ambiguous: AmbiguousRents,
        releaser: Releaser,
        clock: Callable[[], datetime],
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._ambiguous = ambiguous
        self._releaser = releaser
        self._clock = clock

    async def take_up(self, deployment: Deployment, offer: Offer) -> Session | None:
        """The session of the deployment's rental, whose key is here; None when its request has
        made nothing. Raises MachineError when it is gone or cannot be entered, in which case
        `deployment.rental` tells what is to be released, ReleaseUnconfirmed when nobody can say
        what the request has made."""
        rental = deployment.rental
        assert rental is not None, "nothing was requested"
        if rental.session_id is None:
            rental = await self._answered(deployment, rental, offer)
            if rental is None:
                return None
        assert rental.session_id is not None
        session_id = rental.session_id
        try:
            session = await retrying(
                lambda: self._backend.session(session_id),
                deployment.progress,
                limit_s=min(LONGEST_S, self._settings.timeouts.session),
            )
        except SessionGone as gone:
            if (ended := await ended_by_guard(self._releaser, rental)) is not None:
                raise ended from None
            raise SessionFailed(f"the machine is gone: {gone.message}", _NEXT) from None
        await self._tell(deployment, rental, session)
        if not session.terminal and not await self._enters(rental):
            raise MachineError(
                f"the key of session {session_id} is lost: the machine cannot be used",
                f"it is being released; {_NEXT}",
            )
        return session

    async def find_out(self, deployment: Deployment, offer: Offer) -> None:
        """Before the end of a deployment whose request has no answer: what it has made is known
        from then on, and is to be released, or was. Raises ReleaseUnconfirmed when nobody can say
        what it has made."""
        rental = deployment.rental
        if rental is None or rental.session_id is not None:
            return
        try:
            made = await self._answered(deployment, rental, offer)
            if made is not None:
                await self._tell(deployment, made, None)
        except MachineError as error:
            await deployment.note(error.message)
        except BackendError as error:
            unsure = cannot_tell(error)
            await self._releaser.doubt(deployment, rental, unsure.message)
            raise unsure from None

    async def _enters(self, rental: Rental) -> bool:
        """Whether we hold what opens the machine."""
        if rental.agent_auth or not self._backend.traits.bills:
            return True
        return bool(rental.key_file) and await asyncio.to_thread(Path(rental.key_file).is_file)

    async def _answered(
        self, deployment: Deployment, rental: Rental, offer: Offer
    ) -> Rental | None:
        """The rental with the session that its request has made: taken over when its key reached
        this computer, destroyed when not. None when nothing of it is left."""
        if not self._backend.traits.bills:
            return None
        if self._ambiguous.labelled.kept(rental):
            return await self._by_label(deployment, rental, offer)
        before = await retrying(
            lambda: self._ambiguous.before(rental),
            deployment.progress,
            limit_s=min(LONGEST_S, self._settings.timeouts.session),
        )
        key = key_path(self._settings.keys_dir, rental)
        if not await asyncio.to_thread(key.is_file):
            useless = "the key of what was rented never arrived here"
            await self._end_it(deployment, rental, offer, before, useless, late=True)
            return None
        session = await self._ambiguous.made_by(deployment, rental, offer, before)
        if session is None:
            await self._ambiguous.forget(deployment, rental, why=_NOTHING_CAME)
            return None
        seen = "its answer reached this computer: found among the backend's sessions, with its key"
        return await self._made(deployment, rental, session, seen)

    async def _by_label(
        self, deployment: Deployment, rental: Rental, offer: Offer
    ) -> Rental | None:
        """As `_answered`, where the label tells which machine it is."""
        if await asyncio.to_thread(key_path(self._settings.keys_dir, rental).is_file):
            session = await self._ambiguous.labelled.claim(
                deployment, rental, "its answer did not arrive before the end"
            )
            if session is not None:
                return await self._made(deployment, rental, session, "found by its label")
        useless = "what was rented cannot be used"
        await self._end_it(deployment, rental, offer, set(), useless, late=False)
        return None

    async def _end_it(
        self,
        deployment: Deployment,
        rental: Rental,
        offer: Offer,
        before: set[str],
        useless: str,
        *,
        late: bool,
    ) -> None:
        """See `AmbiguousRents.resolve`. Raises MachineError unless the request had made nothing.
        useless: why what it made is of no use."""
        why = GdlError("the answer to the rent request did not arrive before the end")
        clean = await self._ambiguous.resolve(deployment, rental, offer, before, why, late=late)
        if not clean or deployment.state.billing is Billing.RELEASED:
            what = "it was released" if clean else "it may still be billing"
            raise MachineError(f"{useless}: {what}", _NEXT)
        await forget_key(self._settings.keys_dir, rental)

    async def _made(
        self, deployment: Deployment, rental: Rental, session: Session, seen: str
    ) -> Rental:
        made = await answered_by(rental, session, self._settings.keys_dir)
        entry = ledger.entry(
            made, LedgerKind.RENTED, self._clock(), seen, service_at=session.created_at
        )
        await deployment.record.save(made, entry)
        return made

    async def _tell(self, deployment: Deployment, rental: Rental, session: Session | None) -> None:
        """What the journal's events lack about the money. session: where it is to be used."""
        number, state = deployment.attempt, deployment.state
        billing, ident = rental.billing, rental.session_id
        assert ident is not None
        if state.billing is not billing:
            await deployment.emit(
                ev.BillingChanged(number, billing, ident, "rented before the interruption")
            )
        if state.attempt is not None and state.attempt.session_id is None:
            await deployment.emit(
                ev.SessionRented(
                    number,
                    ident,
                    rental.provider,
                    rental.price,
                    None if session is None else session.expires_at,
                    since=rental.requested_at if self._backend.traits.bills else None,
                )
            )
