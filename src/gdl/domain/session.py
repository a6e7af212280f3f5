"""What is rented at a backend: the request, its answer, and the session it leads to."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from gdl.domain.default_engine import DEFAULT_ENGINE
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.offers import Offer
from gdl.domain.secret import Secret

ENDS_EARLY = timedelta(seconds=60)
"""How much before its end a backend may end a session that is over."""


class SessionStatus(StrEnum):
    PENDING = "pending"
    PROVISIONING = "provisioning"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SshAddress:
    host: str
    port: int
    user: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Session:
    """A rented machine as its backend tells it. `ssh` is to be used only when running;
    `ssh_alternatives` are other ways to the same machine, to be tried after it. host_known:
    the backend has told where the machine is, though it may not be entered yet. label: the
    request's, where the backend keeps it. outbid: somebody else pays more for an interruptible
    machine; what was on it is lost. idle_price: dollars an hour that it costs while it does not
    run, where that is known."""

    id: str
    backend: str
    provider: str
    status: SessionStatus
    gpu_name: str = ""
    gpu_count: int = 0
    price_per_hour: float = 0.0
    ssh: SshAddress | None = None
    error: str | None = None
    consumer_id: str = ""
    created_at: datetime | None = None
    expires_at: datetime | None = None
    host_known: bool = False
    ssh_alternatives: tuple[SshAddress, ...] = ()
    label: str = ""
    outbid: bool = False
    idle_price: float | None = None

    @property
    def has_machine(self) -> bool:
        """Whether the backend has shown that there is (or was) a machine behind it."""
        return self.host_known or self.ssh is not None or self.status is SessionStatus.RUNNING

    def time_over(self, now: datetime) -> bool:
        """Whether it ended because its reserved time was over; a backend need not say so."""
        ends = self.expires_at
        return self.terminal and not self.error and ends is not None and now >= ends - ENDS_EARLY

    @property
    def terminal(self) -> bool:
        return self.status in (SessionStatus.STOPPED, SessionStatus.FAILED)


@dataclass(frozen=True, slots=True)
class RentRequest:
    """`hours` whole hours, 1-12 on the shopper; `disk_gb` None lets the backend choose. engine: the
    name of what will serve; log_title: how its log is called.

    label: names this request alone; a backend that keeps labels gives it to the machine.
    public_key: of a key that we hold already, in OpenSSH's form, for backends that take one.
    bid: the most to pay for an interruptible machine, in dollars an hour; None: on demand.
    image: the container image to start, "" for the backend's own choice. min_cuda: the least CUDA
    version that the machine's driver must support. volume: id of a volume to mount.
    """

    offer: Offer
    consumer_id: str
    hours: int
    model_id: str
    disk_gb: int | None = None
    engine: str = DEFAULT_ENGINE
    log_title: str = "engine.log"
    label: str = ""
    public_key: str = ""
    bid: float | None = None
    image: str = ""
    min_cuda: float | None = None
    volume: str = ""


@dataclass(frozen=True, slots=True)
class RentAnswer:
    """What renting answers. Exactly one of the keys is set: `private_key` is a one-time key
    that must be on disk before anything else happens; `identity_file` is a file that the user
    (or the backend) already keeps. Both None: the key whose public part the request gave, or else
    the user's SSH agent and default keys.
    `agent_auth` allows the agent; rented machines never need it.
    config_alias: the machine's name in ~/.ssh/config. work_dir, engine_log: where our files and
    the server's log go on the machine; None leaves it to the settings."""

    session: Session
    private_key: Secret | None = None
    identity_file: str | None = None
    agent_auth: bool = False
    config_alias: str | None = None
    work_dir: str | None = None
    engine_log: str | None = None
