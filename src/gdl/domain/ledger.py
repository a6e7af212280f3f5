"""What happened to money, entry by entry: each request to rent, what came of it, each request to
end it, and what proves that it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class LedgerKind(StrEnum):
    """The values are journaled."""

    REQUESTED = "requested"
    """Asked for a machine; written before the request goes out."""
    RENTED = "rented"
    NOT_RENTED = "not_rented"
    """It is certain that the request made nothing."""
    RENT_UNCERTAIN = "rent_uncertain"
    """The request may have made a machine."""
    EXTENDED = "extended"
    RELEASE_REQUESTED = "release_requested"
    RELEASED = "released"
    """The end is proven."""
    RELEASE_UNCERTAIN = "release_uncertain"
    """The machine may still be billing."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """at: by this computer's clock. service_at: by the backend's, None where it does not tell.
    price: dollars an hour. evidence: what was seen, in a sentence; for what cannot be proven, what
    was tried. session_id: None while it is not known."""

    at: datetime
    kind: LedgerKind
    backend: str
    deployment_id: str
    attempt: int
    intent_id: str
    session_id: str | None
    provider: str
    offer_id: str
    price: float
    evidence: str
    service_at: datetime | None = None
