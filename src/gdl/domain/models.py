"""The nouns: offers, sessions, machines, checks, figures. Frozen, and made of plain types.

Units are in the names: `_gb` is 10^9 bytes as marketplaces use it, `_gib` is 2^30,
`_s` seconds, `_ms` milliseconds, prices in US dollars.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from gdl.domain.secret import Secret

UNTOLD = "unknown"
"""Stands for a name that a backend does not tell, such as that of an offer's provider."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A machine somebody would rent out. `price_per_hour` is for the whole machine,
    `vram_gb` per GPU as listed (often floored: a 24 GB card may say 23)."""

    id: str
    backend: str
    provider: str
    gpu_name: str
    gpu_count: int
    vram_gb: float
    price_per_hour: float
    location: str = ""
    reliability: float | None = None
    confidence: float | None = None
    available: bool = True
    cuda_version: float | None = None
    machine_id: str | None = None
    interruptible: bool = False
    max_duration_hours: float | None = None
    fetched_at: datetime | None = None

    @property
    def total_vram_gb(self) -> float:
        return self.vram_gb * max(self.gpu_count, 0)


@dataclass(frozen=True, slots=True)
class OfferQuery:
    """What the user wants. None means "do not care".

    offer_ids: these offers alone, whichever is cheapest first. context: tokens a request may have;
    concurrency: requests at a time; quantization: one of `sizing.QUANTIZATIONS`, or "". They say
    how big a machine the model needs, and reach its server. hours: to be reserved.
    """

    provider: str | None = None
    gpu: str | None = None
    min_vram_gb: float | None = None
    max_price: float | None = None
    gpu_count: int | None = None
    exclude_providers: tuple[str, ...] = ()
    offer_id: str | None = None
    model: str | None = None
    min_reliability: float | None = None
    """0-1; offers that do not tell theirs pass."""
    min_cuda: float | None = None
    """The least CUDA version the driver must support; offers that do not tell theirs pass."""
    offer_ids: tuple[str, ...] = ()
    context: int | None = None
    concurrency: int | None = None
    quantization: str = ""
    hours: int | None = None

    @property
    def pinned(self) -> frozenset[str]:
        """The offers asked for by name; empty: any."""
        return frozenset(self.offer_ids if self.offer_id is None else (self.offer_id,))


class RankedOffer(NamedTuple):
    """An offer and what speaks against it. A tuple, as thousands are made at each look.

    `excluded` is the reason in words, or None.

    exclusion: provider | offer | machine | price | gpu | vram | count | unavailable | query |
    cuda | reliability | duration.
    headroom_gb: VRAM left over after the model, or None when the need is not known.
    session_cost: dollars for the hours asked for and the expected set-up, usd_per_million: dollars
    per 10^6 output tokens at the speed our own benchmarks found on such GPUs; None when not known.
    until: when an exclusion ends by itself. cause: the few words it is counted under.
    otherwise_fits: nothing but the exclusion of offer, machine or provider speaks against it.
    """

    offer: Offer
    excluded: str | None = None
    exclusion: str | None = None
    headroom_gb: float | None = None
    session_cost: float | None = None
    usd_per_million: float | None = None
    until: datetime | None = None
    cause: str = ""
    otherwise_fits: bool = True


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Who is left out, why, and until when.

    kind: offer | machine | provider. cause: the few words it is counted under ("stale").
    until: None lasts until it is cleared. scope: deployment (ends with it) | remembered (across
    restarts) | user (asked for by the user, across restarts).
    """

    kind: str
    key: str
    reason: str
    since: datetime
    until: datetime | None = None
    cause: str = ""
    scope: str = "remembered"
    backend: str = ""

    def holds(self, now: datetime) -> bool:
        return self.until is None or now < self.until

    @property
    def words(self) -> str:
        """The reason with its end, in one line."""
        if self.scope == "deployment":
            return self.reason
        if self.until is None:
            return f"{self.reason}, until you clear it"
        return f"{self.reason}, until {self.until:%d %b %H:%M} UTC"


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
    """A rented machine as its backend tells it. `ssh` is to be used only when running."""

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

    @property
    def terminal(self) -> bool:
        return self.status in (SessionStatus.STOPPED, SessionStatus.FAILED)


@dataclass(frozen=True, slots=True)
class RentRequest:
    """`hours` whole hours, 1-12 on the shopper; `disk_gb` None lets the backend choose."""

    offer: Offer
    consumer_id: str
    hours: int
    model_id: str
    disk_gb: int | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """What renting answers. Exactly one of the keys is set: `private_key` is a one-time key
    that must be on disk before anything else happens; `identity_file` is a file that the user
    (or the backend) already keeps. Both None: the user's SSH agent and default keys.
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


@dataclass(frozen=True, slots=True)
class CostReport:
    """What the backend says was spent; `by_provider` in dollars."""

    total: float
    currency: str = "USD"
    session_count: int = 0
    hours_used: float = 0.0
    by_provider: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`. status: ok | warn | fail | info."""

    name: str
    status: str
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    memory_mib: int
    compute_capability: str = ""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that holds memory of a GPU. `pid` as the driver numbers it, which inside a
    container may be nobody's."""

    pid: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a look at the machine found. `gpus` empty: no GPU. `gpu_error`: what nvidia-smi said
    when it failed. `pythons`: versions found on PATH, newest first, as "3.11.7".

    ram_gib: what the machine has, or what its container may use. shm_mib: size of /dev/shm, 0
    where there is none. libc: "glibc 2.35", "musl", or "" when it does not tell. docker: the words
    that docker is called by ("docker", "sudo -n docker"), "" where its daemon does not answer;
    docker_gpus: NVIDIA's toolkit is there to pass GPUs on; images: what it holds, fifty at most.
    dpkg_lock: the lock that a package manager holds, or "". gpu_processes: who holds GPU memory;
    gpu_memory_used_mib: by everybody, on all GPUs. download_mb_s: 10^6 bytes a second from where
    packages and models come from, None when it was not or could not be measured. has_vllm: the
    work folder has an environment with some vLLM. model_gib: what of the model was downloaded
    before.
    """

    os: str
    arch: str
    cpu_count: int
    ram_gib: float
    disk_free_gib: float
    pythons: tuple[str, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: str = ""
    gpu_error: str = ""
    has_uv: bool = False
    home: str = ""
    user: str = ""
    shm_mib: int = 0
    libc: str = ""
    docker: str = ""
    docker_gpus: bool = False
    images: tuple[str, ...] = ()
    dpkg_lock: str = ""
    gpu_processes: tuple[GpuProcess, ...] = ()
    gpu_memory_used_mib: int = 0
    download_mb_s: float | None = None
    has_vllm: bool = False
    model_gib: float = 0.0

    @property
    def has_gpu(self) -> bool:
        return bool(self.gpus)


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """What the user asked for. `model` as typed: alias, hub id or path on the machine.

    after: "destroy" releases after verification and benchmark, "keep" leaves it serving and
    ends, "hold" keeps the tunnel open until release or keep is asked for.
    auto_failover takes the next offer by itself after a failed attempt, up to max_attempts.
    ask_on_failure: a failure without an automatic next waits for the user's choice instead of
    ending the deployment.
    auto_fix: remedies on the same machine are applied without a question: None those that overrule
    nothing the user decided, True all, False none.
    """

    model: str
    backend: str
    query: OfferQuery = field(default_factory=OfferQuery)
    hours: int = 1
    max_attempts: int = 3
    bench: bool = True
    after: str = "hold"
    keep_on_failure: bool = False
    auto_failover: bool = True
    ask_on_failure: bool = False
    engine_args: tuple[str, ...] = ()
    auto_fix: bool | None = None


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a remote command ended. `exit_status` is -N when signal N ended it."""

    exit_status: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.exit_status == 0


@dataclass(frozen=True, slots=True)
class AttemptSummary:
    """One line of the story told at the end. ended: serving | failed | cancelled | released."""

    number: int
    offer_id: str
    provider: str
    gpu_name: str
    gpu_count: int
    price_per_hour: float
    session_id: str | None
    phase_reached: str
    ended: str
    reason: str
    seconds: float
    cost: float
