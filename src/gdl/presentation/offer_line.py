"""An offer in one line, for whoever watches for one or chooses one in lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdl.domain.money import hourly
from gdl.presentation.hardware import machine
from gdl.presentation.lines import plain

if TYPE_CHECKING:
    from gdl.domain.offers import RankedOffer


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
