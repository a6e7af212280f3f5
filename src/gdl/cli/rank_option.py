"""The option that names one of several machines that serve a model together."""

from __future__ import annotations

from typing import Annotated

import typer

RankOption = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        max=63,
        help="Of which of several machines that serve the model together (`deploy --nodes`).",
    ),
]
