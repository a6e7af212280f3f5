"""What a command is about, as it is named on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from gdl.cli.completions import deployment_ids, session_ids


def id_argument(
    help_text: str, known: Callable[..., Any] | None = None, *, optional: bool = False
) -> Any:
    """An id on the command line. known: completes what is typed of it."""
    return typer.Argument(
        metavar="[ID]" if optional else "ID",
        help=help_text,
        show_default=False,
        autocompletion=known,
    )


SessionArgument = Annotated[
    str, id_argument("Session or deployment id, or its beginning.", session_ids)
]
OptionalSessionArgument = Annotated[
    str | None, id_argument("Session or deployment.", session_ids, optional=True)
]
DeploymentArgument = Annotated[
    str, id_argument("Deployment or session id, or its beginning.", deployment_ids)
]
