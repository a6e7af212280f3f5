"""What our record of a rental says about its end, and what it takes over from what was seen."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime

from gdl.backends.base import Backend
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.session import Session
from gdl.orchestrator.leasing.release_proof import Evidence


def evidence_of(rental: Rental, *, requests_now: int = 0) -> Evidence:
    """What the journal tells before anything more is asked. requests_now: those of its requests
    that are about to be made."""
    return Evidence(
        seen=rental.seen,
        requested_before=rental.release_requests > requests_now,
        error_before=rental.error_before,
        earlier_doubt=rental.doubt if rental.ended_in_doubt else "",
    )


def with_evidence(rental: Rental, evidence: Evidence) -> Rental:
    return replace(
        rental,
        seen=evidence.seen,
        error_before=evidence.error_before,
        ended_in_doubt=evidence.over,
        release_took_s=round(max(rental.release_took_s, evidence.took_s), 3),
    )


def requested(rental: Rental, now: datetime) -> Rental:
    """The end of it is asked for, once more."""
    return replace(
        rental,
        release_requested_at=rental.release_requested_at or now,
        release_requests=rental.release_requests + 1,
    )


def with_requests_of(rental: Rental, written: Rental) -> Rental:
    """A rental with what another process has journaled about its end."""
    return replace(
        rental,
        seen=rental.seen or written.seen,
        release_requested_at=written.release_requested_at,
        release_requests=written.release_requests,
        error_before=written.error_before,
        doubt=written.doubt,
        ended_in_doubt=written.ended_in_doubt,
    )


def record_of(session: Session, backend: Backend, now: datetime) -> Rental:
    """A rental for a session that the journal does not know. Without its label, which may be one
    that others use."""
    return Rental(
        intent_id=uuid.uuid4().hex,
        deployment_id="",
        attempt=0,
        backend=backend.name,
        provider=session.provider,
        offer_id="",
        consumer_id=session.consumer_id,
        price=session.price_per_hour,
        requested_at=session.created_at or now,
        billing=Billing.ACTIVE,
        session_id=session.id,
        service_url=backend.service_url,
    )
