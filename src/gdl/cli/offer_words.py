"""Offers on the command line: the filter of the offers screen, and one offer in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gdl.cli.completions import filter_fields
from gdl.presentation.hardware import machine
from gdl.presentation.lines import plain
from gdl.presentation.money import hourly

if TYPE_CHECKING:
    from gdl.domain.offers import RankedOffer
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


def passing(wanted: OfferFilter, ranked: Sequence[RankedOffer]) -> list[RankedOffer]:
    """Those that pass it, whatever else speaks against them."""
    from gdl.presentation.offer_filter import searched

    if not wanted.groups:
        return list(ranked)
    return [row for row in ranked if wanted.passes(row, searched(row))]


def offer_line(row: RankedOffer) -> str:
    """An offer that fits, in one line."""
    offer = row.offer
    told = [
        hourly(offer.price_per_hour),
        machine(offer, offer.vram_gb),
        plain(offer.provider, 40),
        plain(offer.location, 40),
        "" if offer.reliability is None else f"{offer.reliability:.1%} reliable",
        f"offer {plain(offer.id, 120)}",
    ]
    return "  ".join(each for each in told if each)
