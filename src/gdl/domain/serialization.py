"""Dataclasses to plain JSON types, for the journal and for `--json`."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from enum import Enum
from typing import Any

from gdl.domain.events import TYPE_NAMES, Recorded
from gdl.domain.secret import Secret


def to_plain(value: Any) -> Any:
    """JSON types all the way down. A Secret raises TypeError: it has no plain form."""
    if isinstance(value, Secret):
        raise TypeError("a secret has no plain form")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(v) for v in value]
    return value


def recorded_to_plain(recorded: Recorded) -> dict[str, Any]:
    """One JSON object: `type`, `seq`, `at`, `deployment_id`, then the event's own fields."""
    return {
        "type": TYPE_NAMES[type(recorded.event)],
        "seq": recorded.seq,
        "at": recorded.at.isoformat(),
        "deployment_id": recorded.deployment_id,
        **to_plain(recorded.event),
    }
