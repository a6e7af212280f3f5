"""The subcommands: names, options and help. What they do is imported when one is called, so
that `--help` and wrong usage answer at once."""

from __future__ import annotations

from typing import Annotated

import typer

from gdl.cli.options import (
    BackendOption,
    ExcludeProviderOption,
    HostOption,
    IdentityOption,
    JsonOption,
    MaxPriceOption,
    OffersOption,
    ProviderOption,
    ScenarioOption,
    SeedOption,
    SessionArgument,
    SpeedOption,
)
from gdl.cli.runtime import Cli, Target


def _cli(context: typer.Context) -> Cli:
    cli = context.find_object(Cli)
    if cli is None:
        raise RuntimeError("the command line was started without its context")
    return cli


def offers(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="Machines that can serve this model.")
    ] = None,
    provider: ProviderOption = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", metavar="G", help="Part of the GPU's name.")
    ] = None,
    min_vram: Annotated[
        float | None,
        typer.Option("--min-vram", metavar="GB", min=0, help="VRAM of each GPU, at least."),
    ] = None,
    max_price: MaxPriceOption = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", metavar="N", min=0, help="GPUs, at least.")
    ] = None,
    exclude_provider: ExcludeProviderOption = None,
    backend: BackendOption = None,
    scenario: ScenarioOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """List offers: cheapest first, excluded ones last with the reason."""
    from gdl.cli import listing
    from gdl.domain.models import OfferQuery

    query = OfferQuery(
        provider=provider,
        gpu=gpu,
        min_vram_gb=min_vram,
        gpu_count=gpus,
        exclude_providers=tuple(exclude_provider or ()),
        model=model,
    )
    target = Target(backend, host, identity, scenario)
    listing.offers(_cli(context), target, query, max_price, as_json)


def deploy(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Alias (see `gdl-tui models`), hub id, or path on the machine.",
            show_default=False,
        ),
    ],
    backend: BackendOption = None,
    scenario: ScenarioOption = None,
    provider: ProviderOption = None,
    exclude_provider: ExcludeProviderOption = None,
    offer: Annotated[
        str | None, typer.Option("--offer", metavar="ID", help="This offer alone.")
    ] = None,
    max_price: MaxPriceOption = None,
    hours: Annotated[
        int | None, typer.Option("--hours", metavar="N", min=1, max=12, help="Hours to reserve.")
    ] = None,
    max_attempts: Annotated[
        int | None,
        typer.Option(
            "--max-attempts", metavar="N", min=1, max=20, help="Machines to try.  [default: 3]"
        ),
    ] = None,
    bench: Annotated[
        bool, typer.Option("--bench/--no-bench", help="Run the benchmark once it serves.")
    ] = True,
    destroy: Annotated[
        bool,
        typer.Option("--destroy", help="Release after verification and benchmark."),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it serving (and billing), and exit.")
    ] = False,
    engine_arg: Annotated[
        list[str] | None,
        typer.Option(
            "--engine-arg", metavar="ARG", help="Further argument for vLLM; may be repeated."
        ),
    ] = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rent a machine, install vLLM, serve MODEL, verify it.

    Without --destroy or --keep the tunnel stays open until Ctrl-C, which then asks whether to
    release the machine (and releases it when nobody can be asked).
    """
    from gdl.cli import deploy as implementation

    if destroy and keep:
        raise typer.BadParameter("--destroy and --keep exclude each other")
    wish = implementation.Wish(
        model=model,
        provider=provider,
        exclude_providers=tuple(exclude_provider or ()),
        offer_id=offer,
        bench=bench,
        after="destroy" if destroy else "keep" if keep else "hold",
        engine_args=tuple(engine_arg or ()),
    )
    flags = {"max_price": max_price, "hours": hours, "max_attempts": max_attempts}
    target = Target(backend, host, identity, scenario)
    implementation.deploy(_cli(context), target, wish, flags, as_json)


def sessions(
    context: typer.Context,
    backend: BackendOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """List rented machines, with what they cost so far."""
    from gdl.cli import listing

    listing.sessions(_cli(context), Target(backend, host, identity), as_json)


def attach(
    context: typer.Context,
    ident: SessionArgument,
    backend: BackendOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open the tunnel to a serving machine again, until Ctrl-C."""
    from gdl.cli import deploy as implementation

    implementation.attach(_cli(context), Target(backend, host, identity), ident, as_json)


def destroy(
    context: typer.Context,
    ident: SessionArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    backend: BackendOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Release a machine and wait until that is confirmed."""
    from gdl.cli import machines

    machines.destroy(_cli(context), Target(backend, host, identity), ident, yes, as_json)


def extend(
    context: typer.Context,
    ident: SessionArgument,
    hours: Annotated[
        int,
        typer.Argument(metavar="HOURS", min=1, max=12, help="Hours to add.", show_default=False),
    ],
    backend: BackendOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reserve a machine for more hours."""
    from gdl.cli import machines

    machines.extend(_cli(context), Target(backend, host, identity), ident, hours, as_json)


def costs(
    context: typer.Context,
    backend: BackendOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was spent, as the backend counts it."""
    from gdl.cli import listing

    listing.costs(_cli(context), Target(backend, host, identity), as_json)


def health(
    context: typer.Context,
    ident: SessionArgument,
    backend: BackendOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a serving machine once: GPU, process, health, models, inference."""
    from gdl.cli import machines

    machines.health(_cli(context), Target(backend, host, identity), ident, as_json)


def bench(
    context: typer.Context,
    ident: SessionArgument,
    backend: BackendOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Benchmark a serving machine."""
    from gdl.cli import machines

    machines.bench(_cli(context), Target(backend, host, identity), ident, as_json)


def models(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the models known by alias, and what they need."""
    from gdl.cli import listing

    listing.models(_cli(context), as_json)


def doctor(
    context: typer.Context,
    backend: BackendOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for what would stand in the way of a deployment."""
    from gdl.cli import listing

    listing.doctor(_cli(context), Target(backend, host, identity), as_json)


def demo(
    context: typer.Context,
    scenario: ScenarioOption = None,
    speed: SpeedOption = None,
    seed: SeedOption = None,
    offers: OffersOption = None,
) -> None:
    """Open the terminal UI on simulated machines: nothing is rented."""
    from gdl.cli import sandbox as implementation

    chosen = implementation.chosen(scenario, speed, seed, offers)
    implementation.demo(_cli(context), chosen)


def sandbox(
    context: typer.Context,
    port: Annotated[
        int,
        typer.Option("--port", metavar="N", min=0, max=65535, help="0 takes a free one."),
    ] = 8080,
    scenario: ScenarioOption = None,
    speed: SpeedOption = None,
    seed: SeedOption = None,
    offers: OffersOption = None,
) -> None:
    """Run a simulated cloud-gpu-shopper on 127.0.0.1, until Ctrl-C ends it and its machines."""
    from gdl.cli import sandbox as implementation

    chosen = implementation.chosen(scenario, speed, seed, offers)
    implementation.serve(_cli(context), port, chosen)


ALL = (
    offers,
    deploy,
    sessions,
    attach,
    destroy,
    extend,
    costs,
    health,
    bench,
    models,
    doctor,
    demo,
    sandbox,
)
"""In the order in which `--help` lists them."""
