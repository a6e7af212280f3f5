"""The summary at the end: each attempt with its offer, time, money, and why it ended."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from gdl.domain.attempt_state import AttemptState
from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import GdlError
from gdl.domain.events import DeploymentFinished
from gdl.domain.phase import Billing, Phase
from gdl.domain.summary import AttemptSummary
from gdl.presentation.endings import money_words, reason_words

_LIMITS = ("spend_limit", "guard_ended")
"""Kinds of errors that tell why what served was released."""
_NO_PROGRESS = frozenset({Phase.FAILED, Phase.CANCELLED, Phase.STOPPING, Phase.STOPPED})


def summaries(
    state: DeploymentState,
    outcome: str,
    error: GdlError | None,
    now: datetime,
    *,
    rents: bool,
    doubts: Collection[str] = (),
) -> tuple[AttemptSummary, ...]:
    """One line per attempt. `outcome` and `error` are those of the whole deployment. doubts:
    sessions of earlier attempts that may still be billing."""
    lines = []
    for attempt in state.attempts:
        last = attempt is state.attempts[-1]
        ended = "failed" if attempt.failure or not last else outcome
        reached = _reached(attempt)
        reason = attempt.failure.message if attempt.failure else ""
        if not reason and last:
            usual = reason_words(ended, state.billing, reached)
            says = error is not None and (ended == "failed" or error.kind in _LIMITS)
            reason = error.message if error is not None and says else usual
        if not last and attempt.session_id in doubts:
            reason = f"{reason}; {money_words(Billing.UNKNOWN)}".removeprefix("; ")
        cost = attempt.cost(now) if rents else 0.0
        lines.append(
            AttemptSummary(
                number=attempt.number,
                offer_id=attempt.offer_id,
                provider=attempt.provider,
                gpu_name=attempt.gpu_name,
                gpu_count=attempt.gpu_count,
                price_per_hour=attempt.price_per_hour,
                session_id=attempt.session_id,
                phase_reached=reached,
                ended=ended,
                reason=reason,
                seconds=round(_worked(attempt, _until(attempt, now)), 1),
                cost=round(cost, 6),
                charged=attempt.charged,
            )
        )
    return tuple(lines)


def _reached(attempt: AttemptState) -> str:
    passed = [phase for phase, _ in attempt.phases if phase not in _NO_PROGRESS]
    return str(passed[-1]) if passed else str(Phase.PLANNED)


def _until(attempt: AttemptState, now: datetime) -> datetime:
    """A failed attempt took until its machine was released, or until it failed."""
    failed = next((at for phase, at in attempt.phases if phase is Phase.FAILED), None)
    return max(attempt.released_at or failed, failed) if failed is not None else now


def _worked(attempt: AttemptState, until: datetime) -> float:
    """Seconds that it took, without those in which the user was waited for."""
    took = (until - attempt.started_at).total_seconds()
    return max(took - attempt.waited(attempt.started_at, until), 0.0)


def broken_off(state: DeploymentState, now: datetime, *, rents: bool) -> DeploymentFinished:
    """The end of a deployment whose task ended without one."""
    return DeploymentFinished(
        "failed",
        None,
        state.served_name,
        state.attempt.session_id if state.attempt else None,
        state.billing,
        summaries(state, "failed", None, now, rents=rents),
        state.benchmark,
        "internal error: the deployment was aborted",
        "`gdl-tui sessions` shows what is rented",
        "error",
    )
