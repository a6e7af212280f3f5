"""What the ends of a deployment have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdl.domain import events as ev
from gdl.domain.errors import (
    DeployError,
    GdlError,
    GuardEnded,
    SessionGone,
    SshError,
    UsageError,
    VerificationError,
)
from gdl.domain.phase import Billing, Phase
from gdl.domain.transitions import TRANSITIONS
from gdl.orchestrator.deployment.context import Deployment

if TYPE_CHECKING:
    from gdl.orchestrator.run.attempt import Attempt

_MACHINE_MAY_BE_GONE = (SessionGone, SshError, DeployError, VerificationError, UsageError)
"""The last: its key is gone with it, once another process has released it."""


async def known_cause(attempt: Attempt | None, error: GdlError) -> GdlError:
    """The error, or that the machine is gone where that may be behind it."""
    if attempt is None or not isinstance(error, _MACHINE_MAY_BE_GONE):
        return error
    return await attempt.real_cause(error)


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
    it meanwhile, or is at it."""
    if attempt is None:
        return
    await attempt.close()
    rental, releaser = deployment.rental, attempt.renter.releaser
    if rental is None or await releaser.told_as_released(deployment, rental):
        return
    if rental.billing is Billing.ACTIVE and await releaser.settled_elsewhere(rental):
        why = "another gdl-tui is releasing it"
        await deployment.emit(
            ev.BillingChanged(rental.attempt, Billing.UNKNOWN, rental.session_id, why)
        )
