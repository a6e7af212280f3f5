"""What Vast.ai lists, read with tolerance, and turned into offers. An offer needs its id and a sane
price: what would cost money when misread is not put up with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from gdl.backends.scalars import SoftCount, SoftNumber, SoftShare, Text
from gdl.backends.vastai.fields import (
    BACKEND,
    HOURS_A_MONTH,
    PROVIDER,
    SoftFlag,
    SoftId,
    SoftPrice,
    Wire,
)
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.offers import Offer, OfferTerms

BID_SUFFIX = "-bid"
"""At the end of the id of an offer that is interruptible: the marketplace lists the same machine
under the same id on demand, too."""
_MIB_A_GIB = 1024


class OfferWire(Wire):
    id: SoftId = None
    ask_contract_id: SoftId = None
    machine_id: SoftId = None
    host_id: SoftId = None
    gpu_name: Text = ""
    num_gpus: SoftCount = 0
    gpu_ram: SoftNumber = None
    dph_base: SoftPrice = None
    dph_total: SoftPrice = None
    min_bid: SoftPrice = None
    storage_cost: SoftPrice = None
    inet_down_cost: SoftPrice = None
    inet_up_cost: SoftPrice = None
    inet_down: SoftNumber = None
    inet_up: SoftNumber = None
    disk_space: SoftNumber = None
    geolocation: Text = ""
    reliability: SoftShare = None
    reliability2: SoftShare = None
    cuda_max_good: SoftNumber = None
    duration: SoftNumber = None
    rentable: SoftFlag = None
    rented: SoftFlag = None

    def to_domain(self, disk_gb: float, fetched_at: datetime, *, bid: bool) -> Offer | None:
        """The offer with so many GB of disk; None when it has no id or no sane price. bid: of a
        search for interruptible machines, whose price is the least bid."""
        ask = self.ask_contract_id or self.id
        disk_rate = self._disk_rate(disk_gb)
        gpu = self._gpu_price(disk_gb * disk_rate, bid=bid)
        if ask is None or gpu is None or self.gpu_ram is None or not 0 < self.gpu_ram < 10**7:
            return None
        terms = OfferTerms(
            gpu_per_hour=gpu,
            disk_per_gb_hour=disk_rate,
            disk_gb=disk_gb,
            most_disk_gb=_positive(self.disk_space),
            down_per_gb=self.inet_down_cost or 0.0,
            up_per_gb=self.inet_up_cost or 0.0,
            down_mbps=_positive(self.inet_down),
            up_mbps=_positive(self.inet_up),
            bid=self.min_bid or None,
        )
        seconds = _positive(self.duration)
        return Offer(
            id=f"{ask}{BID_SUFFIX if bid else ''}",
            backend=BACKEND,
            provider=PROVIDER,
            gpu_name=self.gpu_name,
            gpu_count=self.num_gpus,
            vram_gb=round(self.gpu_ram / _MIB_A_GIB, 1),
            price_per_hour=gpu + disk_gb * disk_rate,
            location=self.geolocation,
            reliability=self.reliability if self.reliability is not None else self.reliability2,
            available=self.rentable is not False and self.rented is not True,
            cuda_version=_positive(self.cuda_max_good),
            machine_id=None if self.machine_id is None else str(self.machine_id),
            interruptible=bid,
            max_duration_hours=None if seconds is None else seconds / 3600,
            fetched_at=fetched_at,
            terms=terms,
            host_id=None if self.host_id is None else str(self.host_id),
        )

    def _disk_rate(self, disk_gb: float) -> float:
        """Dollars for a GB and hour; where it is not told, what the price for that much disk has
        over the one without any."""
        if self.storage_cost is not None:
            return self.storage_cost / HOURS_A_MONTH
        if not self.dph_base or not self.dph_total or disk_gb <= 0:
            return 0.0
        return max(self.dph_total - self.dph_base, 0.0) / disk_gb

    def _gpu_price(self, disk: float, *, bid: bool) -> float | None:
        """Dollars an hour without any disk; a rented machine never costs nothing: a zero is a price
        that is not known."""
        if bid:
            return self.min_bid or None
        if self.dph_base:
            return self.dph_base
        without = (self.dph_total or 0.0) - disk
        return without if without > 0 else None


@dataclass(frozen=True, slots=True)
class OfferPage:
    """rows: how many there were; dropped: those without an id or a sane price. last: the highest
    price without disk among them, None when none tells."""

    offers: tuple[Offer, ...]
    rows: int
    dropped: int
    last: float | None


def read_offers(
    data: Mapping[str, Any], disk_gb: float, fetched_at: datetime, *, bid: bool
) -> OfferPage:
    """Raises KeyError or ValueError when there is no list of offers at all."""
    rows = data["offers"]
    if not isinstance(rows, list):
        raise ValueError("not a list")
    offers: list[Offer] = []
    last: float | None = None
    for row in rows:
        try:
            read = OfferWire.model_validate(row)
        except ValidationError:
            continue
        if read.dph_base is not None:
            last = max(read.dph_base, last or 0.0)
        offer = read.to_domain(disk_gb, fetched_at, bid=bid)
        if offer is not None:
            offers.append(offer)
    return OfferPage(tuple(offers), len(rows), len(rows) - len(offers), last)


def _positive(number: float | None) -> float | None:
    return number if number is not None and number > 0 else None
