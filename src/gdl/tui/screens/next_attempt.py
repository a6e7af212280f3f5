"""What another attempt would cost, asked before it is made."""

from __future__ import annotations

from typing import NamedTuple

from rich.text import Text

from gdl.domain.attempt_state import AttemptState
from gdl.domain.errors import GdlError
from gdl.domain.money import dollars, hourly
from gdl.domain.offers import RankedOffer
from gdl.presentation.hardware import gpus
from gdl.presentation.lines import plain
from gdl.presentation.session_price import parts
from gdl.presentation.words import RELEASED_FIRST, plural, sentence
from gdl.tui.context import AppContext
from gdl.tui.screens.dialogs import Confirm
from gdl.tui.store import Followed


class Agreed(NamedTuple):
    """max_price: dollars an hour that the next machine may cost; None where nothing was named."""

    max_price: float | None = None


async def agreed_to_next(
    context: AppContext, followed: Followed, title: str, *, other_source: bool = False
) -> Agreed | None:
    """Name the next offer and its price; None when it is not wanted, or there is none, which is
    said. Where nothing costs, nothing is asked."""
    ident = followed.state.deployment_id
    try:
        found = await context.orchestrator.deployments.next_offer(ident, other_source=other_source)
    except GdlError as error:
        context.report(error)
        return None
    price = found.offer.price_per_hour
    if not _costs(context) or price <= 0:
        return Agreed()
    spec = followed.state.spec
    hours = spec.hours if spec is not None else 1
    wanted = await context.ask(
        Confirm(title, _fields(found, hours), _released_first(followed), "Rent it")
    )
    return Agreed(price) if wanted else None


async def agreed_to_retry(context: AppContext, followed: Followed) -> bool:
    """Name the price of the machine that failed; whether its offer is wanted again."""
    attempt = followed.state.attempt
    if attempt is None or attempt.price_per_hour <= 0 or not _costs(context):
        return True
    fields = (
        ("Machine", Text(_machine(attempt), "bold")),
        ("Price", Text(f"{hourly(attempt.price_per_hour)} or less", "bold")),
    )
    note = _released_first(followed)
    wanted = await context.ask(Confirm("Rent the same offer again?", fields, note, "Rent it"))
    return bool(wanted)


def _released_first(followed: Followed) -> str:
    if not followed.state.held:
        return ""
    return f"{sentence(RELEASED_FIRST)}. m keeps it."


def _costs(context: AppContext) -> bool:
    there = context.orchestrator
    return there.bills and not there.simulated


def _machine(attempt: AttemptState) -> str:
    return f"{gpus(attempt)} from {plain(attempt.provider, 40)}"


def _fields(found: RankedOffer, hours: int) -> list[tuple[str, Text | str]]:
    offer, whole = found.offer, found.session(hours)
    vram = f", {offer.nominal_vram_gb} GB VRAM" if offer.gpu_count else ""
    cost = f"{dollars(offer.price_per_hour * hours)} for {plural(hours, 'hour')}"
    if whole is not None and whole.listed:
        cost = f"about {dollars(whole.total)} in all: {parts(whole)}"
    place = plain(offer.location, 40) or "location not stated"
    return [
        ("Machine", Text(f"{gpus(offer)}{vram}", "bold")),
        ("From", f"{plain(offer.provider, 40)}, {place}"),
        ("Offer", plain(offer.id, 80)),
        ("Price", Text(f"{hourly(offer.price_per_hour)} or less", "bold")),
        ("Session", cost),
    ]
