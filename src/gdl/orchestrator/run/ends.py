"""What the ends of a deployment have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdl.domain import events as ev
from gdl.domain.errors import GdlError, GuardEnded
from gdl.domain.phase import Phase
from gdl.domain.transitions import TRANSITIONS
from gdl.orchestrator.deployment.context import Deployment

if TYPE_CHECKING:
    from gdl.orchestrator.run.attempt import Attempt


async def tell_failure(deployment: Deployment, error: GdlError) -> None:
    """Raises the error where it is none: a guard has done what it was told to."""
    if isinstance(error, GuardEnded):
        raise error
    failed = ev.AttemptFailed(
        deployment.attempt, deployment.state.phase, error.kind, error.message, error.hint
    )
    await deployment.emit(failed)


async def begin_to_stop(deployment: Deployment, why: str = "") -> bool:
    """Whether there is something to stop: where nothing was entered yet, it is cancelled."""
    phase = deployment.state.phase
    stops = Phase.STOPPING in TRANSITIONS[phase] or phase in (Phase.STOPPING, Phase.STOPPED)
    if phase is not Phase.STOPPED:
        await deployment.enter(Phase.STOPPING if stops else Phase.CANCELLED, why)
    return stops


def serves(deployment: Deployment, attempt: Attempt | None) -> bool:
    """Whether it does, as far as is known here at this moment."""
    known = deployment.state.attempt
    if attempt is None or (known is not None and known.failure is not None):
        return False
    return attempt.endpoint is not None and not attempt.machine.out_of_reach.is_set()


async def leave(deployment: Deployment, attempt: Attempt | None) -> None:
    """Close our way to a machine that stays as it is; it is told where another process has released
    it meanwhile."""
    if attempt is None:
        return
    await attempt.close()
    if (rental := deployment.rental) is not None:
        await attempt.renter.releaser.told_as_released(deployment, rental)
