"""What Vast.ai sends, read with tolerance, and turned into the domain's nouns.

Unknown fields are ignored; null, missing and text-for-number are put up with. What would cost money
when misread is not: an offer needs its id and a sane price, an instance its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gdl.backends.scalars import (
    ErrorText,
    SoftCount,
    SoftDollars,
    SoftNumber,
    SoftShare,
    Text,
    is_host,
)
from gdl.backends.vastai.states import Meaning, States, meaning
from gdl.domain.offers import Offer, OfferTerms
from gdl.domain.session import Session, SessionStatus, SshAddress
from gdl.domain.volumes import Volume

BACKEND = PROVIDER = "vastai"
HOURS_A_MONTH = 30 * 24
"""As Vast.ai counts them in prices of storage."""
BID_SUFFIX = "-bid"
"""At the end of the id of an offer that is interruptible: the marketplace lists the same machine
under the same id on demand, too."""
_MAX_PRICE = 1000.0
_MAX_AMOUNT = 1e6
_MIB_A_GIB = 1024
_LOGIN = "root"


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
        disk_rate = (self.storage_cost or 0.0) / HOURS_A_MONTH
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

    def _gpu_price(self, disk: float, *, bid: bool) -> float | None:
        """Dollars an hour without any disk; a rented machine never costs nothing: a zero is a price
        that is not known."""
        if bid:
            return self.min_bid or None
        if self.dph_base:
            return self.dph_base
        without = (self.dph_total or 0.0) - disk
        return without if without > 0 else None


class InstanceWire(Wire):
    id: ContractId
    actual_status: Text = ""
    intended_status: Text = ""
    cur_state: Text = ""
    next_state: Text = ""
    status_msg: ErrorText = ""
    is_bid: SoftFlag = None
    label: Text = ""
    gpu_name: Text = ""
    num_gpus: SoftCount = 0
    dph_total: SoftPrice = None
    dph_base: SoftPrice = None
    storage_total_cost: SoftPrice = None
    storage_cost: SoftPrice = None
    disk_space: SoftNumber = None
    public_ipaddr: Text = ""
    ports: Any = None
    ssh_host: Text = ""
    ssh_port: SoftCount = 0
    start_date: Epoch = None
    end_date: Epoch = None

    def to_domain(self) -> Session:
        found = self._meaning()
        direct, proxy = self._direct(), _address(self.ssh_host, self.ssh_port)
        ways = [way for way in (direct, proxy) if way is not None]
        running = found.status is SessionStatus.RUNNING
        began, ends = self.start_date, self.end_date
        return Session(
            id=str(self.id),
            backend=BACKEND,
            provider=PROVIDER,
            status=found.status,
            gpu_name=self.gpu_name,
            gpu_count=self.num_gpus,
            price_per_hour=self._price() or 0.0,
            ssh=ways[0] if ways and running else None,
            error=found.error,
            created_at=began,
            expires_at=ends if ends and (began is None or ends > began) else None,
            # From its creation on there is a disk, which costs.
            host_known=True,
            ssh_alternatives=tuple(ways[1:]) if running else (),
            label=self.label,
            outbid=found.outbid,
            idle_price=found.idle_price,
        )

    def _meaning(self) -> Meaning:
        return meaning(
            States(
                self.actual_status.lower(),
                self.intended_status.lower(),
                self.cur_state.lower(),
                self.next_state.lower(),
                self.is_bid,
                self.status_msg,
                self._price(),
                self._disk_price(),
            )
        )

    def _price(self) -> float | None:
        if self.dph_total:
            return self.dph_total
        return self.dph_base + (self._disk_price() or 0.0) if self.dph_base else None

    def _disk_price(self) -> float | None:
        if self.storage_total_cost is not None:
            return self.storage_total_cost
        if self.storage_cost is None or self.disk_space is None:
            return None
        return self.storage_cost * max(self.disk_space, 0.0) / HOURS_A_MONTH

    def _direct(self) -> SshAddress | None:
        """The container's port 22, mapped on its host."""
        mapped = self.ports.get("22/tcp") if isinstance(self.ports, dict) else None
        first = mapped[0] if isinstance(mapped, list) and mapped else None
        port = first.get("HostPort") if isinstance(first, dict) else None
        return _address(self.public_ipaddr.strip(), port)


class VolumeWire(Wire):
    id: ContractId
    label: Text = ""
    name: Text = ""
    disk_space: SoftDollars = 0.0
    storage_total_cost: SoftPrice = None
    storage_cost: SoftPrice = None
    machine_id: SoftId = None

    def to_domain(self) -> Volume:
        price = self.storage_total_cost
        if price is None:
            price = (self.storage_cost or 0.0) * self.disk_space / HOURS_A_MONTH
        return Volume(
            id=str(self.id),
            backend=BACKEND,
            name=self.label or self.name or f"V.{self.id}",
            size_gb=self.disk_space,
            price_per_hour=price,
            place="" if self.machine_id is None else str(self.machine_id),
        )


class AccountWire(Wire):
    id: SoftId = None
    credit: SoftNumber = None


class RentWire(Wire):
    """The answer to a rent request."""

    success: SoftFlag = None
    new_contract: SoftId = None


class NewKeyWire(Wire):
    id: SoftId = None
    key: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[!-~]+$")] = ""


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


def _address(host: str, port: object) -> SshAddress | None:
    try:
        number = int(port) if isinstance(port, int | str) else 0
    except ValueError:
        return None
    if not host or not is_host(host) or not 1 <= number <= 65535:
        return None
    return SshAddress(host, number, _LOGIN)
