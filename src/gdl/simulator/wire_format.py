"""Small things of the service's interface: times, error answers, ids."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
API = "/api/v1"


def rfc3339(moment: datetime) -> str:
    """With nanoseconds, as Go writes it; the last three are made up from the rest."""
    digits = f"{moment.microsecond:06d}{moment.microsecond * 7919 % 1000:03d}".rstrip("0")
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


class Refusal(Exception):
    """The service's answer is an error: HTTP status and body without `request_id`."""

    def __init__(self, status: int, error: str, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.more = more

    def body(self, request_id: str) -> Json:
        return {"error": self.error, "request_id": request_id, **self.more}


def new_request_id() -> str:
    return str(uuid.uuid4())


class Query:
    """The query of a request, read as the service reads it. Raises Refusal."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        return self._values.get(name, "")

    def whole(self, name: str) -> int | None:
        value = self._values.get(name)
        if not value:
            return None
        try:
            return int(value)
        except ValueError:
            raise Refusal(400, f'invalid {name}: must be a valid integer, got "{value}"') from None

    def number(self, name: str) -> float | None:
        value = self._values.get(name)
        if not value:
            return None
        try:
            return float(value)
        except ValueError:
            raise Refusal(400, f'invalid {name}: must be a valid number, got "{value}"') from None
