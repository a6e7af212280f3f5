"""One deployment from its first attempt to its last word."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

from gdl.domain import events as ev
from gdl.domain.deployment import AttemptState
from gdl.domain.errors import DeployError, GdlError, NoSuitableOffer
from gdl.domain.events import Billing, Phase
from gdl.domain.models import AttemptSummary, Offer
from gdl.orchestrator import failover
from gdl.orchestrator.deployment import Deployment
from gdl.orchestrator.pipeline import Attempt
from gdl.orchestrator.renting import uninterrupted

MakeAttempt = Callable[[Deployment], Attempt]
Choose = Callable[[Deployment], Awaitable[Offer]]
Begin = Callable[[Attempt], Awaitable[None]]


class Runner:
    """Owns the attempts of one deployment. `run` never raises for what is expected; when it
    ends, DeploymentFinished was emitted and what was rented is given back, kept on purpose, or
    said to be in doubt."""

    def __init__(
        self,
        deployment: Deployment,
        make_attempt: MakeAttempt,
        choose: Choose,
        clock: Callable[[], datetime],
    ) -> None:
        self._deployment = deployment
        self._make_attempt = make_attempt
        self._choose = choose
        self._clock = clock
        self._current: Attempt | None = None
        self._attached_only = False

    async def run(self, begin: Begin | None = None) -> None:
        """`begin` replaces the attempts with something that ends in a serving attempt on a
        machine rented earlier, which is then given back only when that is asked for."""
        self._attached_only = begin is not None
        try:
            if begin is None:
                await self._attempts()
            else:
                await self._attached(begin)
            await self._after_serving()
        except asyncio.CancelledError:
            await uninterrupted(self._cancelled())
        except GdlError as error:
            await uninterrupted(self._failed(error))
        except Exception as error:
            trace = traceback.format_exc()
            path = self._deployment.log_dir / "internal-error.txt"
            await asyncio.to_thread(_write_text, path, trace)
            await uninterrupted(
                self._failed(
                    GdlError(f"internal error: {type(error).__name__}: {error}", f"details: {path}")
                )
            )

    # -- attempts --------------------------------------------------------------------------------

    async def _attempts(self) -> None:
        """Return with a serving attempt, or raise why there is none."""
        dep = self._deployment
        offer: Offer | None = None
        last: GdlError | None = None
        tries = 0
        while True:
            if offer is None:
                try:
                    offer = await self._choose(dep)
                except NoSuitableOffer as error:
                    if last is None:
                        raise
                    await dep.note(f"{error.message}; {error.hint}", "warning")
                    raise last from None
            dep.attempt += 1
            tries += 1
            await dep.emit(_attempt_started(dep.attempt, offer))
            self._current = self._make_attempt(dep)
            try:
                await self._current.run(offer)
                return
            except GdlError as error:
                await self._attempt_failed(offer, error)
                if failover.ends_everything(error):
                    raise
                last = error
            failed, offer = offer, None
            if dep.spec.auto_failover and tries < dep.spec.max_attempts:
                continue
            if not dep.spec.ask_on_failure:
                raise last
            offer = await self._ask_user(failed)
            tries = 0

    async def _attempt_failed(self, offer: Offer, error: GdlError) -> None:
        """Tell, give the machine back, and note whom to leave out."""
        dep = self._deployment
        await dep.emit(
            ev.AttemptFailed(dep.attempt, dep.state.phase, error.kind, error.message, error.hint)
        )
        await dep.enter(Phase.FAILED, error.message)
        failover.leave_out(dep, offer, error)
        await uninterrupted(self._give_back())

    async def _ask_user(self, failed: Offer) -> Offer | None:
        """Wait for a choice; the offer to take, or None for the next of a fresh list."""
        dep = self._deployment
        dep.choice = asyncio.get_running_loop().create_future()
        await dep.note("waiting for a choice: retry, next offer, or exclude the provider")
        try:
            choice = await dep.choice
        finally:
            dep.choice = None
        if choice == "retry":
            return failed
        if choice == "exclude":
            dep.excluded_providers[failed.provider] = f"provider {failed.provider} excluded by you"
        return None

    async def _attached(self, begin: Begin) -> None:
        dep = self._deployment
        dep.attempt = 1
        self._current = self._make_attempt(dep)
        try:
            await begin(self._current)
        except GdlError as error:
            await dep.emit(
                ev.AttemptFailed(1, dep.state.phase, error.kind, error.message, error.hint)
            )
            raise

    # -- after it serves -------------------------------------------------------------------------

    async def _after_serving(self) -> None:
        dep, attempt = self._deployment, self._current
        assert attempt is not None
        after = dep.spec.after
        if after == "hold":
            try:
                after = await attempt.hold()
            except DeployError as error:
                await dep.emit(
                    ev.AttemptFailed(
                        dep.attempt, dep.state.phase, error.kind, error.message, error.hint
                    )
                )
                raise
        if after == "keep":
            await attempt.close()
            await self._finish("serving")
            return
        await dep.enter(Phase.STOPPING)
        await uninterrupted(self._give_back())
        await dep.enter(Phase.STOPPED)
        await self._finish("released")

    async def _give_back(self) -> None:
        """Release what the current attempt rented, unless told to keep it."""
        attempt, self._current = self._current, None
        if attempt is None:
            return
        dep = self._deployment
        kept = dep.spec.keep_on_failure and dep.state.phase is Phase.FAILED
        if kept or (self._attached_only and dep.state.phase is not Phase.STOPPING):
            await attempt.close()
            return
        await attempt.release()
        dep.rental = None

    # -- ends ------------------------------------------------------------------------------------

    async def _cancelled(self) -> None:
        dep = self._deployment
        if dep.state.finished is not None:
            return
        if dep.state.phase not in (Phase.CANCELLED, Phase.STOPPED):
            await dep.enter(Phase.CANCELLED)
        error: GdlError | None = None
        try:
            await self._give_back()
        except GdlError as trouble:
            error = trouble
        await self._finish("cancelled", error)

    async def _failed(self, error: GdlError) -> None:
        dep = self._deployment
        if dep.state.phase not in (Phase.FAILED, Phase.STOPPED, Phase.CANCELLED):
            await dep.enter(Phase.FAILED, error.message)
        try:
            await self._give_back()
        except GdlError as trouble:
            await dep.note(f"{trouble.message}; {trouble.hint}", "error")
        await self._finish("cancelled" if dep.cancelling else "failed", error)

    async def _finish(self, outcome: str, error: GdlError | None = None) -> None:
        dep = self._deployment
        state = dep.state
        serving = outcome == "serving"
        latest = state.attempt
        await dep.emit(
            ev.DeploymentFinished(
                outcome=outcome,
                endpoint=state.endpoint,
                model=state.served_name or dep.model.served_name,
                session_id=latest.session_id if latest else None,
                billing=state.billing,
                attempts=tuple(
                    self._summary(a, outcome if a is latest else "failed") for a in state.attempts
                ),
                benchmark=state.benchmark,
                error=None if error is None or serving else error.message,
                hint=None if error is None or serving else error.hint,
                kind="" if error is None else error.kind,
            )
        )

    def _summary(self, attempt: AttemptState, ended: str) -> AttemptSummary:
        now = self._clock()
        reason = attempt.failure.message if attempt.failure else ""
        passed = [phase for phase, _ in attempt.phases if phase not in _NO_PROGRESS]
        until = attempt.phases[-1][1] if attempt.phases and ended == "failed" else now
        return AttemptSummary(
            number=attempt.number,
            offer_id=attempt.offer_id,
            provider=attempt.provider,
            gpu_name=attempt.gpu_name,
            gpu_count=attempt.gpu_count,
            price_per_hour=attempt.price_per_hour,
            session_id=attempt.session_id,
            phase_reached=str(passed[-1]) if passed else str(Phase.PLANNED),
            ended="failed" if attempt.failure else ended,
            reason=reason,
            seconds=round((until - attempt.started_at).total_seconds(), 1),
            cost=round(attempt.cost(now), 6) if self._bills() else 0.0,
        )

    def _bills(self) -> bool:
        return self._deployment.state.billing is not Billing.NONE


_NO_PROGRESS = frozenset({Phase.FAILED, Phase.CANCELLED, Phase.STOPPING, Phase.STOPPED})


def _attempt_started(number: int, offer: Offer) -> ev.AttemptStarted:
    return ev.AttemptStarted(
        number,
        offer.id,
        offer.provider,
        offer.gpu_name,
        offer.gpu_count,
        offer.vram_gb,
        offer.price_per_hour,
        offer.location,
    )


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(text, encoding="utf-8")
