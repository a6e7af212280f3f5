"""What the ports answer with: rows of lists, and what is known of one endpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime

from gdl.domain.chat import ChatDone, ChatMessage, ChatOptions, ChatPiece
from gdl.domain.health import HealthSample
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.phase import Billing, Phase
from gdl.domain.readings import CheckRound, GpuLoad, Traffic
from gdl.domain.secret import Secret
from gdl.domain.session import Session


@dataclass(frozen=True, slots=True)
class LogPart:
    """Some of a server's log. source: "machine", or "kept" for what is left of it on this computer.
    path: where it is, there or here. lines: clean, without line ends. note: what happened to the
    file before them, such as that it was truncated."""

    source: str
    path: str
    lines: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session and what we know of it. ours: its key is in our journal, or was until it ended.
    `cost` in dollars, from price and time. state: the backend's word, or "unknown" when the
    backend cannot be asked. public: its address on the internet, as last seen; None without one.
    doubt: why it may still be billing though it is over or its end was asked for; "" if none.
    guard: what the guard on it will do when, or has done, in words; "" without one.
    extends: whether it has an end that can be put off. fleet: the one that it is a replica of; None
    for none. joined: addresses of the machines that serve the model with it, rank 1 first.
    spent_at: when its guard ends it because --max-spend is reached; None where none does.
    hours_end: whether the end that its backend tells is that of the hours that were asked for, and
    not its host's own term."""

    session: Session
    ours: bool
    deployment_id: str | None
    model: str | None
    endpoint: str | None
    cost: float
    billing: str
    public: str | None = None
    doubt: str = ""
    guard: str = ""
    extends: bool = False
    fleet: str | None = None
    joined: tuple[str, ...] = ()
    spent_at: datetime | None = None
    hours_end: bool = True

    @property
    def ends_at(self) -> datetime | None:
        """When it ends if nobody does anything: as its backend has it, or by its guard before."""
        told = (self.session.expires_at, self.spent_at)
        return min((each for each in told if each is not None), default=None)

    @property
    def ends_with_term(self) -> bool:
        """Whether that is only when its host's own term is over, whatever hours were asked for."""
        ends = self.ends_at
        return ends is not None and ends == self.session.expires_at and not self.hours_end

    @property
    def idle(self) -> bool:
        """It runs no more, and costs money until it is released: its disk at least."""
        return self.session.terminal and self.billing == Billing.ACTIVE

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to ask the end of. What is idle has one, also when an
        earlier request for it is in doubt."""
        stands_still = self.idle or (self.doubt and self.session.idle_price is not None)
        return self.session.terminal and not stands_still

    @property
    def price_per_hour(self) -> float:
        """Dollars as it is now."""
        idle = self.session.idle_price if self.idle else None
        return self.session.price_per_hour if idle is None else idle

    @property
    def status(self) -> str:
        return "outbid" if self.session.outbid else self.session.status.value


@dataclass(frozen=True, slots=True)
class ResumableDeployment:
    """A deployment that was interrupted, and what it has rented. session_id: None while the answer
    to its rent request is not known. phase: where it had come. since: rented, or asked for, at.
    cost: dollars until now, of all its attempts. model: as it is served; asked_for: as typed.
    ending: its machine was being released, so that there is none to continue on."""

    deployment_id: str
    model: str
    asked_for: str
    phase: Phase
    session_id: str | None
    provider: str
    gpu_name: str
    gpu_count: int
    price_per_hour: float
    since: datetime
    cost: float
    ending: bool = False


@dataclass(frozen=True, slots=True)
class TunnelRow:
    """A tunnel that a process of its own (pid) keeps open. endpoint: as OpenAI clients want it,
    ending in /v1. api_key_file: a path on this computer. by: what carried it when it was opened,
    "openssh" or "built-in"; "" when not told."""

    session_id: str
    deployment_id: str
    model: str
    endpoint: str
    api_key_file: str
    pid: int
    since: datetime
    by: str = ""


PUBLIC_MEANS = (
    "anyone who has its address can reach the model: only its API key keeps them out,"
    " and requests pass through Cloudflare"
)
"""To be told to whoever makes an endpoint public."""


@dataclass(frozen=True, slots=True)
class PublicRow:
    """An endpoint that can be reached from everywhere. url: as OpenAI clients want it, ending in
    /v1, as last seen; "" while there is none yet. api_key_file: a path on this computer."""

    session_id: str
    deployment_id: str
    model: str
    url: str
    api_key_file: str
    since: datetime


@dataclass(frozen=True, slots=True)
class PastDeployment:
    """A past or present deployment as the journal tells it."""

    deployment_id: str
    model: str
    backend: str
    started_at: datetime
    outcome: str
    billing: str
    session_id: str | None
    cost: float


@dataclass(frozen=True, slots=True)
class ReachedEndpoint:
    """A served model as it can be asked from here. url: of the tunnel's end; price: $/h. hardware:
    such as "2 x RTX 4090"."""

    url: str
    key: Secret
    model: str
    price: float
    provider: str
    hardware: str = ""


Answer = AsyncGenerator[ChatPiece | ChatDone]


@dataclass(frozen=True, slots=True)
class ShellCommand:
    """words: of the command; they name files, never secrets. within: it works only while a program
    of ours runs that has the session open, as the machine's SSH server is part of it."""

    words: tuple[str, ...]
    within: bool = False


@dataclass(frozen=True, slots=True)
class ChatPartner:
    """A served model to talk to. ask: the answer to a conversation that ends with a question, as it
    comes; ends with ChatDone, and never raises for what the network or the server does. To be
    closed when it is left early: that ends the request."""

    model: str
    ask: Callable[[Sequence[ChatMessage], ChatOptions], Answer]


@dataclass(frozen=True, slots=True)
class Readings:
    """What is measured of a deployment of this process while its server runs. health: the latest
    sample, None unless it is held. gpu: what its GPUs do, None before the server starts. rounds:
    the latest rounds of health checks, oldest first. traffic: of the whole machine, as of a minute
    ago at most; None until it serves."""

    health: HealthSample | None = None
    gpu: GpuLoad | None = None
    rounds: Sequence[CheckRound] = ()
    traffic: Traffic | None = None
