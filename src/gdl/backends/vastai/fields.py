"""The fields of Vast.ai's answers: what is put up with, and what is not.

`Soft...` types turn what cannot be read into "not known"; the others refuse it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

BACKEND = PROVIDER = "vastai"
HOURS_A_MONTH = 30 * 24
"""As Vast.ai counts them in prices of storage."""
_MAX_PRICE = 1000.0
_MAX_AMOUNT = 1e6


def _contract_id(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str | float):
        raise ValueError("not an id")
    try:
        number = int(value)
    except (ValueError, OverflowError):
        raise ValueError("not an id") from None
    if not 0 < number < 2**63 or (isinstance(value, float) and value != number):
        raise ValueError("not an id")
    return number


def _soft_id(value: object) -> int | None:
    try:
        return _contract_id(value)
    except ValueError:
        return None


def _soft_flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _soft_price(value: object) -> float | None:
    """Dollars, of what cannot be one None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _MAX_PRICE else None


def _epoch(value: object) -> datetime | None:
    """Seconds since 1970; None for what is no time of this century."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        told = datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return told if 2000 <= told.year < 2200 else None


def _amount(value: object) -> float:
    """Dollars; a credit is negative."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not an amount")
    try:
        amount = float(value)
    except OverflowError:
        raise ValueError("not an amount") from None
    if not abs(amount) < _MAX_AMOUNT:
        raise ValueError("not an amount")
    return amount


ContractId = Annotated[int, BeforeValidator(_contract_id)]
SoftId = Annotated[int | None, BeforeValidator(_soft_id)]
SoftFlag = Annotated[bool | None, BeforeValidator(_soft_flag)]
SoftPrice = Annotated[float | None, BeforeValidator(_soft_price)]
Amount = Annotated[float, BeforeValidator(_amount)]
Epoch = Annotated[datetime | None, BeforeValidator(_epoch)]


class Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)
