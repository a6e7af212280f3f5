"""Disks that outlive a machine: for weights and compile caches."""

from __future__ import annotations

from datetime import datetime

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import for_time

MOUNT_PATH = "/workspace"
"""Where a volume is on the machine that it is mounted on."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume at a backend. place: the machine or data centre it is tied to, as offers name it
    (`Offer.machine_id` or `Offer.location`). price_per_hour: dollars, whether it is used or not."""

    id: str
    backend: str
    name: str
    size_gb: float
    price_per_hour: float
    place: str = ""

    def mounts_at(self, backend: str, *places: str | None) -> bool:
        """Whether a machine there can mount it. places: what its offer says of where it is."""
        return backend == self.backend and self.place in places


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """Our own record of a volume, written before it was asked for. volume_id: None while it is not
    known whether it was made. gone_at: it was deleted, or was never made. service_url: who was
    asked (Backend.service_url)."""

    intent_id: str
    backend: str
    name: str
    size_gb: float
    requested_at: datetime
    service_url: str = ""
    place: str = ""
    price_per_hour: float = 0.0
    volume_id: str | None = None
    gone_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether it costs, or may."""
        return self.gone_at is None

    def cost(self, now: datetime) -> float:
        """Dollars since it was asked for; 0 while it is not known whether it was made."""
        if self.volume_id is None:
            return 0.0
        return for_time(self.price_per_hour, self.requested_at, self.gone_at or now)
