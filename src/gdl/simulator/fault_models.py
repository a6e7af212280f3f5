"""The faults that a scenario may have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gdl.simulator.timing import Part

Operation = Literal[
    "health",
    "inventory",
    "offer",
    "offer-health",
    "create",
    "session",
    "sessions",
    "delete",
    "done",
    "extend",
    "diagnostics",
    "costs",
    "benchmarks",
    "templates",
    "ssh-key",
    "account",
    "api-keys",
    "price-increases",
    "volumes",
]
"""Kinds of requests to the service, and to a marketplace: `inventory` is its search, `create` to
rent, `sessions` the list of what is rented, `costs` its charges."""


class _Whom(Part):
    """The offers that a fault is for; none of these given: all of them.

    cheapest: places in the list by price, from 1. share: of all offers, drawn from the seed; an
    offer has at most one of all faults with a share.
    """

    offers: tuple[str, ...] = ()
    cheapest: tuple[int, ...] = ()
    provider: str = ""
    share: float | None = Field(default=None, ge=0, le=1)


class Stale(_Whom):
    """Taken by somebody else when it is asked for. form: how the service says it."""

    kind: Literal["stale"] = "stale"
    form: Literal["503", "500", "404", "nodes"] = "503"


class Refused(_Whom):
    """The service turns the rent request down with an error of its own. made: the marketplace has
    made the machine all the same, and the service does not know it."""

    kind: Literal["refused"] = "refused"
    made: bool = False
    status: int = Field(default=500, ge=400, le=599)
    error_type: str = "provision_failed"
    error: str = "the provider could not set the machine up"


class Disk(_Whom):
    """Less than this disk is refused; the row of the request stays, pending."""

    kind: Literal["disk"] = "disk"
    recommended_gb: int = Field(default=120, gt=0)


class SlowCreate(_Whom):
    """The marketplace takes so long to make the machine, which appears whatever becomes of the
    request or of the session meanwhile."""

    kind: Literal["slow-create"] = "slow-create"
    after: float = 8.0


class DestroyFails(_Whom):
    """The marketplace's destroy fails, whoever asks for it. times: how often; 0: always. seconds:
    for so long from the first request on, at a marketplace spoken to directly; 0: always."""

    kind: Literal["destroy-fails"] = "destroy-fails"
    times: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0)


class NeverReady(_Whom):
    """SSH never comes up, and the session fails: `after` seconds later, without it after
    `timing.verification`. At a marketplace spoken to directly, the machine stops by itself."""

    kind: Literal["never-ready"] = "never-ready"
    error: str = "SSH verification timeout"
    after: float | None = None


class SlowBoot(_Whom):
    kind: Literal["slow-boot"] = "slow-boot"
    after: float = 8.0


class KeyLate(_Whom):
    """It runs, but takes the key only after a while; 0: never."""

    kind: Literal["key-late"] = "key-late"
    after: float = 3.0


class Dies(_Whom):
    """The machine ends by itself. stays: only the service believes so; it runs and bills on."""

    kind: Literal["dies"] = "dies"
    at: Literal["provisioning", "installing", "loading", "serving"]
    after: float = 0.5
    error: str = "instance stopped unexpectedly: exited"
    stays: bool = False


class Falls(_Whom):
    """At a marketplace spoken to directly: the machine gets into another state by itself, which is
    told in the marketplace's own words. outbid: somebody else bids more for it."""

    kind: Literal["falls"] = "falls"
    to: Literal["exited", "offline", "unknown", "frozen", "stopped", "outbid"]
    at: Literal["provisioning", "installing", "loading", "serving"] = "serving"
    after: float = 0.5


class ContainerFails(_Whom):
    """The marketplace's container is created and cannot be started."""

    kind: Literal["container-fails"] = "container-fails"
    error: str = "OCI runtime create failed: runc create failed: unable to start container process"


class NoAddress(_Whom):
    """It runs, says a marketplace, and where it is is never told."""

    kind: Literal["no-address"] = "no-address"


class SshDead(_Whom):
    """A marketplace tells two ways to its machine, and one of them leads nowhere, or both."""

    kind: Literal["ssh-dead"] = "ssh-dead"
    way: Literal["direct", "proxy", "both"] = "direct"


class PriceRise(_Whom):
    """The host raises the price of a machine that runs, by that factor."""

    kind: Literal["price-rise"] = "price-rise"
    factor: float = Field(default=1.5, gt=1)
    after: float = 1.0


class Listed(_Whom):
    """A marketplace's row of the offer has other values than are true; null: no such field."""

    kind: Literal["listed"] = "listed"
    fields: dict[str, Any]


class Misreported(_Whom):
    """The service tells other values of the session than are true."""

    kind: Literal["misreported"] = "misreported"
    fields: dict[str, Any]


class NoDriver(_Whom):
    kind: Literal["no-driver"] = "no-driver"


class Driver(_Whom):
    """Another driver than the listing promises."""

    kind: Literal["driver"] = "driver"
    version: str
    cuda: str


class Rebuilding(_Whom):
    """The driver is being rebuilt for a while; 0: for ever."""

    kind: Literal["driver-rebuilding"] = "driver-rebuilding"
    after: float = 0.0


class Program(_Whom):
    """A program on the machine fails. log: a file of `logs/` (without `.log`), or the text itself
    in `text`. times: how often; 0: always. status: its exit status."""

    kind: Literal["program"] = "program"
    program: Literal["uv", "uv-venv", "uv-install", "pip-install", "install", "docker"]
    log: str = ""
    text: str = ""
    status: int = Field(default=1, ge=1, le=255)
    times: int = Field(default=0, ge=0)


class Server(_Whom):
    """The server does not serve.

    at: where it happens. import: before vLLM starts (exit 86); arguments, loading, memory: while
    it starts; silent: it lives, says its text, and never listens; loop: it starts again and again;
    request: it dies at its first generation; sick: every generation is answered with HTTP 500;
    template: it has no chat template, and answers chats with HTTP 400; unable: it calls no tools
    and does not reason, whatever it was started for; serving: it dies `after` seconds later;
    killed: its engine is killed, and it ends by itself with status 0 (while it starts: 1);
    orphaned: a signal (status - 128) ends it, and its engine runs on. These two happen
    in `phase`.
    logs: one of them is drawn from the seed. cured_by: a regular expression; a start whose command
    line, environment or history of installations matches goes well. times: how many starts of a
    machine `killed` and `orphaned` are for; 0: all.
    """

    kind: Literal["server"] = "server"
    at: Literal[
        "import",
        "arguments",
        "loading",
        "memory",
        "silent",
        "loop",
        "request",
        "sick",
        "template",
        "unable",
        "serving",
        "killed",
        "orphaned",
    ]
    phase: Literal["starting", "loading", "serving"] = "serving"
    times: int = Field(default=0, ge=0)
    logs: tuple[str, ...] = ()
    text: str = ""
    status: int = Field(default=1, ge=0, le=255)
    cured_by: str = ""
    after: float = 1.0


class Http(Part):
    """The service's answers to one kind of request go wrong.

    answer: 429 or 500 with the service's own error body; 502, 503 or 504 with a gateway's page; or
    unrouted (plain 404), timeout (no answer), garbage (HTML with status 200), empty (200 without a
    body), cut (connection reset), truncated (half the answer), short (cut off before the length
    that was promised), incomplete (without the field `without`, its path by dots, `*` for each of a
    list), nulled, renamed (that field), lies (delete: 200, but the machine stays), 301. At a
    marketplace spoken to directly also: unauthorized (the key is unknown), expired (the key's
    session is over), no-credit, quota (of the day's searches).
    made: what was asked for is done first. times: how often, 0: always; skip: requests that go well
    before; share: of all such requests, drawn from the seed.
    """

    kind: Literal["http"] = "http"
    on: Operation
    answer: Literal[
        "429",
        "500",
        "502",
        "503",
        "504",
        "unrouted",
        "timeout",
        "garbage",
        "empty",
        "cut",
        "truncated",
        "short",
        "incomplete",
        "nulled",
        "renamed",
        "lies",
        "301",
        "unauthorized",
        "expired",
        "no-credit",
        "quota",
    ]
    made: bool = False
    without: str = ""
    times: int = Field(default=1, ge=0)
    skip: int = Field(default=0, ge=0)
    share: float | None = Field(default=None, ge=0, le=1)
    retry_after: float | None = Field(default=None, ge=0)
    error: str = ""


OfferFault = (
    Stale
    | Refused
    | Disk
    | SlowCreate
    | DestroyFails
    | NeverReady
    | SlowBoot
    | KeyLate
    | Dies
    | Falls
    | ContainerFails
    | NoAddress
    | SshDead
    | PriceRise
    | Listed
    | Misreported
    | NoDriver
    | Driver
    | Rebuilding
    | Program
    | Server
)
Fault = Annotated[OfferFault | Http, Field(discriminator="kind")]
