"""The subcommands on what is rented already: names, options and help."""

from __future__ import annotations

from typing import Annotated

import typer

from gdl.cli.options import (
    BackendOption,
    HostOption,
    IdentityOption,
    JsonOption,
    SessionArgument,
    cli_of,
)
from gdl.cli.runtime import Target


def sessions(
    context: typer.Context,
    backend: BackendOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """List rented machines, with what they cost so far."""
    from gdl.cli import listing

    listing.sessions(cli_of(context), Target(backend, host, identity), as_json)


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

    implementation.attach(cli_of(context), Target(backend, host, identity), ident, as_json)


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

    machines.destroy(cli_of(context), Target(backend, host, identity), ident, yes, as_json)


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

    machines.extend(cli_of(context), Target(backend, host, identity), ident, hours, as_json)


def costs(
    context: typer.Context,
    backend: BackendOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was spent, as the backend counts it."""
    from gdl.cli import listing

    listing.costs(cli_of(context), Target(backend, host, identity), as_json)


def benchmarks(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="Of this model, by its served name.")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", metavar="G", help="Of GPUs with this in their name.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare what was measured so far, by model, GPU, provider and price."""
    from gdl.cli import benchmarks as implementation

    implementation.benchmarks(cli_of(context), Target(), model, gpu, as_json)


def health(
    context: typer.Context,
    ident: SessionArgument,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until Ctrl-C: its state, load and speed.")
    ] = False,
    backend: BackendOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a serving machine: GPU, process, health, models, inference."""
    from gdl.cli import machines

    machines.health(cli_of(context), Target(backend, host, identity), ident, watch, as_json)


def tunnel(
    context: typer.Context,
    ident: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Session or deployment.", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", metavar="N", min=1, max=65535, help="Local port; else the session's own."
        ),
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Close it; the machine goes on.")] = False,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Hold it here, until Ctrl-C.")
    ] = False,
    backend: BackendOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep the endpoint of a serving machine open in the background; without ID, list."""
    from gdl.cli import tunnel as implementation

    implementation.tunnel(
        cli_of(context),
        Target(backend, host, identity),
        ident,
        port,
        stop=stop,
        foreground=foreground,
        as_json=as_json,
    )


def public(
    context: typer.Context,
    ident: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Session or deployment.", show_default=False),
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="End it; the machine goes on.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and tell when the address changes.")
    ] = False,
    backend: BackendOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a serving machine an address on the internet (cloudflared); without ID, list."""
    from gdl.cli import public as implementation

    if stop and watch:
        raise typer.BadParameter("--stop and --watch exclude each other")
    target = Target(backend, host, identity)
    implementation.public(cli_of(context), target, ident, stop=stop, watch=watch, as_json=as_json)


def env(
    context: typer.Context,
    ident: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Session or deployment.", show_default=False),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="F", help="sh, curl, python or litellm.")
    ] = "sh",
    backend: BackendOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what a program needs to use an open tunnel: eval "$(gdl-tui env ID)"."""
    from gdl.cli import tunnel as implementation

    implementation.env(cli_of(context), Target(backend), ident, form, as_json)
