"""The last event of a deployment."""

from __future__ import annotations

from datetime import datetime

from gdl.domain.errors import GdlError, ReleaseUnconfirmed
from gdl.domain.events import DeploymentFinished
from gdl.domain.health import degraded
from gdl.domain.phase import Billing
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.deployment.summary import summaries
from gdl.orchestrator.run.doubts import with_doubts


def finished(
    deployment: Deployment,
    outcome: str,
    error: GdlError | None,
    now: datetime,
    *,
    rents: bool,
    reached: bool = True,
) -> DeploymentFinished:
    """outcome, reached: as in DeploymentFinished. error: why, where it did not end as it was to.
    An earlier machine that may still bill is told beside either."""
    state, doubts = deployment.state, deployment.doubts
    latest = state.attempt
    rented = latest.session_id if latest else None
    in_doubt = bool(doubts) and state.billing in (Billing.NONE, Billing.RELEASED)
    if doubts and not isinstance(error, ReleaseUnconfirmed):
        error = with_doubts(error, doubts, serving=outcome == "serving")
    sessions = [doubt.session_id for doubt in doubts]
    return DeploymentFinished(
        outcome=outcome,
        endpoint=state.endpoint,
        model=state.served_name or deployment.model.served_name,
        session_id=sessions[-1] if in_doubt else rented,
        billing=Billing.UNKNOWN if in_doubt else state.billing,
        attempts=summaries(state, outcome, error, now, rents=rents, doubts=sessions),
        benchmark=state.benchmark,
        error=None if error is None else error.message,
        hint=None if error is None else error.hint,
        kind="" if error is None else error.kind,
        degraded=degraded(state.checks.values()),
        reached=reached,
    )
