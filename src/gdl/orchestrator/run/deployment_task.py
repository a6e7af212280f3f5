"""One deployment from its first attempt to its last word."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from gdl.domain.decisions import AfterFailure, AfterServing
from gdl.domain.errors import (
    DeployError,
    GdlError,
    GuardEnded,
    Outbid,
    ReleaseUnconfirmed,
    SessionFailed,
    SpendLimitReached,
    SshError,
    VerificationError,
)
from gdl.domain.offers import Offer
from gdl.domain.phase import Phase
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing.selection import OfferSelection
from gdl.orchestrator.leasing.uninterrupted import uninterrupted
from gdl.orchestrator.run.attempt_calls import Begin, MakeAttempt
from gdl.orchestrator.run.attempt_offer import attempt_started
from gdl.orchestrator.run.ends import begin_to_stop, known_cause, leave, serves, tell_failure
from gdl.orchestrator.run.finishing import finished
from gdl.orchestrator.run.internal_error import internal_error
from gdl.orchestrator.run.next_offer import NextOffer
from gdl.orchestrator.run.planned import tell_plan
from gdl.orchestrator.run.resumed import ENDINGS, Resumed, reach_for_release
from gdl.orchestrator.run.tries import Tries

if TYPE_CHECKING:
    from gdl.orchestrator.run.attempt import Attempt

_NEVER: frozenset[Phase] = frozenset()
_UNLESS_STOPPED = frozenset({Phase.FAILED, Phase.CANCELLED})
_UNREACHED = frozenset({Phase.FAILED})


class DeploymentTask:
    """Owns the attempts of one deployment. `run` never raises for what is expected; when it
    ends, DeploymentFinished was emitted and what was rented is released, kept on purpose, or
    said to be in doubt."""

    def __init__(
        self,
        deployment: Deployment,
        make_attempt: MakeAttempt,
        selection: OfferSelection,
        clock: Callable[[], datetime],
        *,
        rents: bool = True,
    ) -> None:
        self._deployment = deployment
        self._make_attempt = make_attempt
        self._selection = selection
        self._clock = clock
        self._rents = rents
        self._current: Attempt | None = None
        self._spared = _NEVER
        """Phases in which it ends with its machine left as it is."""
        self._leaves = False
        """Whether what serves is being left as it is."""
        self._taken_up: Attempt | None = None
        """The attempt that a process that is gone had begun."""

    async def run(
        self,
        begin: Begin | None = None,
        *,
        resumed: Resumed | None = None,
        backend: str = "",
        why: str = "",
    ) -> None:
        """`begin` replaces the attempts with something that ends in a serving attempt on a
        machine rented earlier, which is then released only when that is asked for. resumed: where
        a process that is gone had come with the current attempt. backend: of what `begin` goes on
        with. why: its engine was chosen, if it was."""
        self._spared = _NEVER if begin is None else _UNLESS_STOPPED
        watching = asyncio.create_task(self._selection.budget.watch(self._deployment))
        try:
            if resumed is not None and resumed.phase in ENDINGS:
                await uninterrupted(self._go_on_ending(resumed))
                return
            if begin is not None:
                await self._attached(begin, backend)
            elif resumed is not None and resumed.serves:
                await self._serve_again(resumed)
            else:
                if resumed is None:
                    await tell_plan(self._deployment, why)
                await self._attempts(resumed)
            await self._after_serving()
        except asyncio.CancelledError:
            over = None if self._deployment.cancelling else self._deployment.over_limit
            await uninterrupted(self._cancelled() if over is None else self._spent(over))
        except GuardEnded as error:
            self._deployment.over_limit = error
            await uninterrupted(self._spent(error))
        except GdlError as error:
            await uninterrupted(self._failed(error))
        except Exception as error:
            await uninterrupted(self._broken(error, traceback.format_exc()))
        finally:
            watching.cancel()

    # -- attempts --------------------------------------------------------------------------------

    async def _attempts(self, resumed: Resumed | None = None) -> None:
        """Return with a serving attempt, or one whose end was decided; or raise why there is none.
        resumed: the first of them."""
        dep = self._deployment
        if resumed is None:
            await self._selection.excluding.include_wanted(dep)
        last: GdlError | None = None
        offer = resumed.offer if resumed is not None else None
        failed: Offer | None = None
        tries = Tries(dep.spec.max_attempts)
        for error in resumed.earlier if resumed is not None else ():
            tries.failed(error)
            last = error
        next_offer = NextOffer(dep, self._selection, rents=self._rents)
        while True:
            if offer is None:
                offer = await next_offer.choose(last, failed, tries)
            dep.adopted, dep.confirmed_tried = False, True
            dep.decisions.begin_attempt()
            dep.ceiling = None
            dep.tries_left = tries.left > 1
            if resumed is None:
                dep.attempt += 1
                await dep.emit(attempt_started(dep.attempt, offer, dep.expected, dep.image))
            taken_up, resumed = resumed, None
            self._current = self._make_attempt(dep, offer.backend)
            try:
                if taken_up is not None:
                    self._taken_up = self._current
                    await taken_up.take_up(dep, self._current)
                else:
                    await self._current.run(offer)
                return
            except GdlError as error:
                if (known := await self._attempt_failed(offer, error)) is None:
                    return
                last = known
                tries.failed(last)
            dep.tries_left = tries.left > 0
            failed, offer = offer, None
            all_gone = tries.all_gone(failed.id)
            if dep.goes_on and dep.decisions.early is None and all_gone is None:
                continue
            if not dep.spec.ask_on_failure:
                raise all_gone or tries.explain(last)
            offer = await next_offer.ask(failed, all_gone)
            tries.begin_again()

    async def _attempt_failed(self, offer: Offer, error: GdlError) -> GdlError | None:
        """Tell, note whom to exclude, release the machine; the error as it is now known, or None
        where its user has ended what served meanwhile, and nothing else is to be rented.
        Raises it when no other offer can help, unless the user has chosen to try."""
        dep = self._deployment
        error = await known_cause(self._current, error)
        if dep.state.attempt is None or dep.state.attempt.failure is None:
            await tell_failure(dep, error)
        if dep.decisions.settle() is not None:
            return None
        await dep.enter(Phase.FAILED, error.message)
        hopeless = await self._selection.excluding.learn(dep, offer, error)
        kept = await uninterrupted(
            self._release_current(close_only=isinstance(error, ReleaseUnconfirmed))
        )
        # Who was asked, and chose another machine all the same, gets it.
        wanted = dep.decisions.early if isinstance(error, DeployError) else None
        if kept or (hopeless and wanted is None):
            raise error
        if hopeless and wanted is not AfterFailure.RETRY:
            await self._selection.excluding.exclude_offer(dep, offer, error)
        return error

    async def _attached(self, begin: Begin, backend: str) -> None:
        """What serves already, until it is held open or its user ends it."""
        await self._deployment.decisions.unless_ended(self._entered(begin, backend))

    async def _entered(self, begin: Begin, backend: str) -> None:
        dep = self._deployment
        dep.attempt = max(dep.attempt, 1)
        self._current = self._taken_up = self._make_attempt(dep, backend)
        try:
            await begin(self._current)
        except GdlError as error:
            error = await known_cause(self._current, error)
            await tell_failure(dep, error)
            raise error from None

    # -- after a process that is gone ------------------------------------------------------------

    async def _serve_again(self, resumed: Resumed) -> None:
        """A machine that served is not released because it cannot be reached from here now, but
        its user may end that at once."""
        dep, self._spared = self._deployment, _UNREACHED
        await self._attached(partial(resumed.take_up, dep), resumed.offer.backend)
        self._spared = _NEVER

    async def _go_on_ending(self, resumed: Resumed) -> None:
        dep = self._deployment
        self._current = self._taken_up = self._make_attempt(dep, resumed.offer.backend)
        self._current.offer = resumed.offer
        if resumed.phase is Phase.CANCELLED:
            await self._cancelled()
        else:
            await self._stop()

    # -- after it serves -------------------------------------------------------------------------

    async def _after_serving(self) -> None:
        dep = self._deployment
        if dep.spec.after == "hold" and dep.decisions.end is None:
            await dep.decisions.unless_ended(self._hold())
        end = dep.decisions.settle()
        keep = dep.spec.after == "keep" if end is None else end is AfterServing.KEEP
        await uninterrupted(self._leave() if keep else self._stop())

    async def _leave(self) -> None:
        """Of what serves nothing ends but our way to it."""
        dep, attempt, self._leaves = self._deployment, self._current, True
        reached = serves(dep, attempt)
        await leave(dep, attempt)
        await self._finish("serving", reached=reached)

    async def _hold(self) -> None:
        """Until the user decides. An interruptible machine that is lost to a higher bid is replaced
        by the next one, within what may be spent."""
        dep = self._deployment
        while True:
            attempt = self._current
            assert attempt is not None
            try:
                await attempt.hold()
                return
            except (DeployError, SessionFailed, SshError, VerificationError) as error:
                cause = await attempt.real_cause(error)
                moves_on = isinstance(cause, Outbid) and dep.auto_failover
                if not moves_on or attempt.offer is None or self._spared:
                    await tell_failure(dep, cause)
                    raise cause from None
            await dep.note(f"{cause.message}: the next offer is taken", "warning")
            if await self._attempt_failed(attempt.offer, cause) is None:
                return
            await self._attempts()

    async def _stop(self) -> None:
        """To the end without a gap in which a cancellation would make another end of it."""
        stops = await begin_to_stop(self._deployment)
        await self._release_current()
        if stops:
            await self._deployment.enter(Phase.STOPPED)
        await self._finish("released")

    async def _release_current(self, *, close_only: bool = False) -> bool:
        """Release what the current attempt rented; True when it was told to keep it.
        close_only: that was tried already, and its failure is being told."""
        attempt, self._current = self._current, None
        if attempt is None:
            return False
        dep = self._deployment
        rented = dep.rental is not None and dep.rental.session_id is not None
        kept = rented and dep.spec.keep_on_failure and dep.state.phase is Phase.FAILED
        told = dep.over_limit is not None or dep.decisions.end is AfterServing.RELEASE
        spared = self._leaves or (dep.state.phase in self._spared and not told)
        if kept or spared or close_only:
            await leave(dep, attempt)
            return kept
        if attempt is self._taken_up:
            await reach_for_release(dep, attempt)
        await attempt.release()
        dep.record.clear()
        return False

    # -- ends ------------------------------------------------------------------------------------

    async def _cancelled(self) -> None:
        dep = self._deployment
        await dep.channel.settled()
        if dep.state.finished is not None:
            return
        if dep.decisions.settle() is AfterServing.KEEP:
            await self._leave()
            return
        if dep.state.phase not in (Phase.CANCELLED, Phase.STOPPED):
            await dep.enter(Phase.CANCELLED)
        error: GdlError | None = None
        try:
            await self._release_current()
        except GdlError as trouble:
            error = trouble
        await self._finish("cancelled", error)

    async def _spent(self, error: SpendLimitReached) -> None:
        """What may be spent is: an end like any other, with its reason."""
        dep = self._deployment
        await dep.channel.settled()
        if dep.state.finished is not None:
            return
        gone = isinstance(error, GuardEnded)
        if dep.decisions.settle() is AfterServing.KEEP and not gone:
            await self._leave()
            return
        released = "" if gone else ": the machine is being released"
        await dep.note(error.message + released, "warning")
        stops = await begin_to_stop(dep, error.message)
        try:
            await self._release_current()
        except GdlError as trouble:
            await self._failed(trouble)
            return
        if stops:
            await dep.enter(Phase.STOPPED)
        await self._finish("released", error)

    async def _broken(self, error: Exception, trace: str) -> None:
        """A defect of ours: written down, and then an end like any other."""
        await self._failed(await internal_error(self._deployment.log_dir, error, trace))

    async def _failed(self, error: GdlError) -> None:
        dep = self._deployment
        await dep.channel.settled()
        if dep.state.finished is not None:
            return
        self._leaves = self._leaves or dep.decisions.settle() is AfterServing.KEEP
        if dep.state.phase not in (Phase.FAILED, Phase.STOPPED, Phase.CANCELLED):
            await dep.enter(Phase.FAILED, error.message)
        try:
            await self._release_current(close_only=isinstance(error, ReleaseUnconfirmed))
        except GdlError as trouble:
            await dep.note(f"{trouble.message}; {trouble.hint}", "error")
        await self._finish("cancelled" if dep.cancelling else "failed", error)

    async def _finish(
        self, outcome: str, error: GdlError | None = None, *, reached: bool = True
    ) -> None:
        dep, now = self._deployment, self._clock()
        await self._selection.close(dep)
        await dep.emit(finished(dep, outcome, error, now, rents=self._rents, reached=reached))
