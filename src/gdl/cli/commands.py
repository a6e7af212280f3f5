"""The subcommands: names, options and help. What they do is imported when one is called, so
that `--help` and wrong usage answer at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gdl.cli.measuring import bench
from gdl.cli.on_sessions import (
    attach,
    benchmarks,
    costs,
    destroy,
    env,
    extend,
    health,
    public,
    sessions,
    tunnel,
)
from gdl.cli.options import (
    BackendOption,
    ConcurrencyOption,
    ContextOption,
    ExcludeProviderOption,
    HostOption,
    IdentityOption,
    JsonOption,
    MaxPriceOption,
    OffersOption,
    ProviderOption,
    QuantizationOption,
    RuntimeOption,
    ScenarioOption,
    SeedOption,
    SpeedOption,
    cli_of,
)
from gdl.cli.runtime import Target


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
    context_tokens: ContextOption = None,
    concurrency: ConcurrencyOption = None,
    quantization: QuantizationOption = None,
    backend: BackendOption = None,
    scenario: ScenarioOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """List offers: cheapest first, excluded ones last with the reason."""
    from gdl.cli import listing
    from gdl.domain.offers import OfferQuery

    query = OfferQuery(
        provider=provider,
        gpu=gpu,
        min_vram_gb=min_vram,
        gpu_count=gpus,
        exclude_providers=tuple(exclude_provider or ()),
        model=model,
        context=context_tokens,
        concurrency=concurrency,
        quantization=quantization or "",
    )
    target = Target(backend, host, identity, scenario)
    listing.offers(cli_of(context), target, query, max_price, as_json)


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
    auto_fix: Annotated[
        bool | None,
        typer.Option(
            "--auto-fix/--no-auto-fix",
            help="Apply every remedy, or none, on the machine and go on, at most two for each.  "
            "[default: those that overrule none of your own arguments]",
        ),
    ] = None,
    runtime: RuntimeOption = None,
    context_tokens: ContextOption = None,
    concurrency: ConcurrencyOption = None,
    quantization: QuantizationOption = None,
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
    wish = implementation.DeployOptions(
        model=model,
        provider=provider,
        exclude_providers=tuple(exclude_provider or ()),
        offer_id=offer,
        bench=bench,
        after="destroy" if destroy else "keep" if keep else "hold",
        engine_args=tuple(engine_arg or ()),
        context=context_tokens,
        concurrency=concurrency,
        quantization=quantization or "",
        auto_fix=auto_fix,
    )
    flags: dict[str, Any] = {
        "max_price": max_price,
        "hours": hours,
        "max_attempts": max_attempts,
        "install": None if runtime is None else {"runtime": runtime},
    }
    target = Target(backend, host, identity, scenario)
    implementation.deploy(cli_of(context), target, wish, flags, as_json)


def models(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the models known by alias, and what they need."""
    from gdl.cli import listing

    listing.models(cli_of(context), as_json)


def doctor(
    context: typer.Context,
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan",
            metavar="DRIVER",
            help="Show what would be installed with this NVIDIA driver instead.",
        ),
    ] = None,
    vllm: Annotated[
        str | None, typer.Option("--vllm", metavar="X", help="With --plan: this release of vLLM.")
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option("--gpu", metavar="CC", help="With --plan: compute capability, such as 8.6."),
    ] = None,
    runtime: RuntimeOption = None,
    backend: BackendOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for what would stand in the way of a deployment."""
    if plan is not None:
        from gdl.cli import planning

        planning.show(cli_of(context), plan, gpu or "", vllm, runtime, as_json)
    if vllm is not None or gpu is not None or runtime is not None:
        raise typer.BadParameter("--vllm, --gpu and --runtime go with --plan")
    from gdl.cli import listing

    listing.doctor(cli_of(context), Target(backend, host, identity), as_json)


def diagnose(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A log of vLLM, pip, uv or ssh; - reads stdin.", show_default=False
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Say what went wrong in a log, and what helps.

    Exit code 0: the cause is known. 1: it is not; the log's own last error is shown.
    """
    from gdl.cli import diagnosing

    diagnosing.diagnose(cli_of(context), file, as_json)


def bundle(
    context: typer.Context,
    ident: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="Deployment or session id, or its beginning.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Default: gdl-tui-ID.tar.gz, here."),
    ] = None,
    backend: BackendOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pack a deployment's facts, events, logs and settings, without any secret."""
    from gdl.cli import diagnosing

    diagnosing.bundle(cli_of(context), Target(backend), ident, output, as_json)


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
    implementation.demo(cli_of(context), chosen)


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
    implementation.serve(cli_of(context), port, chosen)


def serve(
    context: typer.Context,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=1, max=65535, help="The port to listen on.")
    ] = 8081,
    address: Annotated[
        str, typer.Option("--address", metavar="A", help="The address to listen on.")
    ] = "127.0.0.1",
) -> None:
    """Show the terminal UI in a browser, until Ctrl-C. Needs the extra `serve`."""
    from gdl.cli import web

    web.serve(cli_of(context), port, address)


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
    benchmarks,
    tunnel,
    env,
    public,
    models,
    doctor,
    diagnose,
    bundle,
    demo,
    sandbox,
    serve,
)
"""In the order in which `--help` lists them."""
