"""The filter of the offers screen on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gdl.cli.completions import filter_fields

if TYPE_CHECKING:
    from gdl.presentation.offer_filter import OfferFilter


FilterArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILTER",
        help='The filter of the offers screen, in quotes: "4090 price<0.30 inet>500", '
        '"gpu:4090,3090 rel>=99 or place:norway".',
        show_default=False,
        autocompletion=filter_fields,
    ),
]


def filter_of(words: Sequence[str] | None) -> OfferFilter:
    """Raises UsageError for what cannot be asked for."""
    from gdl.domain.errors import UsageError
    from gdl.presentation.offer_filter import parse

    wanted = parse(" ".join(words or ()))
    if (problem := wanted.problem) is not None:
        raise UsageError(f"the filter: {problem.what}", problem.helps)
    return wanted
