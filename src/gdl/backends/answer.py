"""A whole HTTP answer of a marketplace's service, and what its body holds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.text import one_line


class Unusable(Exception):
    """An answer came that is not what the interface promises; the text says what it was."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer. retry_after: seconds, 0-3600. headers: by their names in lower case. The
    body may hold a private key and is therefore never shown."""

    status: int
    content_type: str
    retry_after: float | None
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_page(self) -> bool:
        """Whether it is HTML, which no service here speaks: something between has answered."""
        return "html" in self.content_type or self.body.lstrip()[:1] == b"<"

    def mapping(self) -> dict[str, Any]:
        """The JSON object in the body. Raises Unusable, without quoting the body."""
        if self.is_page:
            raise Unusable("an HTML page instead of JSON")
        if not self.body.strip():
            raise Unusable("an empty body instead of JSON")
        try:
            data = json.loads(self.body)
        except (UnicodeDecodeError, RecursionError):
            raise Unusable("something that is not JSON") from None
        except ValueError:
            looks = self.body.lstrip()[:1] in (b"{", b"[")
            kind = "JSON that is cut off or broken" if looks else "text that is not JSON"
            raise Unusable(f"{kind} ({len(self.body)} bytes)") from None
        if not isinstance(data, dict):
            raise Unusable(f"a JSON {type(data).__name__} where an object was expected")
        return data

    def flaw(self) -> str:
        """What the body is instead of a JSON object, in a few words; "" where it is one."""
        try:
            self.mapping()
        except Unusable as what:
            return str(what)
        return ""

    def mapping_or_none(self) -> dict[str, Any] | None:
        """The JSON object in the body, where there is one."""
        try:
            return self.mapping()
        except Unusable:
            return None


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds (0-3600) of a Retry-After header: a number or an HTTP date, which counts from `now`
    by the service's clock; None when unreadable."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return None
        if then.tzinfo is None:
            then = then.replace(tzinfo=UTC)
        seconds = (then - now).total_seconds()
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), 3600.0)


def misfit(model: type[BaseModel], error: ValidationError) -> str:
    """What does not fit first: the thing and its field, without its value."""
    where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
    what = model.__name__.removesuffix("Wire").lower()
    return f"{what} {one_line(where, 40)}".strip()
