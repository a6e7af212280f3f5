"""What was spent."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CostReport:
    """What the backend says was spent; `by_provider` in dollars."""

    total: float
    currency: str = "USD"
    session_count: int = 0
    hours_used: float = 0.0
    by_provider: dict[str, float] = field(default_factory=dict)
    note: str = ""
