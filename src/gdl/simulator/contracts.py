"""What is rented at a simulated marketplace: one machine, its state, and what it bills."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

import asyncssh

from gdl.simulator.fault_draws import OfferFaults
from gdl.simulator.listings import Listing
from gdl.simulator.machines import RentedMachine
from gdl.simulator.ssh_proxy import SshProxy

_HOUR_S = 3600.0


class State(StrEnum):
    """What a marketplace believes of a machine; each words it in its own way."""

    CREATED = "created"
    LOADING = "loading"
    RUNNING = "running"
    FROZEN = "frozen"
    STOPPED = "stopped"
    EXITED = "exited"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


@dataclass(slots=True, eq=False)
class Account:
    """Whoever a key belongs to. credit: dollars that were paid in. public_keys: given to each new
    machine. expired: its login is over, as after a day with two factors."""

    key: str
    id: int
    credit: float
    public_keys: list[str] = field(default_factory=list)
    expired: bool = False


@dataclass(slots=True)
class Meter:
    """Dollars for the time that it runs. per_hour: its rate from the last change on."""

    per_hour: float = 0.0
    since: datetime | None = None
    begun: datetime | None = None
    ended: datetime | None = None
    _before: float = 0.0

    @property
    def on(self) -> bool:
        return self.since is not None

    def run(self, per_hour: float) -> None:
        now = datetime.now(UTC)
        self._before = self.dollars(now)
        self.per_hour, self.since, self.ended = per_hour, now, None
        self.begun = self.begun or now

    def stop(self) -> None:
        now = datetime.now(UTC)
        self._before, self.ended, self.since = self.dollars(now), now, None

    def dollars(self, now: datetime) -> float:
        """Up to `now`."""
        if self.since is None:
            return self._before
        return self._before + (now - self.since).total_seconds() / _HOUR_S * self.per_hour


@dataclass(slots=True)
class Rise:
    """A higher price that the host wants. answered: "" | accepted | rejected."""

    id: int
    factor: float
    since: datetime
    answered: str = ""


@dataclass(slots=True, eq=False)
class Contract:
    """One machine. gpu_price, disk_price: dollars an hour. bid: what is paid at most, for one that
    may be taken away. state is what the marketplace says; gone: whether it exists no longer.
    direct, proxy: the two ways to its SSH server, once they are told. down_gb, up_gb: its traffic
    so far. own_key: of the machine itself, for the marketplace. values: what else the marketplace
    keeps of the request."""

    id: str
    account: Account
    offer: Listing
    faults: OfferFaults
    label: str
    disk_gb: int
    gpu_price: float
    disk_price: float
    bid: float | None = None
    made: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: State = State.CREATED
    message: str = ""
    wanted: str = "running"
    outbid: bool = False
    destroying: bool = False
    gone: bool = False
    started: datetime | None = None
    direct: tuple[str, int] | None = None
    proxy: tuple[str, int] | None = None
    user: str = "root"
    keys: list[asyncssh.SSHKey] = field(default_factory=list)
    machine: RentedMachine | None = None
    forwarder: SshProxy | None = None
    life: asyncio.Task[None] | None = None
    rise: Rise | None = None
    gpu: Meter = field(default_factory=Meter)
    disk: Meter = field(default_factory=Meter)
    down_gb: float = 0.0
    up_gb: float = 0.0
    first_refused: float | None = None
    refused: int = 0
    own_key: str = field(default_factory=lambda: secrets.token_hex(16))
    values: dict[str, object] = field(default_factory=dict)

    def dollars(self, now: datetime) -> float:
        """Without its traffic."""
        return self.gpu.dollars(now) + self.disk.dollars(now)
