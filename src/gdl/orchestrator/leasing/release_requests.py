"""Asking a backend for the end of a session, within a limit and never in silence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from gdl.backends.base import Backend, FindsByLabel, ProvesAbsence
from gdl.domain.backoff import Backoff
from gdl.domain.errors import BackendRefused, GdlError, SessionGone
from gdl.domain.session import Session, SessionStatus
from gdl.orchestrator.leasing.release_proof import Evidence
from gdl.orchestrator.leasing.retry import wished_s
from gdl.presentation.durations import clock_time
from gdl.settings import Settings

Tell = Callable[[str], Awaitable[None]]

_LONGEST_RETRY_AFTER_S = 60.0
"""A longer Retry-After is not waited for while a machine bills."""
_STUCK_S = 45.0
"""How long a session may be stopping after its end was asked for and that was answered."""
_STUCK_TIMES = 2
_ASK_AGAIN_S = 10.0
"""How long a marketplace may list a machine as it was after its end was asked for."""
_SAY_AGAIN_S = 4.0
_TURN_S = 0.5
_MACHINE_SHOWS_S = 75.0
"""How long a machine that is being made is waited for: until it shows, its end proves nothing."""
_PENDING_S = 0.5
"""How long a session is pending at the most whose machine is about to be asked for."""
_MADE_SOON = (SessionStatus.PENDING, SessionStatus.PROVISIONING)


class _Wait:
    """What is waited for, told when it changes and again every few seconds."""

    def __init__(self, session_id: str, limit_s: float, tell: Tell | None) -> None:
        self._session_id = session_id
        self._limit_s = limit_s
        self._tell = tell
        self._since = time.monotonic()
        self._told_at = 0.0
        self._what = ""

    @property
    def waited_s(self) -> float:
        return time.monotonic() - self._since

    @property
    def left_s(self) -> float:
        return self._limit_s - self.waited_s

    async def on(self, what: str) -> None:
        if what != self._what:
            self._what = what
            await self._say()

    async def beat(self) -> None:
        if self._what and time.monotonic() - self._told_at > _SAY_AGAIN_S:
            await self._say()

    async def _say(self) -> None:
        self._told_at = time.monotonic()
        if self._tell is not None:
            await self._tell(
                f"releasing {self._session_id}: {self._what},"
                f" {clock_time(self.waited_s)} of {clock_time(self._limit_s)}"
            )


def _asked_again(error: GdlError) -> str:
    """What the request met with. A refused key gets no better by itself: what helps is said."""
    refused = isinstance(error, BackendRefused) and error.status in (401, 403)
    helps = f" ({error.hint})" if refused and error.hint else ""
    return f"{error.message}{helps}, asking again"


class ReleaseRequests:
    """Requests for the end of sessions. One that is not answered in time goes on while the program
    runs: to cut it off would leave the session half ended."""

    def __init__(self, backend: Backend, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._backend = backend
        self._settings = settings
        self._clock = clock
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def aclose(self) -> None:
        """Cut off what is still under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def bring_about(
        self, session_id: str, evidence: Evidence, tell: Tell | None, label: str = ""
    ) -> None:
        """Ask until the backend says that the session is over, or until asking is of no more use,
        at the most for `timeouts.release`. What was seen is in the evidence. label: whatever else
        bears it is to end, too. No GdlError."""
        wait = _Wait(session_id, self._settings.timeouts.release, tell)
        if isinstance(self._backend, ProvesAbsence):
            ending = self._until_absent(self._backend, session_id, label, evidence, wait)
        else:
            ending = self._ask(session_id, evidence, wait)
        work = asyncio.ensure_future(ending)
        try:
            while not work.done() and wait.left_s > 0:
                await asyncio.wait({work}, timeout=min(_TURN_S, max(wait.left_s, 0.01)))
                if not work.done():
                    await wait.beat()
        finally:
            in_time = work.done()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            evidence.waited_s = wait.waited_s
        if in_time:
            work.result()
        elif session_id in self._under_way:
            evidence.trouble = (
                f"no answer to that within {clock_time(evidence.waited_s)}; the request "
                "continues as"
                " long as this program runs"
            )

    async def _ask(self, session_id: str, evidence: Evidence, wait: _Wait) -> None:
        await self._look_before(session_id, evidence, wait)
        pauses = Backoff(0.2, 5.0, jitter=(0.8, 1.2))
        answered_at, stuck = 0.0, 0
        while True:
            retry_after = 0.0
            try:
                if not answered_at:
                    await self._request(session_id, evidence, wait)
                    answered_at = time.monotonic()
                session = await self._backend.session(session_id)
                self._saw(evidence, session)
                if session.terminal:
                    return
                evidence.trouble = ""
                if session.status is not SessionStatus.STOPPING:
                    # Asked for, and not even on its way: the answer was not true.
                    answered_at = 0.0
                elif time.monotonic() - answered_at > _STUCK_S:
                    answered_at, stuck = 0.0, stuck + 1
                    if stuck == _STUCK_TIMES:
                        evidence.trouble = "the backend does not resume a release that was cut off"
                        return
                await wait.on(f"it is {session.status}, waiting for its end")
            except SessionGone:
                evidence.gone = True
                return
            except GdlError as error:
                evidence.trouble, answered_at = error.message, 0.0
                retry_after = wished_s(error)
                await wait.on(_asked_again(error))
            await asyncio.sleep(pauses.at_least(min(retry_after, _LONGEST_RETRY_AFTER_S)))

    async def _until_absent(
        self,
        market: ProvesAbsence,
        session_id: str,
        label: str,
        evidence: Evidence,
        wait: _Wait,
    ) -> None:
        """Where what has stopped still bills: until neither the session nor its label is in the
        marketplace's full list."""
        pauses = Backoff(0.2, 5.0, jitter=(0.8, 1.2))
        answered_at = 0.0
        while True:
            retry_after = 0.0
            try:
                if not answered_at:
                    await self._request(session_id, evidence, wait)
                    answered_at = time.monotonic()
                evidence.listed = not await market.absent(session_id, label)
                if not evidence.listed:
                    return
                evidence.trouble = ""
                await self._still_listed(session_id, label, evidence, wait)
                if time.monotonic() - answered_at > _ASK_AGAIN_S:
                    answered_at = 0.0
            except GdlError as error:
                evidence.trouble, answered_at = error.message, 0.0
                retry_after = wished_s(error)
                await wait.on(_asked_again(error))
            await asyncio.sleep(pauses.at_least(min(retry_after, _LONGEST_RETRY_AFTER_S)))

    async def _still_listed(
        self, session_id: str, label: str, evidence: Evidence, wait: _Wait
    ) -> None:
        """The session is there yet, or another one that its request has made: that ends, too."""
        try:
            session = await self._backend.session(session_id)
        except SessionGone:
            others: Sequence[Session] = ()
            if label and isinstance(self._backend, FindsByLabel):
                others = [s for s in await self._backend.labelled(label) if s.id != session_id]
            if not others:
                await wait.on("gone, waiting until it is in no list")
                return
            await wait.on("gone, but the marketplace lists another machine of the same request")
            for other in others:
                await self._backend.release(other.id)
            return
        self._saw(evidence, session)
        await wait.on(f"it is {session.status}, waiting until it is in no list")

    async def _request(self, session_id: str, evidence: Evidence, wait: _Wait) -> None:
        """One request; that of an earlier wait, where it is still under way."""
        task = self._under_way.get(session_id)
        if task is None:
            task = asyncio.ensure_future(self._backend.release(session_id))
            self._under_way[session_id] = task
            task.add_done_callback(lambda done: self._answered(session_id, done))
        evidence.requests += 1
        if not evidence.trouble:  # which says more, until there is an answer
            await wait.on("waiting for the backend to end it")
        began = time.monotonic()
        try:
            await asyncio.shield(task)
            evidence.answered += 1
        finally:
            evidence.took_s = max(evidence.took_s, time.monotonic() - began)

    def _answered(self, session_id: str, task: asyncio.Task[None]) -> None:
        self._under_way.pop(session_id, None)
        if not task.cancelled():
            task.exception()  # told where somebody waits for it

    async def _look_before(self, session_id: str, evidence: Evidence, wait: _Wait) -> None:
        """The session as it is before its end is asked for, where that can be told. What is being
        made is waited for until it shows."""
        if not self._backend.traits.bills:
            return
        longest = min(_MACHINE_SHOWS_S, self._settings.timeouts.release / 8)
        pauses = Backoff(0.1, 2.0)
        while True:
            try:
                session = await self._backend.session(session_id)
            except SessionGone:
                evidence.unknown_before = True
                return
            except GdlError:
                return
            self._saw(evidence, session)
            if evidence.seen or session.status not in _MADE_SOON:
                return
            asked_for = session.status is not SessionStatus.PENDING
            if wait.waited_s > (longest if asked_for else min(longest, _PENDING_S)):
                return
            await wait.on("waiting until its machine shows, which is still being made")
            await asyncio.sleep(next(pauses))

    def _saw(self, evidence: Evidence, session: Session) -> None:
        evidence.look(session)
        evidence.reserved_over = session.time_over(self._clock())
