"""The guards of what is rented from one backend: what they are to do, the keys they do it with, and
whether one of them has ended its machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from gdl.backends.base import Backend, EndsFromMachine, Extends
from gdl.domain.errors import GdlError
from gdl.domain.guard import Guard, ended_by_guard
from gdl.domain.rental import Rental
from gdl.domain.secret import Secret
from gdl.journal import guards as journaled
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing import process_liveness

_REVOKE_S = 10.0


def what_can_end(backend: Backend) -> str:
    """What a guard on this backend's machines can end; see `Guard.ends`. "" for nothing."""
    if isinstance(backend, EndsFromMachine):
        return "machine"
    if not backend.traits.bills:
        return "server"
    return "reservation" if isinstance(backend, Extends) else ""


class Guards:
    def __init__(self, backend: Backend, journal: Journal, clock: Callable[[], datetime]) -> None:
        self._backend = backend
        self._journal = journal
        self._clock = clock
        self._revoking: set[asyncio.Task[None]] = set()

    # -- what a guard is to do ---------------------------------------------------------------------

    @property
    def ends(self) -> str:
        """See `what_can_end`."""
        return what_can_end(self._backend)

    async def wanted(self, deployment: Deployment, rental: Rental) -> Guard | None:
        """What is to guard the machine of a deployment, with what is known of it; None where
        nothing is asked for, or nothing can be done. Whoever goes on with a machine goes on with
        its guard."""
        spec, state = deployment.spec, deployment.state
        attempt = state.attempt
        if not self.ends or attempt is None or attempt.rented_at is None:
            return None
        known = await self.of(rental) or Guard(self.ends, attempt.rented_at)
        now = self._clock()
        others = sum(each.cost(now) for each in state.attempts[:-1])
        max_spend, siblings = spec.max_spend, deployment.siblings
        if siblings is not None:
            max_spend = siblings.limit_of(deployment.id, now)
        guard = replace(
            known,
            price=attempt.price_per_hour,
            max_spend=max_spend,
            spent_before=round(spec.spent_before + others + attempt.apart_from_time, 6),
            idle_minutes=spec.idle_minutes or known.idle_minutes,
            unseen_hours=spec.unseen_hours or known.unseen_hours,
        )
        return guard if guard.wants else None

    async def of(self, rental: Rental) -> Guard | None:
        return await journaled.of_rental(self._journal, rental.intent_id)

    async def remember(self, rental: Rental, guard: Guard) -> None:
        await journaled.remember(self._journal, rental.intent_id, guard)

    # -- keys --------------------------------------------------------------------------------------

    async def with_way(self, rental: Rental, guard: Guard) -> tuple[Guard, Secret | None]:
        """The guard with the request by which its machine ends itself, journaled with what is to be
        revoked before the machine has it; and the key of that request. Raises GdlError."""
        backend = self._backend
        if guard.ends != "machine" or not isinstance(backend, EndsFromMachine):
            return guard, None
        earlier = guard.ref
        found = await backend.self_release(rental.session_id or "")
        guard = replace(
            guard,
            method=found.method,
            url=found.url,
            key_variable=found.key_variable,
            ref=found.ref,
        )
        await self.remember(rental, guard)
        if earlier and earlier != found.ref:
            with contextlib.suppress(GdlError):
                await backend.revoke(earlier)
        return guard, found.key

    def revoke_later(self, rental: Rental) -> None:
        """The machine is gone: what could end it is to be worth nothing. `aclose` waits for it."""
        if isinstance(self._backend, EndsFromMachine):
            task = asyncio.create_task(self._revoke(rental))
            self._revoking.add(task)
            task.add_done_callback(self._revoking.discard)

    async def _revoke(self, rental: Rental) -> None:
        """What fails is done at the next start: what is to be revoked stays journaled."""
        with contextlib.suppress(GdlError, TimeoutError):
            async with asyncio.timeout(_REVOKE_S):
                guard = await self.of(rental)
                if guard is None or not guard.ref or not isinstance(self._backend, EndsFromMachine):
                    return
                await self._backend.revoke(guard.ref)
                latest = await self.of(rental) or guard
                await self.remember(rental, replace(latest, ref=""))

    async def revoke_left(self, rentals: Sequence[Rental]) -> None:
        """The keys of machines that are gone, which an earlier process could not revoke."""
        if not isinstance(self._backend, EndsFromMachine):
            return
        known = await journaled.known(self._journal)
        for rental in rentals:
            guard = known.get(rental.intent_id)
            if guard is not None and guard.ref and not rental.open:
                await self._revoke(rental)

    async def aclose(self) -> None:
        if self._revoking:
            await asyncio.wait(self._revoking, timeout=_REVOKE_S)

    # -- ends --------------------------------------------------------------------------------------

    async def end_of(self, rental: Rental) -> Guard | None:
        """The guard of a machine that is gone and whose end nobody here has asked for, when it must
        have been the guard; journaled as such. None: it was not, or nobody can say."""
        guard = await self.of(rental)
        if guard is None or guard.ended:
            return guard
        ended = ended_by_guard(guard, self._clock())
        if ended is not None:
            await self.remember(rental, ended)
        return ended

    async def unwatched(self, rentals: Sequence[Rental]) -> list[Rental]:
        """The open rentals with a guard that may have ended them by now, and on which no process
        of ours works: it would see that by itself."""
        known = await journaled.known(self._journal)
        found, now = [], self._clock()
        for rental in rentals:
            guard = known.get(rental.intent_id)
            if not rental.open or guard is None or ended_by_guard(guard, now) is None:
                continue
            holders = await self._journal.holders(rental.session_id or "")
            if not any(process_liveness.runs(each) for each in holders):
                found.append(rental)
        return found
