"""What every event is."""

from __future__ import annotations

from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """The common base; carries nothing."""
