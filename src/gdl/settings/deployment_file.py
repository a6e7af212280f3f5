"""A deployment as a file: what is to be deployed, and the settings that hold for it alone.

Its keys are the names of the options of `gdl-tui deploy`, and the names of settings. It is kept in
a repository of the user's, so that it takes no secret.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gdl.domain.errors import UsageError
from gdl.domain.fleet_spec import MOST_REPLICAS
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.requirement import about, of_problem
from gdl.settings.hiding import hold_secret
from gdl.settings.names import line_of, sounds_secret, what_else
from gdl.settings.sections import Engine, Fleet, Guard, Install, Timeouts

_MOST_BYTES = 64 * 1024
_KEPT_ELSEWHERE = ("hf_token", "vastai", "runpod", "notify", "webhook")
"""Settings that are a secret, or hold one."""
_SETTINGS = (
    *("max_price", "max_spend", "hours", "max_attempts", "exclude_provider_after"),
    *("min_reliability", "engine", "install", "guard", "timeouts", "fleet"),
)


class DeploymentFile(BaseModel):
    """Nothing has to be said; the model, unless the command line names one."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str | None = Field(default=None, min_length=1)
    backend: str | None = None
    host: str | None = None
    identity: str | None = None
    provider: str | None = None
    exclude_provider: tuple[str, ...] = ()
    include_provider: tuple[str, ...] = ()
    exclude_provider_after: int | None = Field(default=None, ge=0, le=100)
    offer: str | None = None
    min_vram: float | None = Field(default=None, ge=0)
    min_reliability: float | None = Field(default=None, ge=0, le=1)
    max_price: float | None = Field(default=None, gt=0)
    max_spend: float | None = Field(default=None, gt=0)
    hours: int | None = Field(default=None, ge=1, le=12)
    max_attempts: int | None = Field(default=None, ge=1, le=20)
    context: int | None = Field(default=None, ge=1)
    concurrency: int | None = Field(default=None, ge=1, le=4096)
    quantization: str | None = None
    text_only: bool = False
    sort: Literal["session", "price"] | None = None
    interruptible: bool = False
    bid: float | None = Field(default=None, gt=0)
    volume: str | None = None
    volume_size: int | None = Field(default=None, ge=1, le=4096)
    bench: bool | None = None
    after: Literal["destroy", "keep", "hold"] | None = None
    nodes: int | None = Field(default=None, ge=1, le=64)
    replicas: int | None = Field(default=None, ge=1, le=MOST_REPLICAS)
    spread_markets: bool = False
    if_short: Literal["keep", "release"] | None = None
    auto_fix: bool | None = None
    trust_remote_code: bool | None = None
    engine: Engine = Field(default_factory=Engine)
    install: Install = Field(default_factory=Install)
    guard: Guard = Field(default_factory=Guard)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    fleet: Fleet = Field(default_factory=Fleet)

    @model_validator(mode="after")
    def _agrees(self) -> DeploymentFile:
        if self.bid is not None and not self.interruptible:
            raise ValueError("bid is for interruptible = true")
        return self


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a file says. options: of `deploy`, by their names there. settings: what overrides the
    settings in force."""

    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    path: Path
    text: str

    def at(self, *name: str) -> str:
        """Where a name stands: "model.toml, line 3", or the file alone."""
        return _place(self.path, self.text, name)


def read(path: Path) -> Wanted:
    """What the file says. Raises UsageError, with the line, for what cannot be."""
    text = _text(path)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        told = re.sub(r" \(at (line \d+), column (\d+)\)$", r" (\1, column \2)", str(error))
        raise UsageError(f"{path} is not valid TOML: {told}", "correct that line") from None
    try:
        said = DeploymentFile(**table).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise _explained(error, path, text) from None
    _refuse_secrets(said, path, text)
    settings = {name: said.pop(name) for name in _SETTINGS if name in said}
    return Wanted(said, settings, path, text)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        hint = "`gdl-tui export ID --to toml` writes one of what is running"
        raise UsageError(f"no deployment file {path}", hint) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "check its path") from None
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{path} is too long for a deployment file", "check the path after -f")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{path}, line {line}: not UTF-8", "save it as UTF-8, as TOML has to be"
        ) from None


def _place(path: Path, text: str, name: Sequence[object]) -> str:
    """Where the name stands, or the nearest thing around it."""
    for length in range(len(name), 0, -1):
        place = tuple(part if isinstance(part, int) else str(part) for part in name[:length])
        if line := line_of(text, place):
            return f"{path}, line {line}"
    return str(path)


def _explained(error: ValidationError, path: Path, text: str) -> UsageError:
    """The first thing that is wrong, without its value."""
    first = error.errors(include_input=False, include_url=False)[0]
    place = first["loc"]
    at, name = _place(path, text, place), ".".join(str(part) for part in place)
    if first["type"] == "extra_forbidden":
        if place[0] in _KEPT_ELSEWHERE:
            return UsageError(
                f"{at}: {name} is or holds a secret, which a deployment file does not take",
                "set it in config.toml or by an environment variable",
            )
        return UsageError(
            f"{at}: there is no {ascii(name)[1:81].rstrip(chr(39))}",
            what_else(DeploymentFile, place),
        )
    message = of_problem(first)
    told = about(name, message[:1].lower() + message[1:]) if name else message
    return UsageError(f"{at}: {told}", "docs/configuration.md says what it can be")


def _refuse_secrets(said: Mapping[str, Any], path: Path, text: str) -> None:
    """Raises UsageError for a variable or an argument of the server that sounds like a secret."""
    engine = said.get("engine", {})
    if hold_secret(engine.get("args", ())):
        raise UsageError(
            f"{_place(path, text, ('engine', 'args'))}: a secret is among them, which a deployment "
            "file does not take",
            "set its variable in config.toml, under [engine.env]",
        )
    for name in engine.get("env", {}):
        if sounds_secret(name):
            raise UsageError(
                f"{_place(path, text, ('engine', 'env', name))}: {ascii(name)[:60]} sounds like a "
                "secret, which a deployment file does not take",
                "set it in config.toml, under [engine.env]: both hold",
            )
