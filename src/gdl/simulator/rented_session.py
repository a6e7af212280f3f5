"""One session of the simulated service, as it is kept and as it is shown."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from gdl.simulator.billing_records import Rent
from gdl.simulator.fault_draws import OfferFaults
from gdl.simulator.key_pool import Key
from gdl.simulator.listings import Listing
from gdl.simulator.machines import RentedMachine
from gdl.simulator.wire_format import Json, Refusal, rfc3339

TERMINAL = ("stopped", "failed")
LONGEST = timedelta(hours=12)


@dataclass(slots=True, eq=False)
class Rented:
    """status and error are what the service believes; rented: whether the machine exists and
    bills, which may be another thing. machine None: nothing of it runs here (SSH never up).
    misreported: what the service tells in place of the truth. instance_known: whether the service
    knows the marketplace's machine, and could end it. destroy_tries: those that failed.
    cut_off: whoever asked for it did not wait for the answer."""

    id: str
    consumer_id: str
    offer: Listing
    faults: OfferFaults
    workload_type: str
    hours: int
    created: datetime
    disk_gb: int | None = None
    misreported: Json = field(default_factory=dict)
    status: str = "pending"
    error: str = ""
    ssh_host: str = ""
    ssh_port: int = 0
    ssh_user: str = ""
    failed_offers: str = ""
    failed_create: bool = False
    rented: bool = False
    ended: datetime | None = None
    machine: RentedMachine | None = None
    key: Key | None = None
    life: asyncio.Task[None] | None = None
    ending: asyncio.Lock = field(default_factory=asyncio.Lock)
    destroying: asyncio.Lock = field(default_factory=asyncio.Lock)
    instance_known: bool = False
    destroy_tries: int = 0
    cut_off: bool = False

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def expires(self) -> datetime:
        return self.created + timedelta(hours=self.hours)

    @property
    def real_end(self) -> datetime:
        """`expires` may say more than the service allows."""
        return min(self.expires, self.created + LONGEST)

    def extend(self, hours: int) -> None:
        """Raises Refusal."""
        running = datetime.now(UTC) - self.created
        if running + timedelta(hours=hours) > LONGEST:
            raise Refusal(
                400,
                f"extension would exceed 12-hour hard max: session {self.id} has been running for "
                f"{running / timedelta(hours=1):.1f} hours, requested {hours} more hours",
            )
        self.hours += hours

    def wire(self) -> Json:
        row: Json = {
            "id": self.id,
            "consumer_id": self.consumer_id,
            "provider": self.offer.provider,
            "gpu_type": self.offer.gpu.name,
            "gpu_count": self.offer.count,
            "status": self.status,
            "error": self.error,
            "ssh_host": self.ssh_host,
            "ssh_port": self.ssh_port,
            "ssh_user": self.ssh_user,
            "workload_type": self.workload_type,
            "reservation_hours": self.hours,
            "price_per_hour": self.offer.price,
            "created_at": rfc3339(self.created),
            "expires_at": rfc3339(self.expires),
            "failed_offers": self.failed_offers,
        }
        # As the service: what is empty is omitted.
        shown = {name: value for name, value in row.items() if value not in ("", None, 0)}
        return shown | self.misreported

    def diagnostics(self) -> Json:
        """Raises Refusal."""
        if self.status != "running":
            raise Refusal(
                400, "session is not running; diagnostics only available for running sessions"
            )
        now = datetime.now(UTC)
        row = self.wire()
        kept = ("status", "provider", "gpu_type", "gpu_count", "ssh_host", "ssh_port", "ssh_user")
        return {
            "session_id": self.id,
            **{name: row[name] for name in (*kept, "created_at", "expires_at")},
            "uptime": _minutes(now - self.created),
            "time_to_expiry": _minutes(self.expires - now),
            "ssh_available": True,
            "note": "Full SSH diagnostics (GPU status, health checks) require client-side SSH "
            "access. The private key is not stored server-side for security.",
        }

    def rent(self) -> Rent:
        return Rent(
            self.id,
            self.consumer_id,
            self.offer.provider,
            self.offer.gpu.name,
            self.offer.price if self.rented or self.ssh_user or self.failed_create else 0.0,
            self.created,
            self.ended,
            self.failed_create,
        )


def _minutes(span: timedelta) -> str:
    hours, minutes = divmod(max(int(span.total_seconds()) // 60, 0), 60)
    return f"{hours}h{minutes}m" if hours else f"{minutes}m"
