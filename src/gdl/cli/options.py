"""Options that several commands have, each stated once, alone or in groups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gdl.cli.amounts import finite
from gdl.cli.completions import backend_names, scenario_names
from gdl.domain.lazy_dataclass import dataclass

BackendOption = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="NAME[,NAME]",
        help="Where machines come from: vastai, runpod, shopper, ssh, local, sandbox, a "
        "backend from another package, or several, as in vastai,runpod.",
        show_default=False,
        autocompletion=backend_names,
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Configuration file (TOML)."),
]
HostOption = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="HOST[,HOST]",
        help="Machines you already have: user@host:port, or an alias from ~/.ssh/config.",
    ),
]
IdentityOption = Annotated[
    str | None,
    typer.Option("--identity", metavar="FILE", help="Private key file for --host."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON, one object per line.", show_default=False)
]
ProviderOption = Annotated[
    str | None,
    typer.Option("--provider", metavar="P", help="Only this provider."),
]
ExcludeProviderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude-provider",
        metavar="P",
        help="Not this provider; can be repeated.",
    ),
]
IncludeProviderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--include-provider",
        metavar="P",
        help="This provider again, although failures excluded it; can be repeated.",
    ),
]
MinVramOption = Annotated[
    float | None,
    typer.Option(
        "--min-vram", metavar="GB", min=0, callback=finite, help="Minimum VRAM of each GPU."
    ),
]
MaxPriceOption = Annotated[
    float | None,
    typer.Option(
        "--max-price", metavar="USD", min=0.0001, callback=finite, help="Maximum dollars per hour."
    ),
]
ContextOption = Annotated[
    int | None,
    typer.Option(
        "--context", metavar="TOKENS", min=1, help="Tokens per request, including the answer."
    ),
]
ConcurrencyOption = Annotated[
    int | None,
    typer.Option("--concurrency", metavar="N", min=1, max=4096, help="Requests at a time."),
]
QuantizationOption = Annotated[
    str | None,
    typer.Option(
        "--quantization",
        metavar="NAME",
        help="Quantize 16-bit weights to 8 or 4 bits while they are loaded, with a method of "
        "the engine, such as fp8.",
        show_default=False,
    ),
]
SortOption = Annotated[
    Literal["session", "price"] | None,
    typer.Option(
        "--sort",
        help="Sort by the price of the whole session, including disk, downloads and set-up, or by "
        "the hour.  [default: session, if the market publishes these prices]",
        show_default=False,
    ),
]
InterruptibleOption = Annotated[
    bool,
    typer.Option(
        "--interruptible",
        help="Instead of machines on demand, those that are cheaper but can be lost to a "
        "higher bid.",
    ),
]
BidOption = Annotated[
    float | None,
    typer.Option(
        "--bid",
        metavar="USD",
        min=0.0001,
        callback=finite,
        help="Highest bid for an interruptible machine, in dollars per hour without its disk; "
        "the actual bid is a tenth above the current minimum.",
        show_default=False,
    ),
]
TextOnlyOption = Annotated[
    bool,
    typer.Option(
        "--text-only",
        help="For a model that also takes images, sound or video: serve only text, and keep "
        "its other parts out of the GPU's memory.",
    ),
]
RuntimeOption = Annotated[
    Literal["auto", "venv", "container", "binary"] | None,
    typer.Option(
        "--runtime",
        help="Install the engine into an environment, run its container image, or run a "
        "program of its own; auto: the environment, or the image if that fails.",
        show_default=False,
    ),
]
ImageOption = Annotated[
    str | None,
    typer.Option(
        "--image",
        metavar="NAME",
        help="Container image that the rented machine starts, if its market lets you choose; none: "
        "the market's usual one.  [default: one with the engine, where that costs less]",
        show_default=False,
    ),
]
EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="Inference engine; auto: the one that suits the model and the machine.",
        show_default=False,
    ),
]


def engine_flags(name: str | None, *, tools: bool | None = None) -> dict[str, Any]:
    """The settings of the engine that were given as options."""
    given = {"name": name, "tools": tools}
    said = {key: value for key, value in given.items() if value is not None}
    return {"engine": said} if said else {}


VolumeOption = Annotated[
    str | None,
    typer.Option(
        "--volume",
        metavar="NAME|ID",
        help="Keep weights and compile caches on this volume (see `gdl-tui volumes`); only "
        "machines that can mount it are used.",
        show_default=False,
    ),
]
VolumeSizeOption = Annotated[
    int | None,
    typer.Option(
        "--volume-size",
        metavar="GB",
        min=1,
        max=4096,
        help="Create the volume named by --volume if it does not exist.",
        show_default=False,
    ),
]
WebhookOption = Annotated[
    str | None,
    typer.Option(
        "--webhook",
        metavar="URL",
        help="Post JSON there when the deployment serves, fails, is about to stop or has "
        "stopped, when its price rises, or when a balance is low. A URL with a secret "
        "belongs in the settings: notify.webhook.",
        show_default=False,
    ),
]


IdleOption = Annotated[
    float | None,
    typer.Option(
        "--idle",
        metavar="MINUTES",
        min=1,
        callback=finite,
        help="End the machine (of your own, only the server) after this many minutes without a "
        "request, even while this computer is off. Not through shopper.",
    ),
]
UnseenOption = Annotated[
    float | None,
    typer.Option(
        "--unseen",
        metavar="HOURS",
        min=0.02,
        callback=finite,
        help="The same after this many hours without a gdl-tui connected to it.",
    ),
]


def guard_flags(idle: float | None, unseen: float | None) -> dict[str, Any]:
    """What these options set."""
    told = {"idle_minutes": idle, "unseen_hours": unseen}
    told = {name: value for name, value in told.items() if value is not None}
    return {"guard": told} if told else {}


def webhook_flags(url: str | None) -> dict[str, Any]:
    """The settings of that option."""
    return {} if url is None else {"notify": {"webhook": url}}


ScenarioOption = Annotated[
    str | None,
    typer.Option(
        "--scenario",
        metavar="S",
        help="What goes wrong on the simulated market (sandbox only).",
        autocompletion=scenario_names,
    ),
]
SpeedOption = Annotated[
    float | None,
    typer.Option(
        "--speed", metavar="X", min=0.1, max=1000, help="How many times faster time passes."
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", metavar="S", min=0, help="Seed for everything that is left to chance."),
]
OffersOption = Annotated[
    int | None,
    typer.Option("--offers", metavar="N", min=0, max=100_000, help="Number of offers."),
]
STAND_INS = ("vastai", "runpod")
"""The marketplaces that the sandbox stands in for."""


def _stand_ins(text: str | None) -> str | None:
    wanted = [] if text is None else text.split(",")
    if any(name not in STAND_INS for name in wanted) or len(set(wanted)) < len(wanted):
        raise typer.BadParameter(f"name {' or '.join(STAND_INS)}, or both separated by a comma")
    return text


StandInOption = Annotated[
    str | None,
    typer.Option(
        "--market",
        metavar="NAMES",
        help="Simulate these marketplaces, which have many hosts: vastai, runpod, or "
        "vastai,runpod.",
        callback=_stand_ins,
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a command was told to look; None leaves it to the global option or setting.

    Commands take the subclass that has the options they know; scenario is for the sandbox alone.
    """

    backend: BackendOption = None
    host: str | None = None
    identity: str | None = None
    scenario: str | None = None


@dataclass(frozen=True, slots=True)
class MachineTarget(Target):
    """With the options for a machine that one already has."""

    host: HostOption = None
    identity: IdentityOption = None


@dataclass(frozen=True, slots=True)
class MarketTarget(MachineTarget):
    """With what may go wrong on the simulated market, too."""

    scenario: ScenarioOption = None


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """What may be said of the simulated market; None leaves it to the settings."""

    scenario: ScenarioOption = None
    speed: SpeedOption = None
    seed: SeedOption = None
    offers: OffersOption = None

    @property
    def given(self) -> dict[str, object]:
        """The settings of the sandbox that were named."""
        values = {
            "scenario": self.scenario,
            "speed": self.speed,
            "seed": self.seed,
            "offers": self.offers,
        }
        return {name: value for name, value in values.items() if value is not None}
