"""What cloud-gpu-shopper sends, read with tolerance, and turned into the domain's nouns.

Unknown fields are ignored; null, missing and text-for-number are put up with. What would cost
money when misread (ids, prices) is not: such a row raises ValidationError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gdl.backends.scalars import (
    Available,
    Count,
    DollarsByName,
    ErrorText,
    Flag,
    Number,
    OfferId,
    SessionId,
    SoftCount,
    SoftDollars,
    SoftNumber,
    SoftShare,
    Text,
    TextsByName,
    Time,
    is_host,
    rows,
)
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import CostReport
from gdl.domain.offers import UNTOLD, Offer
from gdl.domain.secret import Secret
from gdl.domain.session import Session, SessionStatus, SshAddress

BACKEND = "shopper"
LONGEST_SESSION = timedelta(hours=12)
"""The service ends every session 12 h after its creation, whatever its `expires_at` says."""

_MAX_PRICE = 1000.0
_MAX_KEY = 64 * 1024
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_USERS = {"tensordock": "user", "bluelobster": "ubuntu"}
"""Login names where the service does not say; root elsewhere."""


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class OfferWire(_Wire):
    id: OfferId
    provider: Text = ""
    gpu_type: Text = ""
    gpu_count: Annotated[Count, Field(ge=0, le=1024)] = 1
    vram_gb: Annotated[Number, Field(ge=0, le=10_000)] = 0.0
    # A rented machine never costs nothing: a zero is a price that is not known.
    price_per_hour: Annotated[Number, Field(gt=0, le=_MAX_PRICE)]
    location: Text = ""
    reliability: SoftShare = None
    availability_confidence: SoftShare = None
    available: Available = True
    cuda_version: SoftNumber = None
    machine_id: Text = ""
    interruptible: Flag = False
    max_duration_hours: SoftNumber = None
    fetched_at: Time = None

    def to_domain(self) -> Offer:
        longest = self.max_duration_hours
        return Offer(
            id=self.id,
            backend=BACKEND,
            provider=self.provider or UNTOLD,
            gpu_name=self.gpu_type,
            gpu_count=self.gpu_count,
            vram_gb=self.vram_gb,
            price_per_hour=self.price_per_hour,
            location=self.location,
            reliability=self.reliability,
            confidence=self.availability_confidence,
            available=self.available,
            cuda_version=self.cuda_version or None,
            machine_id=self.machine_id or None,
            interruptible=self.interruptible,
            max_duration_hours=longest if longest and longest > 0 else None,
            fetched_at=self.fetched_at,
        )


class SessionWire(_Wire):
    id: SessionId
    consumer_id: Text = ""
    provider: Text = ""
    gpu_type: Text = ""
    gpu_count: SoftCount = 0
    status: Text = ""
    error: ErrorText = ""
    ssh_host: Text = ""
    ssh_port: SoftCount = 0
    ssh_user: Text = ""
    price_per_hour: SoftDollars = 0.0
    created_at: Time = None
    expires_at: Time = None

    def to_domain(self) -> Session:
        status = self._status()
        return Session(
            id=self.id,
            backend=BACKEND,
            provider=self.provider or UNTOLD,
            status=status,
            gpu_name=self.gpu_type,
            gpu_count=self.gpu_count,
            price_per_hour=self.price_per_hour,
            ssh=self._address() if status is SessionStatus.RUNNING else None,
            error=self.error or None,
            consumer_id=self.consumer_id,
            created_at=self.created_at,
            expires_at=real_end(self.created_at, self.expires_at),
            host_known=bool(self.ssh_host),
        )

    def _status(self) -> SessionStatus:
        try:
            status = SessionStatus(self.status.lower())
        except ValueError:
            return SessionStatus.UNKNOWN
        # A failed session that had a machine is shown as stopped a minute later.
        return SessionStatus.FAILED if status is SessionStatus.STOPPED and self.error else status

    def _address(self) -> SshAddress | None:
        user = self.ssh_user or _USERS.get(self.provider.lower(), "root")
        host = self.ssh_host.removeprefix("[").removesuffix("]")
        if not (is_host(host) and 1 <= self.ssh_port <= 65535 and _USER.fullmatch(user)):
            return None
        return SshAddress(host, self.ssh_port, user)


def real_end(created: datetime | None, expires: datetime | None) -> datetime | None:
    """When the session really ends: the earlier of `expires` and twelve hours after creation."""
    ends = [t for t in (expires, created + LONGEST_SESSION if created else None) if t]
    return min(ends, default=None)


class CostWire(_Wire):
    total_cost: SoftDollars
    currency: Text = "USD"
    session_count: SoftCount = 0
    hours_used: SoftDollars = 0.0
    by_provider: DollarsByName = Field(default_factory=dict)

    def to_domain(self) -> CostReport:
        return CostReport(
            total=self.total_cost,
            currency=self.currency or "USD",
            session_count=self.session_count,
            hours_used=self.hours_used,
            by_provider=dict(self.by_provider),
            note="whole clock-hours as the service counts them: short sessions count nothing, "
            "failed ones an hour",
        )


class BenchmarkWire(_Wire):
    """A stored benchmark, as far as we need it."""

    id: Text = ""


class HealthWire(_Wire):
    """/health and /ready. `services`: name to state, as the service words it."""

    status: Text = ""
    ready: Flag = False
    services: TextsByName = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OfferList:
    """dropped: rows that could not be trusted (no id, no sane price) or came twice. rows: all of
    this page. total: of all pages, where the service tells it."""

    offers: tuple[Offer, ...]
    dropped: int
    rows: int = 0
    total: int | None = None


def read_offers(data: Mapping[str, Any]) -> OfferList:
    """Raises KeyError or ValueError when there is no list of offers at all."""
    offers: dict[str, Offer] = {}
    listed = rows(data["offers"])
    for row in listed:
        try:
            offer = OfferWire.model_validate(row).to_domain()
        except ValidationError:
            continue
        offers.setdefault(offer.id, offer)
    told = data.get("total")
    total = told if isinstance(told, int) and told >= 0 else None
    return OfferList(tuple(offers.values()), len(listed) - len(offers), len(listed), total)


def read_key(value: object) -> Secret | None:
    """The one-time private key, or None when this cannot be one."""
    if not isinstance(value, str) or not value.lstrip().startswith("-----BEGIN "):
        return None
    if len(value) > _MAX_KEY or not all(c in "\r\n" or " " <= c <= "~" for c in value):
        return None
    return Secret(value)
