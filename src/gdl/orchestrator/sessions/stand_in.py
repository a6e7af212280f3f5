"""Stands in for a session that its backend does not tell of."""

from __future__ import annotations

from gdl.domain.rental import Rental
from gdl.domain.session import Session, SessionStatus


def stand_in(rental: Rental, status: SessionStatus, error: str | None = None) -> Session:
    """By our own record of it. error: why nobody tells."""
    return Session(
        id=rental.session_id or "",
        backend=rental.backend,
        provider=rental.provider,
        status=status,
        price_per_hour=rental.price,
        error=error,
        consumer_id=rental.consumer_id,
        created_at=rental.requested_at,
    )
