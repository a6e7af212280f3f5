"""`gdl-tui plan`: what serving a model would take, without renting anything."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, NoReturn

import typer

from gdl.cli.commands.deploy import deploy
from gdl.cli.deploy_options import DeployOptions
from gdl.cli.fleet_options import FleetOptions
from gdl.cli.options import JsonOption, MarketTarget
from gdl.cli.runtime import Cli
from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class PlanOptions(DeployOptions):
    """Those of `deploy` that say what is wanted, and on what."""

    dry_run: bool = True
    yes: bool = False
    new: bool = True
    webhook: str | None = None
    volume_size: int | None = None


def plan(
    cli: Cli,
    *,
    wanted: PlanOptions,
    gpu: Annotated[
        str | None,
        typer.Option(
            "--gpu",
            metavar="NAME",
            help='Say whether it fits on this GPU, such as H100 or "RTX 4090", or on one with '
            "this much memory, such as 24GB. No market is queried.",
            show_default=False,
        ),
    ] = None,
    tp: Annotated[
        int,
        typer.Option("--tp", metavar="N", min=1, max=64, help="With --gpu: the number of GPUs."),
    ] = 1,
    target: MarketTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Show what serving MODEL takes: the plan, its price, and the offers that would be tried.

    This is `deploy --dry-run`; --offer considers only one offer. With --gpu, it shows what each
    such GPU would hold of the model, and what would make it fit, as `models show` does.
    """
    if gpu is None:
        if tp != 1:
            raise typer.BadParameter("--tp is for --gpu")
        deploy(cli, wanted, FleetOptions(), target, as_json)
    from gdl.cli.commands.models import LoadOptions, show

    if wanted.model is None:
        raise typer.BadParameter("name a MODEL")
    if without := _without_effect(wanted, target):
        raise typer.BadParameter(
            f"{', '.join(without)} would have no effect with --gpu, which queries no market"
        )
    load = LoadOptions(
        context=wanted.context,
        concurrency=wanted.concurrency,
        gpu=gpu,
        tp=tp,
        quantization=wanted.quantization,
    )
    show(cli, wanted.model, load, wanted.engine, as_json)


_COUNT = frozenset({"model", "context", "concurrency", "quantization", "engine"})
"""What is taken into account for a GPU that is only named."""


def _without_effect(wanted: PlanOptions, target: MarketTarget) -> list[str]:
    """Options that were given, and are about machines that are for rent."""
    return [
        f"--{field.name.replace('_', '-')}"
        for group in (wanted, target)
        for field in fields(group)
        if field.name not in _COUNT and getattr(group, field.name) not in (_default(field), [], ())
    ]


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
