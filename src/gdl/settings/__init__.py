"""Settings: flag > environment (`GDL_*`) > TOML file > default.

Nested names take a double underscore in the environment: `GDL_INSTALL__VERSION=0.32.0`.
The file is `config.toml` in the platform's configuration folder, or what `--config` names.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from gdl.domain.errors import UsageError
from gdl.settings.names import (
    NESTED,
    PREFIX,
    cannot_read,
    check_environment,
    explain,
    not_json,
    renamed,
)
from gdl.settings.sections import (
    Engine,
    Fleet,
    Guard,
    Hub,
    Install,
    Notify,
    Public,
    Runpod,
    Sandbox,
    Spending,
    SshHost,
    Timeouts,
    Vastai,
    checked_url,
)

__all__ = [
    "Engine",
    "Fleet",
    "Guard",
    "Hub",
    "Install",
    "Notify",
    "Public",
    "Runpod",
    "Sandbox",
    "Settings",
    "Spending",
    "SshHost",
    "Timeouts",
    "Vastai",
    "config_file",
    "default_config_file",
    "load",
    "write_first",
]


def _flattened(table: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


class Settings(BaseSettings):
    """Everything that can be set. Frozen; secrets are SecretStr and print as asterisks."""

    model_config = SettingsConfigDict(
        allow_inf_nan=False,
        env_prefix=PREFIX,
        env_nested_delimiter=NESTED,
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    backend: str = "shopper"
    """Who lists and rents the machines: `vastai`, `runpod`, `shopper`, `ssh`, `local`, `sandbox`,
    one from another package, or several separated by commas (`vastai,runpod`), which share one
    table of offers and one failover. Default: every marketplace whose key is set (`vastai`,
    `runpod`), and `shopper` if `shopper_url` is set; if there is none, `shopper`."""
    shopper_url: str = "http://localhost:8080"
    """Address of cloud-gpu-shopper."""
    consumer_id: str = ""
    """Identifies you to cloud-gpu-shopper. Default: an id created once per installation."""
    max_price: float | None = Field(default=None, gt=0)
    """Highest price in dollars per hour; nothing more expensive is rented."""
    max_spend: float | None = Field(default=None, gt=0)
    """Dollars that a deployment may cost in all: all attempts, and the time it serves."""
    min_reliability: float | None = Field(default=None, ge=0, le=1)
    """Fraction of the time (0 to 1) that a machine must have been up; offers that do not state it
    pass."""
    hours: int = Field(default=1, ge=1, le=12)
    """Hours to reserve, 1 to 12."""
    max_attempts: int = Field(default=3, ge=1, le=20)
    """Machines to try, 1 to 20; offers that are already gone do not count."""
    exclude_provider_after: int = Field(default=3, ge=0, le=100)
    """A provider is excluded after SSH failures on this many of its hosts in a row, until you
    include it; 0: never."""
    hf_token: SecretStr | None = None
    """For gated models; it reaches the machine in a file of mode 0600. Default: `HF_TOKEN`."""
    hosts: tuple[SshHost, ...] = ()
    """Machines that you already have, for the `ssh` backend: one table `[[hosts]]` each."""
    tunnel: Literal["auto", "openssh", "built-in"] = "auto"
    """What carries the tunnel to the endpoint: `openssh`, this computer's own `ssh`, which is
    faster and takes a fraction of the CPU time; `built-in`, the program's own connection; `auto`,
    `ssh` if it can log in to the machine by itself (a key in a file, no jump host, a server that is
    not our own). Your `~/.ssh/config` is not used; the pinned host key is. While `ssh` cannot
    connect, the tunnel uses the built-in connection."""
    keys: dict[str, str] = Field(default_factory=dict)
    """Keys of the terminal UI: the id of a binding and its keys, such as `"d,enter"`, in a table
    `[keys]`; [all ids](keys.md)."""
    theme: str = ""
    """Theme of the terminal UI, such as `ansi-dark` or `high-contrast`. Default: the one you chose
    last, or the program's own."""
    reduced_motion: bool = False
    """No animations and no blinking cursor in the terminal UI, as with
    `TEXTUAL_ANIMATIONS=none`."""
    save_chats: bool = True
    """Save conversations with models, in files of mode 0600 in the folder `conversations` of
    `data_dir`."""
    read_only: bool = False
    """Nothing is rented, changed or destroyed."""
    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("gdl-tui"))
    """Journal, keys and logs; on Linux `~/.local/share/gdl-tui`. Default: the platform's data
    folder."""
    timeouts: Timeouts = Field(default_factory=Timeouts)
    install: Install = Field(default_factory=Install)
    engine: Engine = Field(default_factory=Engine)
    hub: Hub = Field(default_factory=Hub)
    guard: Guard = Field(default_factory=Guard)
    fleet: Fleet = Field(default_factory=Fleet)
    sandbox: Sandbox = Field(default_factory=Sandbox)
    vastai: Vastai = Field(default_factory=Vastai)
    runpod: Runpod = Field(default_factory=Runpod)
    public: Public = Field(default_factory=Public)
    spending: Spending = Field(default_factory=Spending)
    notify: Notify = Field(default_factory=Notify)

    @field_validator("keys", mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        """TOML reads `offers.deploy = "d"` as a table in a table."""
        return dict(_flattened(value, "")) if isinstance(value, dict) else value

    @field_validator("shopper_url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        return checked_url(value)

    @field_validator("backend")
    @classmethod
    def _each_once(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",")]
        return ",".join(dict.fromkeys(names))

    @property
    def backends(self) -> tuple[str, ...]:
        """The names in `backend`."""
        return tuple(self.backend.split(","))

    @cached_property
    def keys_dir(self) -> Path:
        return self.data_dir / "keys"

    @cached_property
    def logs_dir(self) -> Path:
        return self.data_dir / "logs"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        toml = TomlConfigSettingsSource(settings_cls, _config_file)
        return init_settings, _Renamed(env_settings), _Renamed(toml)


class _Renamed(PydanticBaseSettingsSource):
    """A source with today's names for what was called otherwise when there was one engine."""

    def __init__(self, source: PydanticBaseSettingsSource) -> None:
        super().__init__(source.settings_cls)
        self._source = source

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._source.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        return renamed(self._source())


_config_file: Path = Path()
"""The file that the next Settings() reads; set by `load` alone."""


def default_config_file() -> Path:
    return platformdirs.user_config_path("gdl-tui") / "config.toml"


def config_file() -> Path:
    """The file that `load` read, or would have read."""
    return _config_file if _config_file != Path() else default_config_file()


def write_first(backend: str, host: str | None = None) -> Path:
    """Make the configuration file with this backend, and these machines for `ssh`, several with
    commas; its path.

    Raises UsageError when there is a file already: what is in it is the user's own.
    """
    path = config_file()
    lines = [
        "# Written by gdl-tui; docs/configuration.md says what else can be set.",
        f'backend = "{backend}"',
    ]
    if host is not None:
        # A JSON string is a TOML string.
        for name in host.split(","):
            lines += ["", "[[hosts]]", f"host = {json.dumps(name)}"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.link(file.name, path)
    except FileExistsError:
        raise UsageError(f"{path} is there already", f'set backend = "{backend}" in it') from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", "check its folder") from None
    return path


def load(config: Path | None = None, **flags: Any) -> Settings:
    """The settings in force. `flags` given as None are left to the other sources.

    Raises UsageError when the file is missing (if it was named), unreadable or wrong, and for a
    name in it or in the environment that is no setting.
    """
    global _config_file
    _config_file = config or default_config_file()
    if config is not None and not config.is_file():
        raise UsageError(f"no configuration file {config}", "check the path after --config")
    check_environment(Settings, os.environ)
    try:
        if _config_file.is_dir():
            raise IsADirectoryError
        settings = Settings(**{k: v for k, v in flags.items() if v is not None})
    except ValidationError as error:
        raise explain(Settings, error, _config_file) from None
    except SettingsError as error:  # tells the field alone, and that in its text
        field = re.search(r'field "(\w+)"', str(error))
        raise not_json(Settings, field[1] if field else "settings") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{_config_file} is not valid TOML: {error}", "correct the line it names"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise cannot_read(_config_file, error) from None
    return _with_hub_environment(settings)


def _with_hub_environment(settings: Settings) -> Settings:
    """What the hub's own tools read from the environment, where nothing else says it."""
    told: dict[str, Any] = {}
    if settings.hf_token is None and os.environ.get("HF_TOKEN"):
        told["hf_token"] = SecretStr(os.environ["HF_TOKEN"].strip())
    token = told.get("hf_token", settings.hf_token)
    if token is not None and not re.fullmatch(r"[!-~]*", token.get_secret_value()):
        raise UsageError(
            "the model hub's token has characters that no token has",
            "copy it again: HF_TOKEN, or hf_token in the settings",
        )
    hub: dict[str, Any] = {}
    endpoint = os.environ.get("HF_ENDPOINT", "").strip()
    if endpoint and not settings.hub.endpoint:
        try:
            hub["endpoint"] = checked_url(endpoint)
        except ValueError as error:
            raise UsageError(f"HF_ENDPOINT {error}", "correct or unset it") from None
    told_offline = os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in _TRUE
    if told_offline and "offline" not in settings.hub.model_fields_set:
        hub["offline"] = True
    if hub:
        told["hub"] = settings.hub.model_copy(update=hub)
    return settings.model_copy(update=told) if told else settings


_TRUE = frozenset({"1", "ON", "YES", "TRUE"})
