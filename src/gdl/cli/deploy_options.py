"""The options of `gdl-tui deploy`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

import typer

from gdl.cli.amounts import check_bid, finite
from gdl.cli.completions import model_names
from gdl.cli.consent import YesOption
from gdl.cli.options import (
    BidOption,
    ConcurrencyOption,
    ContextOption,
    EngineOption,
    ExcludeProviderOption,
    IdleOption,
    ImageOption,
    IncludeProviderOption,
    MaxPriceOption,
    MinVramOption,
    ProviderOption,
    QuantizationOption,
    RuntimeOption,
    SortOption,
    UnseenOption,
    VolumeOption,
    VolumeSizeOption,
    WebhookOption,
    engine_flags,
    guard_flags,
    webhook_flags,
)
from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """What is to be deployed, on what, and what comes afterwards."""

    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Alias (see `gdl-tui models`), hub id, or path on the machine.",
            show_default=False,
            autocompletion=model_names,
        ),
    ] = None
    file: Annotated[
        Path | None,
        typer.Option(
            "-f",
            "--file",
            metavar="FILE",
            help="A deployment file (TOML); options take precedence over it.",
            show_default=False,
        ),
    ] = None
    provider: ProviderOption = None
    exclude_provider: ExcludeProviderOption = None
    include_provider: IncludeProviderOption = None
    exclude_provider_after: Annotated[
        int | None,
        typer.Option(
            "--exclude-provider-after",
            metavar="N",
            min=0,
            max=100,
            help="Exclude a provider after SSH failures on N of its hosts in a row; 0: never.  "
            "[default: 3]",
        ),
    ] = None
    offer: Annotated[str | None, typer.Option("--offer", metavar="ID", help="Only this offer.")] = (
        None
    )
    min_vram: MinVramOption = None
    max_price: MaxPriceOption = None
    max_spend: Annotated[
        float | None,
        typer.Option(
            "--max-spend",
            metavar="USD",
            min=0.0001,
            callback=finite,
            help="Maximum cost in dollars, for all attempts and the time it serves; then the "
            "machine is released.",
        ),
    ] = None
    idle: IdleOption = None
    unseen: UnseenOption = None
    hours: Annotated[
        int | None,
        typer.Option(
            "--hours",
            metavar="N",
            min=1,
            max=12,
            help="Hours to reserve; what has no reservation is billed until it is released.",
        ),
    ] = None
    max_attempts: Annotated[
        int | None,
        typer.Option(
            "--max-attempts",
            metavar="N",
            min=1,
            max=20,
            help="Machines to try; offers that are already gone do not count.  [default: 3]",
        ),
    ] = None
    bench: Annotated[
        bool | None,
        typer.Option(
            "--bench/--no-bench",
            help="Run the benchmark once the model is served.  [default: bench]",
        ),
    ] = None
    destroy: Annotated[
        bool,
        typer.Option("--destroy", help="Release the machine after verification and benchmark."),
    ] = False
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the machine serving (and billing), and exit.")
    ] = False
    auto_fix: Annotated[
        bool | None,
        typer.Option(
            "--auto-fix/--no-auto-fix",
            help="Apply every fix on the machine and continue, or none; at most twice for each "
            "cause.  [default: those that override none of your own arguments]",
        ),
    ] = None
    webhook: WebhookOption = None
    volume: VolumeOption = None
    volume_size: VolumeSizeOption = None
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show the plan, the price and the offers that would be tried; rent nothing.",
        ),
    ] = False
    yes: YesOption = False
    new: Annotated[
        bool,
        typer.Option(
            "--new", help="Rent another machine, although an interrupted deployment has one."
        ),
    ] = False
    runtime: RuntimeOption = None
    image: ImageOption = None
    context: ContextOption = None
    concurrency: ConcurrencyOption = None
    quantization: QuantizationOption = None
    text_only: Annotated[
        bool | None,
        typer.Option(
            "--text-only/--no-text-only",
            help="For a model that also takes images, sound or video: serve only text, and "
            "keep its other parts out of the GPU's memory.",
            show_default=False,
        ),
    ] = None
    sort: SortOption = None
    interruptible: Annotated[
        bool | None,
        typer.Option(
            "--interruptible/--on-demand",
            help="Instead of machines on demand, those that are cheaper but can be lost to a "
            "higher bid.",
            show_default=False,
        ),
    ] = None
    bid: BidOption = None
    engine: EngineOption = None
    tools: Annotated[
        bool | None,
        typer.Option(
            "--tools/--no-tools",
            help="Let the server parse the model's tool calls, if their format is known.  "
            "[default: tools]",
        ),
    ] = None
    trust_remote_code: Annotated[
        bool | None,
        typer.Option(
            "--trust-remote-code/--no-trust-remote-code",
            help="Allow Python code from the model's own repository to run on the machine, or "
            "start without it.  [default: ask, if a model needs it]",
        ),
    ] = None
    engine_arg: Annotated[
        list[str] | None,
        typer.Option(
            "--engine-arg",
            metavar="ARG",
            help="Additional argument for the engine; can be repeated.",
        ),
    ] = None

    nodes: Annotated[
        int | None,
        typer.Option(
            "--nodes",
            metavar="N",
            min=1,
            max=64,
            help="Serve one model over N machines of your own (--backend ssh --host A,B): each"
            " holds part of its layers, and the first has the endpoint.",
            show_default=False,
        ),
    ] = None

    then: str = "hold"
    """What becomes of the machine where no option says it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What overrides the settings, and is overridden by options."""

    def check(self) -> None:
        """Raises typer.BadParameter for options that cannot be together."""
        if self.destroy and self.keep:
            raise typer.BadParameter("--destroy and --keep exclude each other")
        if self.volume_size is not None and self.volume is None:
            raise typer.BadParameter("--volume-size is about a volume: name it with --volume")
        check_bid(bool(self.interruptible), self.bid)

    @property
    def limited(self) -> bool:
        """Whether an option limits the money, which tells that it may be spent; what a file or the
        settings say does not."""
        return self.max_price is not None or self.max_spend is not None

    @property
    def after(self) -> str:
        """What becomes of the machine once it serves: destroy, keep or hold."""
        return "destroy" if self.destroy else "keep" if self.keep else self.then

    @property
    def _install(self) -> dict[str, str]:
        given = {"runtime": self.runtime, "image": self.image}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def flags(self) -> dict[str, Any]:
        """What of it overrides a setting."""
        said = {
            "max_price": self.max_price,
            "max_spend": self.max_spend,
            **guard_flags(self.idle, self.unseen),
            "hours": self.hours,
            "max_attempts": self.max_attempts,
            "exclude_provider_after": self.exclude_provider_after,
            "install": self._install or None,
            **engine_flags(self.engine, tools=self.tools),
            **webhook_flags(self.webhook),
        }
        return over(self.settings, said)


def over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others before them, table by table; None says nothing."""
    made = dict(below)
    for name, value in above.items():
        there = made.get(name)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            made[name] = over(there, value)
        elif value is not None:
            made[name] = value
    return made
