"""Releasing machines, and not believing it before the backend says so."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from gdl.backends.base import Backend
from gdl.domain import events as ev
from gdl.domain.backoff import Backoff
from gdl.domain.errors import (
    BackendRefused,
    GdlError,
    ReleaseUnconfirmed,
    SessionGone,
)
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.session import Session, SessionStatus
from gdl.journal import public_endpoints
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.presentation.durations import clock_time
from gdl.settings import Settings

T = TypeVar("T")
Tell = Callable[[str], Awaitable[None]]

_LONGEST_RETRY_AFTER_S = 60.0
"""A longer Retry-After is not waited for while a machine bills."""
_STUCK_S = 60.0
_OUT_OF_SIGHT = "reconciliation"
"""In the reason of sessions that a backend ended because it no longer saw their machine."""


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end even when we are cancelled meanwhile, and more than once; then the
    cancellation goes on, or the ReleaseUnconfirmed that `work` ended with, which matters more.
    Only for work that is bounded in time by itself."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                continue
        if not task.cancelled() and isinstance(task.exception(), ReleaseUnconfirmed):
            return task.result()
        raise


@dataclass(frozen=True, slots=True)
class Ending:
    """How a session was found to be over. by_itself: before we asked for it. doubt: why its end
    proves nothing about the machine, or ""."""

    by_itself: bool
    doubt: str = ""


class Releaser:
    """Releases what was rented, and keeps the journal's word about its billing."""

    def __init__(
        self,
        backend: Backend,
        journal: Journal,
        settings: Settings,
        clock: Callable[[], datetime],
    ) -> None:
        self._backend = backend
        self._journal = journal
        self._settings = settings
        self._clock = clock

    async def release(self, deployment: Deployment, rental: Rental) -> None:
        """Release a session and wait for the proof. Raises ReleaseUnconfirmed."""
        if rental.session_id is None or rental.released_at is not None:
            return
        await deployment.progress(f"releasing {rental.session_id}")
        try:
            ending = await self.confirm_gone(rental.session_id, deployment.progress)
        except ReleaseUnconfirmed as error:
            await self.doubt(deployment, rental, error.message)
            raise
        if ending.doubt and not await self.settled_elsewhere(rental):
            deployment.doubts.append(rental.session_id)
            await self.doubt(deployment, rental, ending.doubt)
            await deployment.note(
                f"session {rental.session_id}: {ending.doubt}; look at the marketplace's own"
                f" console, then `gdl-tui destroy {rental.session_id}`",
                "warning",
            )
            return
        billing = Billing.RELEASED if self._backend.traits.bills else Billing.NONE
        await deployment.record.note(await self._written_off(rental, billing))
        await deployment.emit(
            ev.BillingChanged(
                rental.attempt, billing, rental.session_id, "the backend confirmed that it is gone"
            )
        )

    async def release_session(self, session_id: str) -> None:
        """The same for a session without a deployment in this process. The user asked for it by
        name, so an end that proves nothing counts as well."""
        announced = await self._announce(session_id)
        try:
            await self.confirm_gone(session_id)
        except BaseException:
            await uninterrupted(self._take_back(announced))
            raise
        await self.settle(session_id)

    async def _announce(self, session_id: str) -> list[Rental]:
        """Journal that the end is being asked for: a process that works on the machine then knows
        why it goes. The rentals as they were."""
        if not self._backend.traits.bills:
            return []
        found = [r for r in await self._journal.rentals() if r.session_id == session_id and r.open]
        for rental in found:
            await self._journal.save(replace(rental, billing=Billing.UNKNOWN))
        return found

    async def _take_back(self, announced: list[Rental]) -> None:
        """The end did not come: whoever works on the machine is not to believe that it did."""
        now = {r.intent_id: r for r in await self._journal.rentals()}
        for was in announced:
            written = now.get(was.intent_id, was)
            if written.billing is Billing.UNKNOWN and written.released_at is None:
                await self.save(replace(written, billing=was.billing))

    async def settle(self, session_id: str) -> None:
        """Write off whatever the journal holds of a session that is gone."""
        for rental in await self._journal.rentals():
            if rental.session_id == session_id and rental.open:
                billing = Billing.RELEASED if self._backend.traits.bills else Billing.NONE
                await self.save(await self._written_off(rental, billing))

    async def settled_elsewhere(self, rental: Rental) -> bool:
        """Whether another process has released this session meanwhile, or is doing so, at its
        user's wish."""
        try:
            rentals = await self._journal.rentals()
        except GdlError:
            return False
        written = next((r for r in rentals if r.intent_id == rental.intent_id), rental)
        asked = written.billing is Billing.UNKNOWN and rental.billing is Billing.ACTIVE
        return written.released_at is not None or asked

    async def doubt(self, deployment: Deployment, rental: Rental, why: str) -> None:
        """Journal and say that nobody knows whether a machine still bills."""
        billing = Billing.UNKNOWN if self._backend.traits.bills else Billing.NONE
        rental = replace(rental, billing=billing)
        await deployment.record.note(rental)
        await deployment.emit(ev.BillingChanged(rental.attempt, billing, rental.session_id, why))

    async def _written_off(self, rental: Rental, billing: Billing) -> Rental:
        """The rental of a session that is gone. Its keys, which open nothing any more, go too. A
        key that the user named stays, also where it is the one of another rental."""
        ours = self._settings.keys_dir
        for name in (rental.key_file, rental.api_key_file, rental.host_key_file):
            path = Path(name)
            if name and path.parent == ours and path.name.startswith(rental.intent_id):
                await asyncio.to_thread(_remove, path)
        with contextlib.suppress(GdlError):
            await public_endpoints.forget(self._journal, rental.session_id or "")
        return replace(
            rental, billing=billing, released_at=self._clock(), key_file="", api_key_file=""
        )

    async def save(self, rental: Rental) -> None:
        """What happened has happened, whether or not the journal takes it; the channel tells
        when it does not."""
        try:
            await self._journal.save(rental)
        except GdlError:
            return

    async def confirm_gone(self, session_id: str, tell: Tell | None = None) -> Ending:
        """Ask for the end until the backend says that the session is over."""
        started = time.monotonic()
        limit = self._settings.timeouts.release
        before = await self._glance(session_id)
        pauses = Backoff(0.2, 10.0, jitter=(0.8, 1.2))
        asked_at, trouble, retry_after = 0.0, "it still runs", 0.0
        while True:
            try:
                if not asked_at:
                    await self._backend.release(session_id)
                    asked_at = time.monotonic()
                session = await self._backend.session(session_id)
                if session.terminal:
                    return _ending(before, session)
                trouble, retry_after = f"it is {session.status}", 0.0
                # Asked for, and not even on its way: the answer was not true. On its way for
                # long: asking again resumes an end that got stuck.
                stuck = time.monotonic() - asked_at > _STUCK_S
                if session.status is not SessionStatus.STOPPING or stuck:
                    asked_at = 0.0
            except SessionGone:
                return Ending(before is not None and before.terminal)
            except GdlError as error:
                trouble, asked_at = error.message, 0.0
                # Lost sight of before a request of ours got through: no end of our making.
                seen = await self._glance(session_id)
                before = seen if seen is not None and _out_of_sight(seen) else before
                retry_after = error.retry_after or 0.0 if isinstance(error, BackendRefused) else 0.0
            waited = time.monotonic() - started
            if waited > limit:
                raise ReleaseUnconfirmed(
                    f"session {session_id} could not be released: {trouble}",
                    f"it may still be billing: try `gdl-tui destroy {session_id}`,"
                    " or the marketplace's own console",
                )
            if tell is not None:
                await tell(
                    f"releasing {session_id}: {trouble}, asking again,"
                    f" {clock_time(waited)} of {clock_time(limit)}"
                )
            await asyncio.sleep(pauses.at_least(min(retry_after, _LONGEST_RETRY_AFTER_S)))

    async def _glance(self, session_id: str) -> Session | None:
        """The session as it is before we ask for its end, where that can be told."""
        if not self._backend.traits.bills:
            return None
        try:
            return await self._backend.session(session_id)
        except GdlError:
            return None


def _ending(before: Session | None, now: Session) -> Ending:
    """A backend that says "stopped" of its own accord, giving no reason or that it lost sight of
    the machine, has not ended it: the machine may be there and bill."""
    by_itself = before is not None and before.terminal
    if _out_of_sight(now) and (by_itself or before is None):
        return Ending(True, f"the backend lost sight of it ({now.error})")
    if not by_itself:
        return Ending(False)
    if now.status is SessionStatus.STOPPED and not now.error:
        return Ending(True, "it stopped without our asking, and nobody says why")
    return Ending(True)


def _out_of_sight(session: Session) -> bool:
    return session.terminal and _OUT_OF_SIGHT in (session.error or "").casefold()


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
