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

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    http: float = Field(default=30.0, gt=0)
    """An ordinary request to the backend."""
    rent: float = Field(default=310.0, gt=0)
    """Rent and release: cloud-gpu-shopper itself may take 300 s."""
    session: float = Field(default=600.0, gt=0)
    """From the answer to a rent request until the machine can be reached; on cloud-gpu-shopper, the
    wait ends 9 minutes after the session began at the latest, because the service gives up after
    10, and then does not check whether the machine is gone."""
    connect: float = Field(default=20.0, gt=0)
    """One SSH connection, including authentication."""
    keepalive: float = Field(default=15.0, gt=0)
    """Between two SSH keep-alives; three missed ones end the connection."""
    away: float = Field(default=900.0, gt=0)
    """How long to wait for a machine that was reached before and no longer is; if its backend says
    that it is gone, the wait ends at once."""
    command: float = Field(default=60.0, gt=0)
    """A short command on the machine."""
    install: float = Field(default=1800.0, gt=0)
    """One installation step."""
    start: float = Field(default=1800.0, gt=0)
    """From the server's start until the model answers, including downloads and compilation."""
    stall: float = Field(default=180.0, gt=0)
    """A starting server that does nothing for this long is given up."""
    inference: float = Field(default=120.0, gt=0)
    """One request to the served model."""
    release: float = Field(default=600.0, gt=0)
    """Until it is proven that the machine is gone."""
    hub: float = Field(default=6.0, gt=0)
    """All requests to the model hub about one model, or for one search; after that, only what is
    known without the hub is used."""


class Install(BaseModel):
    """How the engine gets onto the machine."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    version: str = ""
    """A release such as `0.32.0`. The setting's old name, `vllm_version`, still works. Default: the
    newest that fits."""
    installer: Literal["auto", "uv", "pip"] = "auto"
    """`uv`, `pip`, or `auto`: uv, or pip if uv is not available."""
    runtime: Literal["auto", "venv", "container", "binary"] = "auto"
    """Where the engine runs: `venv`, an environment of its own on the machine; `container`, its own
    image, in docker; `binary`, a program that needs neither, if the engine has one; `auto`, the
    environment, or the image if the environment fails and docker works."""
    image: str = Field(default="auto", pattern=r"^[A-Za-z0-9][A-Za-z0-9_./:@-]{0,254}$")
    """Container image that a rented machine starts, if its marketplace lets you choose (vastai,
    runpod): `auto`, the engine's own image where it costs less until the first token than an
    install; `none`, the marketplace's usual one; or the name of an image, such as
    `vllm/vllm-openai:v0.32.0`."""
    find_links: tuple[str, ...] = ()
    """Folders or pages with wheels, like pip's `--find-links`; the machine's own pip configuration
    is honoured in any case."""
    extra_index_url: tuple[str, ...] = ()
    """Additional package indexes, like pip's `--extra-index-url`."""
    work_dir: str = Field(default="~/.gdl-tui", pattern=r"^(~/|/)[^\x00\n]+$")
    """Folder on the machine for the environment, models and jobs. On machines of your own it is
    kept, so that the next deployment is quick; the `local` backend uses a folder of its own."""
    python: str = ""
    """Version or path of the Python to use, such as `3.12`. Default: one that fits."""


class Engine(BaseModel):
    """What serves, and how it is run."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str = DEFAULT_ENGINE
    """The engine: `vllm`, `llamacpp`, `sglang`, one from another package, or `auto`: [chosen by
    model and machine](deploying.md#what-is-installed-and-where)."""
    port: int = Field(default=8000, ge=1, le=65535)
    """The port on the machine."""
    host: str = "127.0.0.1"
    """The address that the server listens on; because of the tunnel, nothing wider is needed."""
    log: str = ""
    """The server's log on the machine. Default: the engine's own place, such as
    `/tmp/vllm.log`."""
    args: tuple[str, ...] = ()
    """Additional arguments for the server."""
    env: dict[str, str] = Field(default_factory=dict)
    """Additional environment variables for the server."""
    max_model_len: int | None = Field(default=None, gt=0)
    """Context length. Default: what suits the model and the machine."""
    tools: bool = True
    """Let the server parse the model's tool calls; `--no-tools` of `deploy` turns this off."""


class Hub(BaseModel):
    """Where models come from, and where their sizes and settings are asked for."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    endpoint: str = ""
    """The model hub, or a mirror of it. Default: `HF_ENDPOINT`, or `https://huggingface.co`."""
    offline: bool = False
    """Never ask the hub: only the answers saved in the data folder and the program's own list are
    used. Default: `HF_HUB_OFFLINE`, or false."""
    fresh_hours: float = Field(default=24.0, ge=0)
    """Hours for which a saved answer is used without asking again."""

    @field_validator("endpoint")
    @classmethod
    def _http_url(cls, value: str) -> str:
        return checked_url(value) if value else value


class Public(BaseModel):
    """Where cloudflared comes from, for `gdl-tui public` alone: nothing is public by itself."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cloudflared: str = Field(default="", pattern=r"^((https?://|/|~/)[^\x00-\x20]+)?$")
    """URL of the program itself (not an archive), or its path on the machine. Default: the release
    for Linux that this version of gdl-tui knows."""
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 of the file; nothing else is run. Default: that of the same release."""


class SshHost(BaseModel):
    """A machine one already has, listed in the configuration."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    host: str
    """`user@host:port`, or an alias of `~/.ssh/config`."""
    identity: str = ""
    """Private key file. Default: what `~/.ssh/config` or the agent offers."""
    price_per_hour: float = Field(default=0.0, ge=0)
    """Dollars per hour; counted like the price of a rented machine."""
    gpu: str = ""
    """Name of its GPU, shown in the list of offers and used to choose. Default: detected when the
    machine is used."""
    gpu_count: int | None = Field(default=None, ge=0)
    """Number of its GPUs; 0: it has none. Default: 1 if `gpu` is set."""
    vram_gb: float = Field(default=0.0, ge=0)
    """Memory of each GPU in GB; 0: detected when the machine is used."""
    location: str = ""
    """Where it is, as shown in the list of offers. Default: not shown."""


class Sandbox(BaseModel):
    """The simulated market of the `sandbox` backend. Nothing there is rented or costs anything."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    scenario: str = "demo"
    """What goes wrong: the name of a scenario, or the path of its file."""
    seed: int = Field(default=0, ge=0)
    """The same seed produces the same offers and the same failures."""
    speed: float = Field(default=1.0, ge=0.1, le=1000)
    """How many times faster simulated time passes, 0.1 to 1000."""
    offers: int = Field(default=0, ge=0, le=100_000)
    """Number of offers; 0: the usual sixty, or a thousand hosts of a marketplace (`--market
    vastai`)."""
    url: str = ""
    """Address of a sandbox that is already running (`gdl-tui sandbox`). Default: one in this
    process."""

    @field_validator("url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        return checked_url(value) if value else value


class Guard(BaseModel):
    """What ends a machine while nobody watches it; see docs/costs.md."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    enabled: bool = True
    """Machines with a limit (`max_spend`, or one of the next two) get a guard that enforces it,
    where they can have one: those of `shopper` end with their reserved hours instead."""
    idle_minutes: float | None = Field(default=None, ge=1)
    """Minutes without a request after which the machine ends itself; `--idle` of `deploy`."""
    unseen_hours: float | None = Field(default=None, gt=0)
    """Hours without a gdl-tui connected to it after which the machine ends itself; `--unseen` of
    `deploy`."""


class Fleet(BaseModel):
    """What spreads requests over the replicas of `gdl-tui deploy --replicas N`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    router: Literal["vllm-router", "smg"] = "vllm-router"
    """The router: `vllm-router` or `smg`. The version that this gdl-tui knows is installed on this
    computer, into an environment of its own; `--router` of `deploy`."""
    policy: Literal["round_robin", "random", "power_of_two", "cache_aware"] = "round_robin"
    """How the router chooses a replica: `round_robin`, `random`, `power_of_two` or `cache_aware`;
    `--policy` of `deploy`."""
    program: str = Field(default="", pattern=r"^([^\x00\n]+)?$")
    """Path of the router, if it is already installed. Default: installed when needed."""
    port: int = Field(default=0, ge=0, le=65535)
    """Port of the fleet's address on this computer; 0: a free port, which stays the same as long as
    the fleet exists."""


class Vastai(BaseModel):
    """The marketplace Vast.ai, asked directly."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    url: str = "https://console.vast.ai"
    """Address of Vast.ai; the paths of its API are appended."""
    key: SecretStr | None = None
    """API key; otherwise taken from `VAST_API_KEY`, or from the files of Vast.ai's own client."""

    @field_validator("url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        return checked_url(value)


class Runpod(BaseModel):
    """The marketplace RunPod, asked directly."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    url: str = "https://api.runpod.io"
    """Address of RunPod; the paths of its API are appended."""
    key: SecretStr | None = None
    """API key; otherwise taken from `RUNPOD_API_KEY`, or from `~/.runpod/config.toml` of RunPod's
    own clients."""

    @field_validator("url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        return checked_url(value)


class Spending(BaseModel):
    """What may be spent on rented machines, by all deployments of this computer together."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    per_day: float | None = Field(default=None, gt=0)
    """Dollars that all deployments of this computer together may cost per day (local time)."""
    per_month: float | None = Field(default=None, gt=0)
    """The same per calendar month (local time)."""


class Notify(BaseModel):
    """Who is told that a deployment serves, fails, is about to stop, has stopped, that its price
    rises or a balance is low."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    webhook_http: bool = False
    """Allow plain http to other computers as well."""
    webhook: SecretStr | None = None
    """URL to which JSON is posted; see [deploying](deploying.md#notifications). It may contain a
    secret, so it is never shown."""
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
            raise ValueError("contains characters that a URL cannot have")
        parts = urlsplit(url)
        plain = parts.scheme != "https" and not is_loopback(parts.hostname or "")
        if plain and not info.data.get("webhook_http"):
            raise ValueError("must be https, or on this computer; notify.webhook_http allows more")
        return value
