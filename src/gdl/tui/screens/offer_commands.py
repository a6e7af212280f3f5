"""What can be done with offers: choose the model for them, exclude some, deploy on one."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gdl.domain.errors import GdlError, UsageError
from gdl.domain.offers import Offer, OfferQuery, RankedOffer
from gdl.domain.spec import ConfirmedOffer, DeploymentSpec
from gdl.presentation.hardware import gpus
from gdl.presentation.lines import plain
from gdl.presentation.offer_filter import OfferFilter
from gdl.presentation.session_end import guard_limits, until_when
from gdl.presentation.words import plural
from gdl.tui.context import AppContext
from gdl.tui.filtering import key_of
from gdl.tui.offer_choice import OfferChoice, remembered_key
from gdl.tui.offer_watching import Watch
from gdl.tui.widgets.offer_notes import needed

if TYPE_CHECKING:
    from gdl.orchestrator.api.model_views import SizedModel

_REMEMBERED = ("offer", "machine", "host", "provider")
_USUAL_BID = 0.5
"""Dollars an hour, as long as nobody knows what kind of machine is needed."""


def load_words(context: AppContext, wanted: OfferQuery) -> str:
    """What the wanted model needs for its load, in words."""
    return needed(_sized(context, wanted), wanted)


def any_remembered(offers: Sequence[RankedOffer]) -> bool:
    """Whether one of them has an exclusion of a kind that may outlive a deployment."""
    return any(each.exclusion in _REMEMBERED for each in offers)


def cheapest_by(offers: Sequence[RankedOffer], wanted: OfferQuery) -> str:
    """The column that says which is the cheapest: the whole session's where a market tells what
    there is to pay beside the hours, as in the order that they come in."""
    told = wanted.model is not None and any(r.offer.terms is not None for r in offers)
    return "session" if told else "price"


def _sized(context: AppContext, wanted: OfferQuery) -> SizedModel | None:
    try:
        return context.orchestrator.market.size(wanted) if wanted.model is not None else None
    except UsageError:
        return None


async def choose_model(
    context: AppContext, choice: OfferChoice, selected: RankedOffer | None
) -> bool:
    """Ask for the model and its load, shown on the `selected` machine where that has no GPU;
    whether something else is wanted now."""
    from gdl.engines import registry
    from gdl.tui.screens.model_dialog import ModelDialog

    market = context.orchestrator.market
    offer = selected.offer if selected is not None else None
    on_cpu = offer is not None and not offer.gpu_count and not offer.not_asked
    dialog = ModelDialog(
        market, choice.wanted, context.settings.hours,
        registry.info(context.settings.engine.name).quantizations,
        blink=not context.reduced_motion,
        without_gpu=(offer.gpu_name or "CPU only") if offer is not None and on_cpu else "",
    )  # fmt: skip
    chosen = await context.ask(dialog)
    if chosen is None or chosen == choice.wanted:
        return False
    choice.wanted = chosen
    with contextlib.suppress(OSError):  # a convenience: nothing else depends on it
        await asyncio.to_thread(context.remembered.keep_model, chosen)
    return True


async def choose_interruptible(
    context: AppContext, choice: OfferChoice, selected: RankedOffer | None
) -> bool:
    """Ask for a bid and go over to interruptible machines, or back to those on demand; whether
    something else is wanted now."""
    from gdl.tui.screens.bid_dialog import BidDialog

    wanted = choice.wanted
    if wanted.interruptible:
        choice.wanted = replace(wanted, interruptible=False, bid=None)
        return True
    # Nobody bids more than the same machine costs on demand.
    fits = selected if wanted.model is not None else None
    usual = fits.offer.price_per_hour if fits is not None else 0.0
    bid = await context.ask(BidDialog(math.ceil(usual * 100) / 100 or _USUAL_BID))
    if bid is None:
        return False
    choice.wanted = replace(wanted, interruptible=True, bid=bid)
    return True


async def exclude(context: AppContext, choice: OfferChoice, selected: RankedOffer | None) -> bool:
    """The marked offers until somebody includes them again, or who runs the selected one: its host
    likewise where a marketplace tells it, as that has thousands; else its provider for this run.
    Whether something is excluded now that was not before."""
    if marked := choice.marked:
        return await _exclude_offers(context, [ranked.offer for ranked in marked])
    if selected is not None and selected.offer.host_id is not None:
        return await _exclude_host(context, selected.offer)
    if selected is None:
        return False
    if not choice.exclude_provider(selected.offer.provider):
        context.say(f"{selected.offer.provider} is excluded already · u includes it")
        return False
    context.say(f"{selected.offer.provider} is excluded · u includes it")
    return True


async def _exclude_host(context: AppContext, offer: Offer) -> bool:
    host = offer.host_id or ""
    try:
        await context.orchestrator.market.exclude("host", host, backend=offer.backend)
    except GdlError as error:
        context.report(error)
        return False
    context.say(f"host {host} of {offer.provider} is excluded · u on a row includes it")
    return True


async def _exclude_offers(context: AppContext, offers: Sequence[Offer]) -> bool:
    try:
        for each in offers:
            await context.orchestrator.market.exclude("offer", each.id, backend=each.backend)
    except GdlError as error:
        context.report(error)
        return False
    context.say(f"{plural(len(offers), 'offer')} excluded · u on a row includes it")
    return True


async def include(context: AppContext, choice: OfferChoice, selected: RankedOffer | None) -> bool:
    """What the selected row is excluded for, else the provider that was excluded last; whether
    something is included now that was not before."""
    provider = selected.offer.provider if selected is not None else ""
    key = remembered_key(selected) if selected is not None else None
    if key and provider not in choice.excluded:
        return await _clear_exclusion(context, key)
    if not choice.excluded:
        context.say("select a row that was excluded by you or for a failure, then press u")
        return False
    context.say(f"{choice.include_provider(provider)} is included again")
    return True


async def _clear_exclusion(context: AppContext, key: str) -> bool:
    """One that outlives deployments."""
    try:
        await context.orchestrator.market.clear_exclusions(key)
    except GdlError as error:
        context.report(error)
        return False
    context.say(f"{key} is included again")
    return True


def say_moved(
    context: AppContext, choice: OfferChoice, meant: RankedOffer | None, now: RankedOffer | None
) -> None:
    """Why another row is selected than the one that somebody was on."""
    if meant is None or now is None or key_of(meant) == key_of(now) or now.excluded is not None:
        return
    fresh = choice.listing.by_key.get(key_of(meant))
    if fresh is not None and fresh.excluded is not None:
        why = plain(fresh.excluded, 120)
        context.say(f"{gpus(fresh.offer)} does not fit ({why}): this is the cheapest one that does")


def wanted_offers(
    context: AppContext, choice: OfferChoice, selected: RankedOffer | None
) -> list[RankedOffer]:
    """Those to deploy on: the marked ones, without those that do not suit as long as any does; else
    the selected one."""
    if not (marked := choice.marked):
        return [] if selected is None else [selected]
    suit = [ranked for ranked in marked if ranked.excluded is None]
    if suit and len(suit) < len(marked):
        others = plural(len(marked) - len(suit), "marked offer")
        context.say(f"without {others} excluded since", severity="warning")
    return suit or marked


async def plan(
    context: AppContext, choice: OfferChoice, offers: Sequence[RankedOffer]
) -> DeploymentSpec | None:
    """Show what deploying on these offers means; what was confirmed, None when it was not."""
    from gdl.tui.screens.deploy_dialog import DeployDialog

    out = next((ranked for ranked in offers if ranked.excluded is not None), None)
    if out is not None:
        name = f"offer {out.offer.id}" if len(offers) > 1 else "this offer"
        context.say(f"{name} is excluded: {out.excluded}", severity="warning")
        return None
    settings, wanted = context.settings, choice.wanted
    try:
        sized = context.orchestrator.market.size(wanted, check=True)
    except UsageError as error:
        context.report(error)
        return None
    pinned = len(offers) > 1 or offers[0] != choice.cheapest()
    attempts = len(offers) if len(offers) > 1 else settings.max_attempts
    from gdl.engines import registry

    there, backends = context.orchestrator, {ranked.offer.backend for ranked in offers}
    dialog = DeployDialog(
        offers, wanted.model or "", needed(sized, wanted), wanted.hours or settings.hours,
        pinned=pinned, attempts=attempts,
        capabilities=sized.capabilities,
        tools=settings.engine.tools,
        engine=registry.info(settings.engine.name).display_name,
        max_spend=settings.max_spend,
        ends_after=guard_limits(
            settings.guard.idle_minutes, settings.guard.unseen_hours, there, backends
        ),
        open_ended=bool(there.open_ended & backends),
    )  # fmt: skip
    confirmed = await context.ask(dialog)
    if confirmed is None:
        return None
    ids = [ranked.offer.id for ranked in offers] if pinned else []
    return replace(
        _usual(context, choice.query(settings.max_price, ids)),
        hours=confirmed.hours,
        max_attempts=attempts,
        confirmed=tuple(
            ConfirmedOffer(ranked.offer.id, ranked.offer.price_per_hour) for ranked in offers
        ),
        auto_failover=confirmed.auto_failover,
        ask_on_failure=True,
        tools=confirmed.tools,
    )


def _usual(context: AppContext, query: OfferQuery) -> DeploymentSpec:
    """What the settings say of a deployment."""
    settings = context.settings
    return DeploymentSpec(
        model=query.model or "",
        backend=context.orchestrator.backend_name,
        query=query,
        hours=query.hours or settings.hours,
        max_attempts=settings.max_attempts,
        exclude_provider_after=settings.exclude_provider_after,
        max_spend=settings.max_spend,
        idle_minutes=settings.guard.idle_minutes,
        unseen_hours=settings.guard.unseen_hours,
        after="hold",
        engine=settings.engine.name,
        tools=settings.engine.tools,
    )


async def watch(
    context: AppContext, choice: OfferChoice, line: str, asked: OfferFilter
) -> Watch | None:
    """Ask on what terms the market is watched for what passes the filter, and agree to what is
    rented then; None when it is not. Nobody may be there later: what fails is over by itself."""
    from gdl.tui.screens.watch_dialog import WatchDialog

    if (problem := asked.problem) is not None:
        context.say(f"the filter: {problem.what} · {problem.helps}", severity="warning")
        return None
    settings, wanted, there = context.settings, choice.wanted, context.orchestrator
    ceilings = [most for most in (settings.max_price, asked.most_price) if most is not None]
    hours = wanted.hours or settings.hours
    dialog = WatchDialog(
        line, wanted.model, hours, min(ceilings, default=None),
        costs=there.bills and not there.simulated, may_rent=not context.read_only,
        max_spend=settings.max_spend,
        until=until_when(_usual(context, replace(wanted, hours=hours)), there),
    )  # fmt: skip
    terms = await context.ask(dialog)
    if terms is None:
        return None
    query = replace(choice.query(terms.most), hours=hours)
    return Watch(line, asked, query, _usual(context, query) if terms.rents else None)
