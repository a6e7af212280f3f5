"""The last line of a deployment that had no other."""

from __future__ import annotations

from gdl.domain import clock
from gdl.domain.errors import GdlError
from gdl.domain.events import DeploymentFinished, Recorded
from gdl.domain.phase import Billing


def never_began_event(model: str, error: GdlError) -> Recorded:
    """It failed before its first event."""
    finished = DeploymentFinished(
        outcome="cancelled" if error.kind == "cancelled" else "failed",
        endpoint=None,
        model=model,
        session_id=None,
        billing=Billing.NONE,
        attempts=(),
        error=error.message,
        hint=error.hint,
        kind=error.kind,
    )
    return Recorded("", 1, clock.now(), finished)
