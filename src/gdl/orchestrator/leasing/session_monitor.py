"""Whether a rented machine comes up, stays, or is gone: what its backend says of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

from gdl.backends.base import Backend
from gdl.domain.backoff import Backoff
from gdl.domain.errors import (
    BackendError,
    Cancelled,
    GdlError,
    Outbid,
    SessionFailed,
    SessionGone,
)
from gdl.domain.rental import Rental
from gdl.domain.session import Session, SessionStatus
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing.guarded_ends import ended_by_guard
from gdl.orchestrator.leasing.releasing import Releaser
from gdl.orchestrator.leasing.retry import overloaded, wished_s
from gdl.presentation.durations import clock_time
from gdl.settings import Settings

_NEXT = "the next offer may do better"
_BID_MORE = "the next offer may last longer; or bid more, or use a machine on demand"
TIME_OVER = "its reserved time was over"
RESERVE_LONGER = "reserve longer with --hours, or extend a session with `gdl-tui extend`"
_EARLIER, _AT_LEAST = 0.9, 0.5
"""Shares of a backend's own limit: a machine is given up before the backend does it, because the
backend does not look whether the machine is gone then; but not much earlier."""
_AWAY_S = 180.0
"""How long a backend may be away while a machine is awaited: one that restarts after a crash may
find its port taken for two minutes."""
_LOOK_S = 5.0
"""Between two looks at an interruptible machine: one that stands still is noticed by its connection
after most of a minute."""
_WATCH_S = 0.5
"""After the connection is lost: until the backend is asked what became of the machine."""


class SessionMonitor:
    """Asks the backend about machines that were rented from it."""

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        releaser: Releaser,
        clock: Callable[[], datetime],
    ) -> None:
        self._clock = clock
        self._backend = backend
        self._settings = settings
        self._releaser = releaser

    async def wait_running(self, deployment: Deployment, session: Session) -> Session:
        """Poll until the session can be entered. Raises SessionFailed, or BackendError when the
        backend stays away."""
        limit, hint = self._limit(session)
        started = answered = time.monotonic()
        pauses = Backoff(0.2, 5.0, jitter=(0.9, 1.1))
        trouble, retry_after = "", 0.0
        while session.status is not SessionStatus.RUNNING or session.ssh is None:
            if session.terminal or session.status is SessionStatus.STOPPING:
                raise await self._unexpected_end(deployment, session)
            elapsed = time.monotonic() - started
            if elapsed > limit:
                raise SessionFailed(f"the machine was not ready within {clock_time(limit)}", hint)
            said = f"the backend does not answer ({trouble})" if trouble else str(session.status)
            await deployment.progress(
                f"{session.provider}: {said}, SSH not up yet,"
                f" {clock_time(elapsed)} of {clock_time(limit)}",
                elapsed / limit,
            )
            left = max(limit - elapsed, 0.0)
            await asyncio.sleep(min(pauses.at_least(min(retry_after, left)), left + 0.01))
            try:
                session = await self._backend.session(session.id)
                answered, trouble, retry_after = time.monotonic(), "", 0.0
            except SessionGone as error:
                raise SessionFailed(f"the machine is gone: {error.message}", _NEXT) from None
            except BackendError as error:
                trouble = error.message
                retry_after = wished_s(error)
                if overloaded(error):
                    answered = time.monotonic()
                if time.monotonic() - answered > min(_AWAY_S, limit):
                    raise
        return session

    def _limit(self, session: Session) -> tuple[float, str]:
        """How many seconds a machine is awaited, and what to say when they are over."""
        limit, gives_up = self._settings.timeouts.session, self._backend.traits.gives_up_s
        if not gives_up:
            return limit, f"{_NEXT}; GDL_TIMEOUTS__SESSION sets the limit"
        age = 0.0
        if session.created_at is not None:
            age = max((self._clock() - session.created_at).total_seconds(), 0.0)
        own = max(gives_up * _EARLIER - age, gives_up * _AT_LEAST)
        if own >= limit:
            return limit, f"{_NEXT}; GDL_TIMEOUTS__SESSION sets the limit"
        return own, f"{_NEXT}; the backend gives up after {clock_time(gives_up)} itself"

    async def watch(self, deployment: Deployment, out_of_reach: asyncio.Event) -> GdlError:
        """Returns once the machine is out of reach and its backend says that it is over: why."""
        pauses = Backoff(_WATCH_S, 5.0)
        nothing = GdlError("the machine is there")
        while True:
            if not await self._time_to_look(deployment, out_of_reach):
                await asyncio.sleep(next(pauses))
                if not out_of_reach.is_set():
                    pauses.reset()
                    continue
            found = await self.real_cause(deployment, nothing)
            if found is not nothing:
                return found

    @staticmethod
    async def _time_to_look(deployment: Deployment, out_of_reach: asyncio.Event) -> bool:
        """Wait until there is reason to ask. True: the machine is interruptible, and was not looked
        at for some seconds; False: it is out of reach."""
        rental = deployment.rental
        often = rental is not None and rental.bid is not None
        try:
            async with asyncio.timeout(_LOOK_S if often else None):
                await out_of_reach.wait()
        except TimeoutError:
            return True
        return False

    async def real_cause(
        self, deployment: Deployment, error: GdlError, *, cut: bool = True
    ) -> GdlError:
        """Why a machine stopped answering, or its server ended, when its backend or our record
        knows: it is gone. cut: it is out of reach; else it told us itself what is wrong, and only
        of one that nobody destroys our record knows better."""
        rental = deployment.rental
        if rental is None or rental.session_id is None:
            return error
        if not self._backend.traits.bills:
            return await self._destroyed_elsewhere(rental) or error
        if not cut:
            return error
        try:
            session = await self._backend.session(rental.session_id)
        except SessionGone as gone:
            ended = await ended_by_guard(self._releaser, rental)
            return ended or SessionFailed(f"the machine is gone: {gone.message}", _NEXT)
        except GdlError:
            return error
        if session.terminal or session.status is SessionStatus.STOPPING:
            return await self._unexpected_end(deployment, session, "the machine is gone: ")
        return error

    async def _unexpected_end(
        self, deployment: Deployment, session: Session, what: str = ""
    ) -> GdlError:
        """Why a session is over that should not be."""
        rental = deployment.rental
        if rental is not None and (elsewhere := await self._destroyed_elsewhere(rental)):
            return elsewhere
        if session.outbid:
            return Outbid(f"{what}{session.error or 'somebody else bids more for it'}", _BID_MORE)
        if rental is not None and (ended := await ended_by_guard(self._releaser, rental)):
            return ended
        if session.time_over(self._clock()):
            return SessionFailed(f"{what}{TIME_OVER}", RESERVE_LONGER)
        said = session.error or "no reason given"
        return SessionFailed(f"{what}session {session.status}: {said}", _NEXT)

    async def refuse_destroyed(self, deployment: Deployment) -> None:
        """Raises Cancelled where another process has ended, or is ending, what runs on a machine
        that nobody destroys: nothing else would tell."""
        rental = deployment.rental
        if rental is None or self._backend.traits.bills:
            return
        if (gone := await self._destroyed_elsewhere(rental)) is not None:
            raise gone

    async def _destroyed_elsewhere(self, rental: Rental) -> Cancelled | None:
        if not await self._releaser.settled_elsewhere(rental):
            return None
        what = f"session {rental.session_id} was destroyed by another gdl-tui"
        return Cancelled(what, "deploy again")
