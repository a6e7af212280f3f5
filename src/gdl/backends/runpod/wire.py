"""What RunPod sends, read with tolerance, and turned into the domain's nouns.

Unknown fields are ignored; null, missing and text-for-number are put up with. What would cost
money when misread (the id of a pod) is not: such a row raises ValidationError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gdl.backends.scalars import SessionId, SoftCount, SoftDollars, Text, Time, is_host
from gdl.domain.session import Session, SessionStatus, SshAddress
from gdl.domain.text import one_line
from gdl.domain.volumes import Volume

BACKEND = "runpod"
CONSUMER_VARIABLE = "GDL_CONSUMER"
"""In a pod's environment: whose it is. An account may have other pods, which are not ours."""

MONTH_H = 720.0
"""Hours for which a month's price is taken."""
_RUNNING_GB_MONTH, _STOPPED_GB_MONTH = 0.10, 0.20
"""Dollars for a GB of a pod's own disks, by docs.runpod.io/pods/storage of 2026-10."""
_VOLUME_GB_MONTH, _MORE_GB_MONTH, _MORE_FROM_GB = 0.07, 0.05, 1000
"""Dollars for a GB of a network volume, and for each beyond the first 1000, likewise."""
DISK_GB_HOUR = _RUNNING_GB_MONTH / MONTH_H

_STATUS = {
    "PROVISIONING": SessionStatus.PROVISIONING,
    "STARTING": SessionStatus.PROVISIONING,
    "RUNNING": SessionStatus.RUNNING,
    "EXITED": SessionStatus.FAILED,
    "ERROR": SessionStatus.FAILED,
    "TERMINATED": SessionStatus.STOPPED,
}
_WHY = {
    "EXITED": "the pod stopped (EXITED); its disk is billed until it is released",
    "ERROR": "the pod's container cannot be started (ERROR)",
}
_USER = "root"


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _address(value: object) -> SshAddress | None:
    """`ssh.direct`, once it is there and can be one."""
    told = _object(value)
    host, port, user = told.get("host"), told.get("port"), told.get("username")
    if not isinstance(host, str) or not isinstance(port, int) or isinstance(port, bool):
        return None
    host = host.removeprefix("[").removesuffix("]")
    if not is_host(host) or not 1 <= port <= 65535:
        return None
    known = isinstance(user, str) and user.isascii() and user.replace("-", "").isalnum()
    return SshAddress(host, port, str(user) if known and user else _USER)


Object = Annotated[dict[str, Any], BeforeValidator(_object)]
Objects = Annotated[list[dict[str, Any]], BeforeValidator(_objects)]


class Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class PodGpuWire(Wire):
    id: Text = ""
    count: SoftCount = 0


class PodWire(Wire):
    id: SessionId
    name: Text = ""
    status: Text = ""
    gpu: Annotated[PodGpuWire, BeforeValidator(_object)] = PodGpuWire()
    ssh: Object = Field(default_factory=dict)
    env: Object = Field(default_factory=dict)
    mounts: Object = Field(default_factory=dict)
    disk: SoftDollars = 0.0
    cost: SoftDollars = 0.0
    dataCenterId: Text = ""  # noqa: N815 - RunPod's own name
    createdAt: Time = None  # noqa: N815

    @property
    def terminated(self) -> bool:
        """Whether RunPod says that it is gone for good, though it still tells of it."""
        return self.status.upper() == "TERMINATED"

    @property
    def owner(self) -> str:
        """The id of the consumer that rented it; "" where it was not this program, or that is not
        told."""
        told = self.env.get(CONSUMER_VARIABLE)
        return one_line(told, 100) if isinstance(told, str) else ""

    def to_domain(self, gpu_names: Mapping[str, str]) -> Session:
        """gpu_names: as the catalogue shows them, by their ids."""
        said = self.status.upper()
        status = _STATUS.get(said, SessionStatus.UNKNOWN)
        address = _address(self.ssh.get("direct"))
        if status is SessionStatus.RUNNING and address is None:
            # It runs, but its port for SSH is not mapped (again) yet.
            status = SessionStatus.PROVISIONING
        return Session(
            id=self.id,
            backend=BACKEND,
            provider=BACKEND,
            status=status,
            gpu_name=gpu_names.get(self.gpu.id) or short_name(self.gpu.id),
            gpu_count=self.gpu.count,
            price_per_hour=self.cost,
            ssh=address if status is SessionStatus.RUNNING else None,
            error=_WHY.get(said),
            consumer_id=self.owner,
            created_at=self.createdAt,
            host_known=address is not None or bool(self.dataCenterId),
            label=self.name,
            idle_price=self._idle_price(),
        )

    def _idle_price(self) -> float | None:
        """Dollars an hour while it is stopped: its container's disk, which may be billed on, and
        the one that is kept."""
        kept = _object(self.mounts.get("persistent")).get("size")
        kept_gb = float(kept) if isinstance(kept, int | float) else 0.0
        month = self.disk * _RUNNING_GB_MONTH + kept_gb * _STOPPED_GB_MONTH
        return month / MONTH_H if month else None


class VolumeWire(Wire):
    id: SessionId
    name: Text = ""
    size: SoftDollars = 0.0
    dataCenter: Text = ""  # noqa: N815

    def to_domain(self) -> Volume:
        cheap = max(self.size - _MORE_FROM_GB, 0.0)
        month = (self.size - cheap) * _VOLUME_GB_MONTH + cheap * _MORE_GB_MONTH
        return Volume(
            self.id, BACKEND, self.name, self.size, month / MONTH_H, place=self.dataCenter
        )


class PaginationWire(Wire):
    """nextCursor: "" without one."""

    hasNextPage: bool  # noqa: N815
    nextCursor: Text = ""  # noqa: N815


class ChargeWire(Wire):
    """What a pod cost in a time, in dollars."""

    podId: Text = ""  # noqa: N815
    startTime: Time = None  # noqa: N815
    endTime: Time = None  # noqa: N815
    totalAmount: SoftDollars = 0.0  # noqa: N815
    gpuAmount: SoftDollars = 0.0  # noqa: N815
    diskAmount: SoftDollars = 0.0  # noqa: N815


def short_name(gpu_id: str) -> str:
    """A GPU's name without its makers', where the catalogue's own is not known."""
    return gpu_id.removeprefix("NVIDIA ").removeprefix("GeForce ").strip()
