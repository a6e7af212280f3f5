"""The tables of the settings, such as [install] and [engine]."""

from __future__ import annotations

import ipaddress
import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from gdl.domain.default_engine import DEFAULT_ENGINE


def checked_url(value: str) -> str:
    """An http(s) address without the slash at its end. Raises ValueError."""
    try:
        possible = urlsplit(value).port != 0
    except ValueError:
        possible = False
    if not possible or not re.fullmatch(r"https?://[^\s/]+(/[^\s]*)?", value):
        raise ValueError("must look like http://host:port")
    return value.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host of an address is this computer."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Timeouts(BaseModel):
    """Seconds. A time-out ends a wait; it never ends a machine without saying so."""

    model_config = ConfigDict(extra="forbid")

    http: float = Field(default=30.0, gt=0)
    """Ordinary requests to the backend."""
    rent: float = Field(default=310.0, gt=0)
    """Rent and release: the shopper itself may take 300 s, and a cut request cancels its work."""
    session: float = Field(default=600.0, gt=0)
    """From the rent answer to a machine that can be entered."""
    connect: float = Field(default=20.0, gt=0)
    """One SSH connection, including authentication."""
    keepalive: float = Field(default=15.0, gt=0)
    """Between two SSH keep-alives; three missed ones end the connection."""
    away: float = Field(default=900.0, gt=0)
    """A machine that was entered and is out of reach is waited for so long; shorter where its
    backend says that it is gone."""
    command: float = Field(default=60.0, gt=0)
    """A short command on the machine."""
    install: float = Field(default=1800.0, gt=0)
    """One installation step."""
    start: float = Field(default=1800.0, gt=0)
    """From the server's start to a model that answers; downloads and compilation included."""
    stall: float = Field(default=180.0, gt=0)
    """A starting server that does nothing for so long, by all that is measured, is given up."""
    inference: float = Field(default=120.0, gt=0)
    """One request to the served model."""
    release: float = Field(default=600.0, gt=0)
    """Until the backend confirms that the machine is gone."""
    hub: float = Field(default=6.0, gt=0)
    """All that the model hub is asked for one answer; a connection to it has at most 5."""


class Install(BaseModel):
    """How the engine gets onto the machine."""

    model_config = ConfigDict(extra="forbid")

    version: str = ""
    """A release such as "0.32.0"; empty: the newest that fits the machine."""
    installer: Literal["auto", "uv", "pip"] = "auto"
    """auto: uv, and pip where uv cannot be had."""
    runtime: Literal["auto", "venv", "container", "binary"] = "auto"
    """Where the engine runs. venv: an environment of its own on the machine. container: its own
    image, by docker. binary: a program that needs neither, where an engine has one. auto: the
    environment, and the image where that fails and docker works."""
    image: str = Field(default="auto", pattern=r"^[A-Za-z0-9][A-Za-z0-9_./:@-]{0,254}$")
    """The container image that a rented machine starts, where its market lets one choose. auto: the
    engine's own where that costs less to the first token than an install, else the market's usual
    one; none: always that one; else the name of an image, such as "vllm/vllm-openai:v0.32.0"."""
    find_links: tuple[str, ...] = ()
    """Folders or pages with wheels, as pip's --find-links. The machine's own pip configuration
    is honoured in any case."""
    extra_index_url: tuple[str, ...] = ()
    """Further package indexes, as pip's --extra-index-url."""
    work_dir: str = Field(default="~/.gdl-tui", pattern=r"^(~/|/)[^\x00\n]+$")
    """Folder on the machine for the environment, models and jobs; kept on machines of your own,
    so that the next deployment is quick. The `local` backend uses its own."""
    python: str = ""
    """Version or path of the Python to use, such as "3.12"; empty: one that fits."""


class Engine(BaseModel):
    """What serves, and how it is run."""

    model_config = ConfigDict(extra="forbid")

    name: str = DEFAULT_ENGINE
    """The engine; `gdl.engines.registry` has those there are."""
    port: int = Field(default=8000, ge=1, le=65535)
    """The port on the machine."""
    host: str = "127.0.0.1"
    """The address it listens on; the tunnel makes anything wider needless."""
    log: str = ""
    """The server's log on the machine; empty: where this engine or the backend puts it."""
    args: tuple[str, ...] = ()
    """Further arguments for the server."""
    env: dict[str, str] = Field(default_factory=dict)
    """Further environment for the server."""
    max_model_len: int | None = Field(default=None, gt=0)
    """Context length; None: what suits the model and the machine."""
    tools: bool = True
    """Calls of tools are parsed, where it is known how the model writes them."""


class Hub(BaseModel):
    """Where models come from, and where their sizes and settings are asked for."""

    model_config = ConfigDict(extra="forbid")

    endpoint: str = ""
    """The hub or a mirror of it; empty: HF_ENDPOINT, else https://huggingface.co."""
    offline: bool = False
    """Ask nobody: what is kept, and the program's own list, must do. Also by HF_HUB_OFFLINE."""
    fresh_hours: float = Field(default=24.0, ge=0)
    """Hours for which an answer of the hub is taken from the data folder without asking again."""

    @field_validator("endpoint")
    @classmethod
    def _http_url(cls, value: str) -> str:
        return checked_url(value) if value else value


class Public(BaseModel):
    """Where cloudflared comes from, for `gdl-tui public` alone: nothing is public by itself."""

    model_config = ConfigDict(extra="forbid")

    cloudflared: str = Field(default="", pattern=r"^((https?://|/|~/)[^\x00-\x20]+)?$")
    """URL of the program itself (no archive), or its path on the machine; empty: the release for
    Linux that this version knows the checksums of."""
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 of that file, in lower case. Nothing else is run."""


class SshHost(BaseModel):
    """A machine one already has, listed in the configuration."""

    model_config = ConfigDict(extra="forbid")

    host: str
    """`user@host:port`, or an alias of ~/.ssh/config."""
    identity: str = ""
    """Private key file; empty: what ~/.ssh/config or the agent offers."""
    price_per_hour: float = Field(default=0.0, ge=0)
    gpu: str = ""
    gpu_count: int | None = Field(default=None, ge=0)
    """0: it has none. None: one where `gpu` names it, else it is seen when the machine is used."""
    vram_gb: float = Field(default=0.0, ge=0)
    location: str = ""


class Sandbox(BaseModel):
    """The simulated market of the `sandbox` backend. Nothing there is rented or costs anything."""

    model_config = ConfigDict(extra="forbid")

    scenario: str = "demo"
    """What goes wrong: the name of a scenario, or the path of its file."""
    seed: int = Field(default=0, ge=0)
    """The same seed draws the same offers, and lets the same things fail."""
    speed: float = Field(default=1.0, ge=0.1, le=1000)
    """How many times faster than usual simulated time passes."""
    offers: int = Field(default=0, ge=0, le=100_000)
    """Offers to list; 0: the usual sixty, or a thousand hosts of a marketplace."""
    url: str = ""
    """A sandbox that runs already (`gdl-tui sandbox`); empty: one in this process, which ends
    with it."""

    @field_validator("url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        return checked_url(value) if value else value


class Guard(BaseModel):
    """What ends a machine while nobody watches it; see docs/deploying.md."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = True
    """A guard is put on machines that have a limit: max_spend, or one of these."""
    idle_minutes: float | None = Field(default=None, ge=1)
    """Minutes without a request after which the machine ends itself."""
    unseen_hours: float | None = Field(default=None, gt=0)
    """Hours without a gdl-tui connected to it after which the machine ends itself."""


class Fleet(BaseModel):
    """What spreads requests over the replicas of `gdl-tui deploy --replicas N`."""

    model_config = ConfigDict(extra="forbid")

    router: Literal["vllm-router", "smg"] = "vllm-router"
    """The program; the version that this one knows is installed into an environment of its own."""
    policy: Literal["round_robin", "random", "power_of_two", "cache_aware"] = "round_robin"
    """How it chooses a replica for a request."""
    program: str = Field(default="", pattern=r"^([^\x00\n]+)?$")
    """Path of that program on this computer, where it is installed already; empty: install it."""
    port: int = Field(default=0, ge=0, le=65535)
    """Of the fleet's address on this computer; 0: a free one, the same for as long as the fleet
    lasts."""


class Vastai(BaseModel):
    """The marketplace Vast.ai, asked directly."""

    model_config = ConfigDict(extra="forbid")

    url: str = "https://console.vast.ai"
    """Where it answers; the paths of its interface are added."""
    key: SecretStr | None = None
    """API key; also taken from VAST_API_KEY, or from the files of Vast.ai's own client."""

    @field_validator("url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        return checked_url(value)


class Runpod(BaseModel):
    """The marketplace RunPod, asked directly."""

    model_config = ConfigDict(extra="forbid")

    url: str = "https://api.runpod.io"
    """Where it answers; the paths of its interface are added."""
    key: SecretStr | None = None
    """API key; also taken from RUNPOD_API_KEY, or from the files of RunPod's own clients."""

    @field_validator("url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        return checked_url(value)


class Spending(BaseModel):
    """What may be spent on rented machines, by all deployments of this computer together."""

    model_config = ConfigDict(extra="forbid")

    per_day: float | None = Field(default=None, gt=0)
    """Dollars a day, by local time."""
    per_month: float | None = Field(default=None, gt=0)
    """Dollars a calendar month, by local time."""


class Notify(BaseModel):
    """Who is told that a deployment serves, fails, is about to stop, has stopped, that its price
    rises or a balance is low."""

    model_config = ConfigDict(extra="forbid")

    webhook_http: bool = False
    """Plain http is allowed to other computers, too."""
    webhook: SecretStr | None = None
    """Where JSON is posted to; it may hold a secret, and is never shown."""
    desktop: bool = False
    """Notifications on the desktop, by notify-send or osascript."""

    @field_validator("webhook")
    @classmethod
    def _safe(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        url = value.get_secret_value()
        checked_url(url)
        if not re.fullmatch(r"[!-~]+", url):
            raise ValueError("has characters that no address has")
        parts = urlsplit(url)
        plain = parts.scheme != "https" and not is_loopback(parts.hostname or "")
        if plain and not info.data.get("webhook_http"):
            raise ValueError("must be https, or on this computer; notify.webhook_http allows more")
        return value
