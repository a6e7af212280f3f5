"""What a user decides about a deployment that waits, as far as it is possible there."""

from __future__ import annotations

from gdl.domain.decisions import AfterFailure, AfterServing, Decision
from gdl.domain.errors import UsageError
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing.markets import Markets


def answer(
    deployment: Deployment, markets: Markets, decision: Decision, max_price: float | None
) -> None:
    """max_price: dollars an hour that were agreed to for the next attempt. Raises UsageError."""
    rental = deployment.rental
    ends = rental is not None and not markets.of(rental.backend).outlives_program
    if decision is AfterServing.KEEP and ends:
        raise UsageError("the machines of this backend end with this program", "release it")
    if decision is AfterFailure.FIX and deployment.state.offered is None:
        raise UsageError(
            f"deployment {deployment.id} has no fix to apply on its machine",
            "retry, or take the next offer",
        )
    deployment.decisions.answer(decision, deployment.state.phase)
    deployment.ceiling = max_price
