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
    """From the answer to a rent request to a machine that can be entered; on cloud-gpu-shopper
    never more than 9 minutes of its session's life, because it gives up after 10, and then does not
    look whether the machine is gone."""
    connect: float = Field(default=20.0, gt=0)
    """One SSH connection, including authentication."""
    keepalive: float = Field(default=15.0, gt=0)
    """Between two SSH keep-alives; three missed ones end the connection."""
    away: float = Field(default=900.0, gt=0)
    """A machine that was entered, and is out of reach since, is waited for; its backend's word that
    it is gone ends that at once."""
    command: float = Field(default=60.0, gt=0)
    """A short command on the machine."""
    install: float = Field(default=1800.0, gt=0)
    """One installation step."""
    start: float = Field(default=1800.0, gt=0)
    """From the server's start to a model that answers; downloads and compilation included."""
    stall: float = Field(default=180.0, gt=0)
    """A starting server that does nothing for so long is given up."""
    inference: float = Field(default=120.0, gt=0)
    """One request to the served model."""
    release: float = Field(default=600.0, gt=0)
    """Until it is proven that the machine is gone."""
    hub: float = Field(default=6.0, gt=0)
    """All that the model hub is asked about one model, or for one search; then what is known
    without it must do."""


class Install(BaseModel):
    """How the engine gets onto the machine."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    version: str = ""
    """A release such as `0.32.0`; its old name, `vllm_version`, is understood as well. Default: the
    newest that fits."""
    installer: Literal["auto", "uv", "pip"] = "auto"
    """`uv`, `pip`, or `auto`: uv, and pip where uv cannot be had."""
    runtime: Literal["auto", "venv", "container", "binary"] = "auto"
    """Where the engine runs: `venv`, an environment of its own on the machine; `container`, its own
    image, by docker; `binary`, a program that needs neither, where an engine has one; `auto`, the
    environment, and the image where that fails and docker works."""
    image: str = Field(default="auto", pattern=r"^[A-Za-z0-9][A-Za-z0-9_./:@-]{0,254}$")
    """Container image that a rented machine starts, where its market lets one choose (vastai,
    runpod): `auto` takes the engine's own where that costs less to the first token than an install,
    `none` the market's usual one; or an image by its name, such as
    `vllm/vllm-openai:v0.32.0`."""
    find_links: tuple[str, ...] = ()
    """Folders or pages with wheels, as pip's `--find-links`; the machine's own pip configuration is
    honoured in any case."""
    extra_index_url: tuple[str, ...] = ()
    """Further package indexes, as pip's `--extra-index-url`."""
    work_dir: str = Field(default="~/.gdl-tui", pattern=r"^(~/|/)[^\x00\n]+$")
    """Folder on the machine for the environment, models and jobs. It is kept on machines of your
    own, so that the next deployment is quick; the `local` backend uses its own."""
    python: str = ""
    """Version or path of the Python to use, such as `3.12`. Default: one that fits."""


class Engine(BaseModel):
    """What serves, and how it is run."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str = DEFAULT_ENGINE
    """The engine: `vllm`, `llamacpp`, `sglang`, one of another package, or `auto`: [which
    suits](deploying.md#what-is-installed-and-where)."""
    port: int = Field(default=8000, ge=1, le=65535)
    """The port on the machine."""
    host: str = "127.0.0.1"
    """The address it listens on; the tunnel makes anything wider needless."""
    log: str = ""
    """The server's log on the machine. Default: where the engine puts it: `/tmp/vllm.log`."""
    args: tuple[str, ...] = ()
    """Further arguments for the server."""
    env: dict[str, str] = Field(default_factory=dict)
    """Further environment for the server."""
    max_model_len: int | None = Field(default=None, gt=0)
    """Context length. Default: what suits model and machine."""
    tools: bool = True
    """Let the server parse the model's calls of tools; `--no-tools` of `deploy` says no."""


class Hub(BaseModel):
    """Where models come from, and where their sizes and settings are asked for."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    endpoint: str = ""
    """The hub, or a mirror of it, that is asked what a model is. Default: `HF_ENDPOINT`, else
    `https://huggingface.co`."""
    offline: bool = False
    """Ask nobody: what is kept in the data folder and the program's own list must do. Default:
    `HF_HUB_OFFLINE`, else false."""
    fresh_hours: float = Field(default=24.0, ge=0)
    """Hours for which a kept answer is taken without asking again."""

    @field_validator("endpoint")
    @classmethod
    def _http_url(cls, value: str) -> str:
        return checked_url(value) if value else value


class Public(BaseModel):
    """Where cloudflared comes from, for `gdl-tui public` alone: nothing is public by itself."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cloudflared: str = Field(default="", pattern=r"^((https?://|/|~/)[^\x00-\x20]+)?$")
    """URL of the program itself (no archive), or its path on the machine. Default: the release for
    Linux that this version knows."""
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 of the file; nothing else is run. Default: of that release."""


class SshHost(BaseModel):
    """A machine one already has, listed in the configuration."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    host: str
    """`user@host:port`, or an alias of `~/.ssh/config`."""
    identity: str = ""
    """Private key file. Default: what `~/.ssh/config` or the agent offers."""
    price_per_hour: float = Field(default=0.0, ge=0)
    """Dollars; counted like a rented machine's."""
    gpu: str = ""
    """Name of its GPU, shown in the list of offers and used to choose. Default: seen when the
    machine is used."""
    gpu_count: int | None = Field(default=None, ge=0)
    """Number of its GPUs; 0: it has none. Default: one where `gpu` names it."""
    vram_gb: float = Field(default=0.0, ge=0)
    """GB of each GPU; 0: seen when the machine is used."""
    location: str = ""
    """Where it is, as the list of offers shows it. Default: not said."""


class Sandbox(BaseModel):
    """The simulated market of the `sandbox` backend. Nothing there is rented or costs anything."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    scenario: str = "demo"
    """What goes wrong: the name of a scenario, or the path of its file."""
    seed: int = Field(default=0, ge=0)
    """The same seed draws the same offers, and lets the same things fail."""
    speed: float = Field(default=1.0, ge=0.1, le=1000)
    """How many times faster simulated time passes, 0.1 to 1000."""
    offers: int = Field(default=0, ge=0, le=100_000)
    """Offers to list; 0: the usual sixty, or a thousand hosts of a marketplace (`--market
    vastai`)."""
    url: str = ""
    """A sandbox that runs already (`gdl-tui sandbox`). Default: one in this process."""

    @field_validator("url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        return checked_url(value) if value else value


class Guard(BaseModel):
    """What ends a machine while nobody watches it; see docs/costs.md."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    enabled: bool = True
    """Machines that have a limit (`max_spend`, or one of these two) get a guard that keeps it."""
    idle_minutes: float | None = Field(default=None, ge=1)
    """Minutes without a request after which the machine ends itself; `--idle` of `deploy`."""
    unseen_hours: float | None = Field(default=None, gt=0)
    """Hours without a gdl-tui connected to it after which the machine ends itself; `--unseen` of
    `deploy`."""


class Fleet(BaseModel):
    """What spreads requests over the replicas of `gdl-tui deploy --replicas N`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    router: Literal["vllm-router", "smg"] = "vllm-router"
    """The program: `vllm-router` or `smg`; the version that this gdl-tui knows is installed on this
    computer, into an environment of its own; `--router` of `deploy`."""
    policy: Literal["round_robin", "random", "power_of_two", "cache_aware"] = "round_robin"
    """How it chooses a replica: `round_robin`, `random`, `power_of_two` or `cache_aware`;
    `--policy` of `deploy`."""
    program: str = Field(default="", pattern=r"^([^\x00\n]+)?$")
    """Path of that program, where it is installed already. Default: installed when it is needed."""
    port: int = Field(default=0, ge=0, le=65535)
    """Port of the fleet's address on this computer; 0: a free one, the same for as long as the
    fleet lasts."""


class Vastai(BaseModel):
    """The marketplace Vast.ai, asked directly."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    url: str = "https://console.vast.ai"
    """Where Vast.ai answers; the paths of its interface are added."""
    key: SecretStr | None = None
    """API key; also taken from `VAST_API_KEY`, or from the files of Vast.ai's own client."""

    @field_validator("url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        return checked_url(value)


class Runpod(BaseModel):
    """The marketplace RunPod, asked directly."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    url: str = "https://api.runpod.io"
    """Where RunPod answers; the paths of its interface are added."""
    key: SecretStr | None = None
    """API key; also taken from `RUNPOD_API_KEY`, or from `~/.runpod/config.toml` of RunPod's own
    clients."""

    @field_validator("url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        return checked_url(value)


class Spending(BaseModel):
    """What may be spent on rented machines, by all deployments of this computer together."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    per_day: float | None = Field(default=None, gt=0)
    """Dollars that all deployments of this computer together may cost a day, by local time."""
    per_month: float | None = Field(default=None, gt=0)
    """The same for a calendar month, by local time."""


class Notify(BaseModel):
    """Who is told that a deployment serves, fails, is about to stop, has stopped, that its price
    rises or a balance is low."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    webhook_http: bool = False
    """Plain http is allowed to other computers, too."""
    webhook: SecretStr | None = None
    """Address that JSON is posted to; see [deploying](deploying.md#notifications). It may hold a
    secret, and is never shown."""
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
