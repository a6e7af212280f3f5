"""The scalars in marketplaces' answers: what is put up with, and what is not.

`Soft...` types turn what cannot be read into "not known"; the others refuse it.
"""

from __future__ import annotations

import ipaddress
import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator

from gdl.domain.text import one_line

_SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_HOSTNAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.?"
)


def is_session_id(text: str) -> bool:
    return _SESSION_ID.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """An IP address, or something that can be a host name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOSTNAME.fullmatch(text) is not None
    return True


def _text(value: object) -> str:
    """A word; of what is none, a list say, nothing can be told."""
    return one_line(value) if isinstance(value, str | int | float) else ""


def _error_text(value: object) -> str:
    return "" if value is None else one_line(value, 1000)


def _session_id(value: object) -> str:
    if not isinstance(value, str) or not is_session_id(value):
        raise ValueError("not a session id")
    return value


def _offer_id(value: object) -> str:
    if not isinstance(value, str) or not value or one_line(value, 200) != value:
        raise ValueError("not an offer id")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a number")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("too large") from None
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _count(value: object) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError("not a whole number")
    return int(number)


def _soft_number(value: object) -> float | None:
    try:
        return _number(value)
    except ValueError:
        return None


def _soft_share(value: object) -> float | None:
    number = _soft_number(value)
    return number if number is not None and 0.0 <= number <= 1.0 else None


def _soft_count(value: object) -> int:
    number = _soft_number(value)
    return int(number) if number is not None and 0 <= number < 10**9 else 0


def _soft_dollars(value: object) -> float:
    number = _soft_number(value)
    return number if number is not None and number >= 0 else 0.0


def _flag(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")


def _available(value: object) -> bool:
    return value is None or _flag(value)


def read_time(value: object) -> datetime | None:
    """RFC 3339 with any number of decimals; None for what is unreadable and for Go's zero time."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value.strip())
        parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return parsed if 2000 <= parsed.year < 2200 else None


def rows(value: object) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError("not a list")
    return value


def _prices_by_name(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        return {}
    return {one_line(k, 60): _soft_dollars(v) for k, v in list(value.items())[:100]}


def _texts_by_name(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {one_line(k, 60): _text(v) for k, v in list(value.items())[:100]}


Text = Annotated[str, BeforeValidator(_text)]
ErrorText = Annotated[str, BeforeValidator(_error_text)]
SessionId = Annotated[str, BeforeValidator(_session_id)]
SoftNumber = Annotated[float | None, BeforeValidator(_soft_number)]
SoftShare = Annotated[float | None, BeforeValidator(_soft_share)]
SoftCount = Annotated[int, BeforeValidator(_soft_count)]
SoftDollars = Annotated[float, BeforeValidator(_soft_dollars)]
Time = Annotated[datetime | None, BeforeValidator(read_time)]
Flag = Annotated[bool, BeforeValidator(_flag)]
OfferId = Annotated[str, BeforeValidator(_offer_id)]
Count = Annotated[int, BeforeValidator(_count)]
Number = Annotated[float, BeforeValidator(_number)]
Available = Annotated[bool, BeforeValidator(_available)]
DollarsByName = Annotated[dict[str, float], BeforeValidator(_prices_by_name)]
TextsByName = Annotated[dict[str, str], BeforeValidator(_texts_by_name)]
