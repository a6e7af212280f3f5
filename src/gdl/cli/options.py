"""The options that several subcommands share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

BackendName = Literal["shopper", "ssh", "local"]

BackendOption = Annotated[
    BackendName | None,
    typer.Option("--backend", help="Who lists and rents the machines.", show_default=False),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Configuration file (TOML)."),
]
HostOption = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="HOST",
        help="A machine you already have: user@host:port or an alias of ~/.ssh/config.",
    ),
]
IdentityOption = Annotated[
    str | None,
    typer.Option("--identity", metavar="FILE", help="Private key file for --host."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON, one object a line.", show_default=False)
]
ProviderOption = Annotated[
    str | None, typer.Option("--provider", metavar="P", help="This provider alone.")
]
ExcludeProviderOption = Annotated[
    list[str] | None,
    typer.Option("--exclude-provider", metavar="P", help="Not this provider; may be repeated."),
]
MaxPriceOption = Annotated[
    float | None,
    typer.Option("--max-price", metavar="USD", min=0.0001, help="Dollars an hour, at most."),
]
SessionArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="Session or deployment id, or its beginning.", show_default=False
    ),
]
