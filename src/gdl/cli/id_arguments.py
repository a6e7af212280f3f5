"""What a command is about, as it is named on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from gdl.cli.completions import deployment_ids, session_ids


def named(value: str | None) -> str | None:
    """No variable of a script that is not set passes for a name, or for none."""
    if value is not None and not value.strip():
        raise typer.BadParameter("it is empty")
    return value


SessionArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="Session or deployment id, or its beginning.",
        show_default=False,
        autocompletion=session_ids,
        callback=named,
    ),
]
OptionalSessionArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID]",
        help="Session or deployment.",
        show_default=False,
        autocompletion=session_ids,
        callback=named,
    ),
]
DeploymentArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="Deployment or session id, or its beginning.",
        show_default=False,
        autocompletion=deployment_ids,
        callback=named,
    ),
]
