"""What a check-up found."""

from __future__ import annotations

from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`. status: ok | warn | fail | info."""

    name: str
    status: str
    detail: str
    hint: str = ""
