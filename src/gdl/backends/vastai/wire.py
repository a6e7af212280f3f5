"""What Vast.ai tells of what is rented, read with tolerance, and turned into the domain's nouns.

Unknown fields are ignored; null, missing and text-for-number are put up with. An instance and a
volume need their ids.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from gdl.backends.scalars import ErrorText, SoftCount, SoftDollars, SoftNumber, Text, is_host
from gdl.backends.vastai.fields import (
    BACKEND,
    HOURS_A_MONTH,
    PROVIDER,
    ContractId,
    Epoch,
    SoftFlag,
    SoftId,
    SoftPrice,
    Wire,
)
from gdl.backends.vastai.states import Meaning, States, meaning
from gdl.domain.session import Session, SessionStatus, SshAddress
from gdl.domain.volumes import Volume

_LOGIN = "root"


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


def _address(host: str, port: object) -> SshAddress | None:
    try:
        number = int(port) if isinstance(port, int | str) else 0
    except ValueError:
        return None
    if not host or not is_host(host) or not 1 <= number <= 65535:
        return None
    return SshAddress(host, number, _LOGIN)
