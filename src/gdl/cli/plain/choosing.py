"""Which model, on which machine, for what price: asked before anything is rented."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from gdl.cli.consent import LOOK_AHEAD, costs, price_lines, suitable_offers
from gdl.cli.deploy_options import DeployOptions
from gdl.cli.deployment_spec import spec_of
from gdl.cli.offer_words import filter_of
from gdl.cli.output import say, say_away
from gdl.cli.runtime import Session, complain
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.money import dollars, hourly
from gdl.domain.offers import OfferQuery
from gdl.domain.spec import ConfirmedOffer
from gdl.presentation.hardware import gigabytes, machine
from gdl.presentation.lines import plain
from gdl.presentation.offer_filter import passing
from gdl.presentation.words import plural

if TYPE_CHECKING:
    from gdl.cli.plain.questions import Questions
    from gdl.domain.offers import RankedOffer
    from gdl.domain.spec import DeploymentSpec
    from gdl.orchestrator.api.market import Market
    from gdl.orchestrator.api.model_views import ModelRow

MOST_TOKENS = 10_000_000
MOST_HOURS = 12


async def choose(session: Session, questions: Questions) -> DeploymentSpec:
    """What is to be deployed, its price agreed to. Raises Quit, InputEnded."""
    while True:
        model = await _model(session.orchestrator.market, questions)
        spec = await _load(session, questions, model)
        chosen = await _offer(session, questions, spec)
        if chosen is None:
            continue
        if agreed := await _agreed(session, questions, spec, *chosen):
            return agreed


async def _model(market: Market, questions: Questions) -> str:
    known = sorted(market.models(), key=lambda row: row.size_gb or math.inf)
    rows: list[ModelRow] = list(known)
    say(f"Models: {len(known)} known, the smallest first")
    others, again = "a name or hub id, words to search for", False
    while True:
        chosen = await questions.pick(
            "Model", [_model_line(row) for row in rows], others, again=again
        )
        again = True
        if isinstance(chosen, int):
            model = rows[chosen].alias
        elif _is_a_name(market, chosen):
            model = chosen
        elif found := await _search(market, known, chosen):
            rows, again = found, False
            continue
        else:
            say(f"no model matches {chosen[:60]}")
            continue
        try:
            market.size(OfferQuery(model=model), check=True)
        except UsageError as error:
            complain(error.message, error.hint)
        else:
            return model


def _model_line(row: ModelRow) -> str:
    told = [plain(row.alias, 120)]
    told += [gigabytes(row.size_gb)] if row.size_gb else []
    told += [f"on 24 GB: {plain(row.fits, 60)}"] if row.fits else []
    told += ["needs a token"] if row.gated else []
    return ", ".join(told)


def _is_a_name(market: Market, typed: str) -> bool:
    if "/" in typed:
        return True
    try:
        market.variants(typed)
    except UsageError:
        return False
    return True


async def _search(market: Market, known: list[ModelRow], typed: str) -> list[ModelRow]:
    words = typed.casefold().split()
    own = [
        row
        for row in known
        if all(word in f"{row.alias} {row.location}".casefold() for word in words)
    ]
    try:
        found = await market.search(typed)
    except GdlError as error:
        say(f"the hub could not be asked: {plain(error.message, 120)}")
        found = ()
    names = {row.alias for row in own}
    return [*own, *(row for row in found if row.alias not in names)]


async def _load(session: Session, questions: Questions, model: str) -> DeploymentSpec:
    """The wish so far, as the settings have it, with the load that is asked for."""
    usual, market = session.settings.hours, session.orchestrator.market
    while True:
        context = await questions.number(
            "Context in tokens: a number, or Enter for the default", MOST_TOKENS, None
        )
        try:
            market.size(OfferQuery(model=model, context=context), check=True)
        except UsageError as error:
            complain(error.message, error.hint)
        else:
            break
    hours = await questions.number(
        f"Hours: a number up to {MOST_HOURS}, or Enter for {usual}", MOST_HOURS, usual
    )
    spec = spec_of(DeployOptions(context=context), model, session)
    return replace(spec, hours=hours or usual, auto_failover=False, ask_on_failure=True)


async def _offer(
    session: Session, questions: Questions, spec: DeploymentSpec
) -> tuple[RankedOffer, list[RankedOffer]] | None:
    """The machine, and all that suit; None to choose another model."""
    try:
        suitable = list(await suitable_offers(session.orchestrator, spec))
    except GdlError as error:
        complain(error.message, error.hint)
        return None
    say_away(session.orchestrator.market.away)
    shown, again = suitable, False
    say(f"{plural(len(suitable), 'machine')} can serve it, the cheapest first")
    others = "a filter such as price<0.5, b for another model"
    while True:
        lines = [_offer_line(ranked, spec.hours) for ranked in shown]
        chosen = await questions.pick("Machine", lines, others, again=again)
        again = True
        if isinstance(chosen, int):
            return shown[chosen], suitable
        if chosen.lower() in ("b", "back"):
            return None
        try:
            found = passing(filter_of([chosen]), suitable)
        except UsageError as error:
            complain(error.message, error.hint)
            continue
        if found:
            shown, again = found, False
            say(f"{len(found)} of {len(suitable)} match the filter")
        else:
            say(f"none of the {len(suitable)} matches that filter")


def _offer_line(ranked: RankedOffer, hours: int) -> str:
    offer = ranked.offer
    told = [hourly(offer.price_per_hour), machine(offer, offer.vram_gb), plain(offer.provider, 40)]
    told += [plain(offer.location, 40)] if offer.location else []
    whole = ranked.session(hours)
    if whole is not None and whole.listed:
        told.append(f"about {dollars(whole.total)} for {plural(hours, 'hour')}")
    if ranked.headroom_gb is not None:
        told.append(f"{gigabytes(ranked.headroom_gb)} to spare")
    return ", ".join(told)


async def _agreed(
    session: Session,
    questions: Questions,
    spec: DeploymentSpec,
    ranked: RankedOffer,
    suitable: list[RankedOffer],
) -> DeploymentSpec | None:
    """The wish with that machine, once its price is agreed to."""
    offer = ranked.offer
    say("The plan:")
    for line in price_lines([ranked], spec, session.orchestrator):
        say(line)
    say("Then: install the engine, load the model, verify it, measure it, keep it serving.")
    if session.settings.read_only:
        raise UsageError("read-only: nothing is deployed", "omit --read-only")
    question = f"Rent it at {hourly(offer.price_per_hour)}?"
    if not costs(session.orchestrator):
        question = "Deploy it?"
    if not await questions.yes(question):
        say("nothing was rented")
        return None
    confirmed = (ConfirmedOffer(offer.id, offer.price_per_hour),)
    if ranked is not suitable[0]:
        return replace(spec, query=replace(spec.query, offer_id=offer.id), confirmed=confirmed)
    ceiling = max(each.offer.price_per_hour for each in suitable[:LOOK_AHEAD])
    most = plural(spec.max_attempts, "machine")
    onward = (
        len(suitable) > 1
        and spec.max_attempts > 1
        and await questions.yes(
            f"If it fails, try the next ones without asking, {most} in all, none more expensive"
            f" than {hourly(ceiling)}?"
        )
    )
    if not onward:
        return replace(spec, confirmed=confirmed)
    asked = spec.query.max_price
    bound = ceiling if asked is None else min(asked, ceiling)
    query = replace(spec.query, max_price=bound)
    return replace(spec, query=query, confirmed=confirmed, auto_failover=True)
