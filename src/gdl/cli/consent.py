"""What is asked before a command spends money or ends something for good.

Where nothing costs, nothing is asked. On a terminal the price is named and the user is asked;
elsewhere the command line itself has to say that it is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from gdl.cli.output import say
from gdl.cli.runtime import at_terminal
from gdl.domain.errors import Cancelled, GdlError, NoSuitableOffer, UsageError
from gdl.domain.money import dollars, hourly
from gdl.domain.ranking import why_none
from gdl.presentation.hardware import machine
from gdl.presentation.lines import plain
from gdl.presentation.session_end import until_when
from gdl.presentation.words import plural

if TYPE_CHECKING:
    from gdl.domain.offers import RankedOffer
    from gdl.domain.spec import DeploymentSpec
    from gdl.orchestrator.api.ports import OrchestratorApi, Sessions
    from gdl.orchestrator.api.views import SessionRow
    from gdl.presentation.session_end import Ends

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
LOOK_AHEAD = 10
"""Offers whose prices make the ceiling that is agreed to: the first ones may be gone by then."""


class Consent(NamedTuple):
    """What the command line says of money. yes: nothing is to be asked. limited: a limit is named
    on it, which says the same where nobody can be asked. asks: somebody can be asked."""

    yes: bool
    limited: bool = False
    asks: bool = True

    @property
    def given(self) -> bool:
        return self.yes or (self.limited and not self.asks)


def consent(*, yes: bool, limited: bool = False, as_json: bool = False) -> Consent:
    """As this process was started: with `--json` a program reads, and nobody is asked."""
    return Consent(yes, limited, at_terminal() and not as_json)


def costs(orchestrator: OrchestratorApi) -> bool:
    """Whether what is rented there has to be paid for."""
    return orchestrator.bills and not orchestrator.simulated


async def agreed(question: str, said: Consent, *, undone: str, refusal: str) -> None:
    """Go on if the user says so, or has said so. undone, refusal: what is said where the answer is
    no, and where nobody can be asked. Raises Cancelled, UsageError."""
    if said.given:
        return
    if not said.asks:
        raise UsageError(refusal, "pass --yes to confirm")
    from gdl.cli.prompt import yes

    if not await yes(question):
        raise Cancelled(undone, "say y, or pass --yes")


async def to_rent(
    orchestrator: OrchestratorApi, spec: DeploymentSpec, said: Consent, beside: str = ""
) -> DeploymentSpec:
    """The deployment as it was agreed to: no machine of it is dearer than what was named. beside:
    what else is made and paid for, in words. Raises Cancelled, UsageError, NoSuitableOffer and
    what asking for offers raises."""
    if not costs(orchestrator) or said.given:
        return spec
    if not said.asks:
        where = orchestrator.backend_name.replace(",", " and ")
        raise UsageError(
            f"deploying on {where} costs money, and there is no terminal to ask on",
            "pass --yes, or a limit: --max-price or --max-spend; --dry-run shows what it costs",
        )
    suitable = await suitable_offers(orchestrator, spec)
    if suitable[0].offer.price_per_hour <= 0 and not beside:
        return spec
    ceiling = max(each.offer.price_per_hour for each in suitable[:LOOK_AHEAD])
    for line in (*price_lines(suitable, spec, orchestrator), *([beside] if beside else ())):
        say(line)
    if spec.max_attempts > 1 and len(suitable) > 1:
        say(
            f"if it fails, the next ones are tried, {plural(spec.max_attempts, 'machine')} in all,"
            f" none above {hourly(ceiling)}"
        )
    await agreed("rent it?", said, undone="nothing was rented", refusal="")
    asked = spec.query.max_price
    bound = ceiling if asked is None else min(asked, ceiling)
    return replace(spec, query=replace(spec.query, max_price=bound))


async def to_rent_when_it_appears(
    orchestrator: OrchestratorApi, spec: DeploymentSpec, said: Consent
) -> None:
    """Ask once, before anything is waited for: what is rented then is rented unasked, for no more
    than the query's price. Raises Cancelled, UsageError."""
    if not costs(orchestrator) or said.given:
        return
    if not said.asks:
        raise UsageError(
            "renting an offer that appears costs money, and there is no terminal to ask on",
            "pass --yes, or a limit: --max-price or --max-spend; without --rent, offers are only "
            "reported",
        )
    most = spec.query.max_price
    if most is None and spec.max_spend is None:
        raise UsageError(
            "there is no limit to what the machine may cost",
            "set one in the filter, as in price<0.30, or with --max-price or --max-spend",
        )
    name = plain(spec.model, 80)
    if most is None:
        say(f"{name} on the first machine that appears, whatever it costs per hour")
    else:
        say(
            f"{name} on the first machine that appears, for {hourly(most)} at most:"
            f" {dollars(most * spec.hours)} for {plural(spec.hours, 'hour')}"
        )
    if until := until_when(spec, orchestrator):
        say(until)
    if spec.max_attempts > 1:
        say(f"if it fails, others are tried, {plural(spec.max_attempts, 'machine')} in all")
    await agreed("rent it without asking again?", said, undone="not watching", refusal="")


async def suitable_offers(
    orchestrator: OrchestratorApi, spec: DeploymentSpec
) -> Sequence[RankedOffer]:
    """What this deployment would try, first things first. Raises NoSuitableOffer."""
    query = replace(spec.query, hours=spec.hours)
    ranked = await orchestrator.market.offers(query)
    included = [
        each
        for each in ranked
        # Includes it as it begins.
        if each.excluded is None
        or (
            each.exclusion == "provider"
            and each.otherwise_fits
            and each.offer.provider in spec.include_providers
        )
    ]
    if not included:
        raise NoSuitableOffer(*why_none(ranked, query))
    return included


def price_lines(suitable: Sequence[RankedOffer], spec: DeploymentSpec, there: Ends) -> list[str]:
    """The first machine and what it costs, a line each."""
    from gdl.presentation.session_price import parts, times

    first = suitable[0]
    offer, whole = first.offer, first.session(spec.hours)
    place = f", {plain(offer.location, 40)}" if offer.location else ""
    lines = [
        f"{plain(spec.model, 80)} on {machine(offer, offer.vram_gb)} from"
        f" {plain(offer.provider, 40)}{place}: {hourly(offer.price_per_hour)}"
    ]
    if whole is not None and whole.listed:
        lines.append(f"about {dollars(whole.total)} in all: {parts(whole)}; {times(whole)}")
    else:
        cost = dollars(offer.price_per_hour * spec.hours)
        lines.append(f"{cost} for {plural(spec.hours, 'hour')}")
    tried = {each.offer.backend for each in suitable[: spec.max_attempts]}
    if until := until_when(spec, there, tried):
        lines.append(until)
    return lines


async def row_of(sessions: Sessions, ident: str) -> SessionRow | None:
    """The one session that is meant; None where nobody answers: what is done then tells why. Raises
    UsageError when nothing is called so, or several are: nothing is asked about those."""
    from gdl.orchestrator.api.session_ids import named, not_one

    try:
        rows = await sessions.rows()
    except GdlError:
        return None
    found = named(ident, rows)
    if len(found) == 1:
        return found[0]
    if sessions.away:
        return None
    raise not_one(ident, found, rows)


def session_words(row: SessionRow) -> str:
    """Which machine it is, and what it costs."""
    session = row.session
    return (
        f"session {session.id}: {machine(session)} from {session.provider},"
        f" {hourly(row.price_per_hour)}, {dollars(row.cost)} so far"
    )
