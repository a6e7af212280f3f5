"""What each attempt of a deployment came to."""

from __future__ import annotations

from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class AttemptSummary:
    """One line of what is told at the end. ended: serving | failed | cancelled | released. cost: by
    our own count; charged: by the market's, None where that is not known."""

    number: int
    offer_id: str
    provider: str
    gpu_name: str
    gpu_count: int
    price_per_hour: float
    session_id: str | None
    phase_reached: str
    ended: str
    reason: str
    seconds: float
    cost: float
    charged: float | None = None
