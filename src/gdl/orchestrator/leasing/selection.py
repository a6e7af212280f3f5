"""Which offer a deployment takes next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from gdl.domain import events as ev
from gdl.domain.errors import ConfirmedOfferGone, NoSuitableOffer
from gdl.domain.money import hourly
from gdl.domain.offers import Exclusion, Offer, OfferQuery, RankedOffer, dearer
from gdl.domain.ranking import why_none
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing.balances import TOO_LOW
from gdl.orchestrator.leasing.budget import Budget
from gdl.orchestrator.leasing.excluding import Excluding
from gdl.orchestrator.leasing.image_choice import not_used, start_failed
from gdl.orchestrator.leasing.late_machines import end_late_machines
from gdl.orchestrator.leasing.marketplace import Marketplace
from gdl.orchestrator.leasing.markets import Markets
from gdl.orchestrator.leasing.requirements import session_needs
from gdl.orchestrator.leasing.retry import LONGEST_S, retrying
from gdl.settings import Settings

_NEXT = "take the next offer"


class OfferSelection:
    """Chooses the offer of each attempt. excluding: who is excluded after a failure. charges: what
    sessions were charged that are over. budget: what may be spent."""

    def __init__(
        self,
        market: Marketplace,
        markets: Markets,
        journal: Journal,
        settings: Settings,
        clock: Callable[[], datetime],
        budget: Budget,
    ) -> None:
        self._market = market
        self.budget = budget
        self._markets = markets
        self._settings = settings
        self._clock = clock
        self.charges = market.charges
        self.excluding = Excluding(markets, journal, settings, clock)

    async def choose(self, deployment: Deployment) -> Offer:
        """What the user confirmed, or else the cheapest suitable offer, of a fresh list. Raises
        ConfirmedOfferGone, NoSuitableOffer with what would help, SpendLimitReached, or BackendError
        when the list cannot be had. Of the replicas of a fleet, one chooses at a time."""
        siblings = deployment.siblings
        if siblings is None:
            return await self._choose(deployment)
        async with siblings.choosing:
            chosen = await self._choose(deployment)
            siblings.take(deployment.id, chosen)
            return chosen

    async def _choose(self, deployment: Deployment) -> Offer:
        query = self._allowing(deployment, agreed=deployment.ceiling)
        await end_late_machines(deployment, self._markets)
        offers = await self._fresh(deployment, query)
        ranked = await self._ranked(deployment, offers, query)
        suitable = self._spread(deployment, [r for r in ranked if r.excluded is None])
        reasons = Counter(r.excluded for r in ranked if r.excluded is not None)
        await deployment.emit(
            ev.OffersRanked(
                len(suitable),
                len(ranked) - len(suitable),
                tuple(f"{count} x {reason}" for reason, count in reasons.most_common(8)),
            )
        )
        chosen = _confirmed(deployment, ranked, suitable, query)
        if chosen is None:
            unpaid = next((r for r in ranked if r.cause == TOO_LOW), None)
            if unpaid is not None:
                hint = f"add credit at {unpaid.offer.backend}, or take another backend"
                raise NoSuitableOffer(unpaid.excluded or "", hint)
            raise NoSuitableOffer(*why_none(ranked, query))
        priced = next((r.session() for r in suitable if r.offer is chosen), None)
        deployment.expected = priced if priced is not None and priced.listed else None
        image = deployment.image = priced.image if priced is not None else None
        deployment.min_cuda = image.cuda if image is not None else None
        if words := not_used(self._settings, image):
            await deployment.note(words, "warning")
        if deployment.min_cuda is None:
            engine, model = deployment.engine, deployment.model
            deployment.min_cuda = engine.least_cuda(self._settings, model, query)
        await self.budget.refuse(deployment, chosen)
        for aside in deployment.exclusions.aside:
            if aside.covers(chosen):
                await self.excluding.take_back(deployment, aside)
        return chosen

    async def preview(self, deployment: Deployment, other_source: bool) -> RankedOffer:
        """What `choose` would take now in place of the offer at work, or that failed. other_source:
        of another host, where a marketplace tells them, or provider. Raises NoSuitableOffer,
        BackendError."""
        query = self._allowing(deployment, agreed=None)
        ranked = await self._ranked(deployment, await self._fresh(deployment, query), query)
        at_work = deployment.state.attempt
        for row in ranked:
            offer = row.offer
            if row.excluded is not None or (at_work and offer.id == at_work.offer_id):
                continue
            same = at_work is not None and (
                offer.host_id == at_work.host
                if offer.host_id is not None
                else offer.provider == at_work.provider
            )
            if not (other_source and same):
                return row
        if any(row.excluded is None for row in ranked):
            raise NoSuitableOffer("no other offer is suitable", "try the same offer again")
        raise NoSuitableOffer(*why_none(ranked, query))

    async def _ranked(
        self, deployment: Deployment, offers: Sequence[Offer], query: OfferQuery
    ) -> list[RankedOffer]:
        """Who is set aside comes after all others: they suit when nothing else does."""
        exclusions = deployment.exclusions
        always = (
            *exclusions.in_force,
            *self._dearer_than_confirmed(deployment, offers),
            *_of_siblings(deployment, self._clock()),
            *await self.budget.balances.too_dear(offers),
        )
        ranked = await self._rank(deployment, offers, query, (*always, *exclusions.aside))
        if not exclusions.aside or any(r.excluded is None for r in ranked):
            return ranked
        ranked = await self._rank(deployment, offers, query, always)
        suitable = [r.offer for r in ranked if r.excluded is None]
        if not suitable:
            return ranked
        # Of several, the one of which the fewest hosts failed; the first is the cheapest.
        first = min(suitable, key=exclusions.failures_of)
        others = [x for x in exclusions.aside if not x.covers(first)]
        return await self._rank(deployment, offers, query, (*always, *others))

    async def _rank(
        self,
        deployment: Deployment,
        offers: Sequence[Offer],
        query: OfferQuery,
        excluded: Sequence[Exclusion],
    ) -> list[RankedOffer]:
        return await self._market.ranked(
            offers,
            query,
            None if query.model is None else deployment.model,
            engine=deployment.engine,
            hours=deployment.spec.hours,
            arguments=deployment.spec.engine_args,
            disk_gb=deployment.disk_gb,
            images=not start_failed(deployment.state) or self._settings.install.image != "auto",
            excluded=excluded,
            included=deployment.exclusions.included
            - {x.key for x in excluded if x.scope == "aside"},
        )

    def _dearer_than_confirmed(
        self, deployment: Deployment, offers: Sequence[Offer]
    ) -> list[Exclusion]:
        """Offers that the user confirmed at a lower price than they have by now."""
        prices = {c.offer_id: c.price_per_hour for c in deployment.confirmed}
        return [
            Exclusion(
                "offer",
                offer.id,
                f"now costs {hourly(offer.price_per_hour)}, confirmed at {hourly(said)}",
                self._clock(),
                cause="more expensive than confirmed",
                scope="deployment",
                backend=offer.backend,
            )
            for offer in offers
            if (said := prices.get(offer.id)) is not None and dearer(offer.price_per_hour, said)
        ]

    async def again(self, deployment: Deployment, failed: Offer) -> Offer:
        """A failed offer as it is listed now, at the price it had or less. Raises NoSuitableOffer
        when it is not, SpendLimitReached."""
        offers = await self._fresh(deployment, deployment.spec.query)
        found = next((o for o in offers if o.id == failed.id), None)
        if found is None:
            raise NoSuitableOffer(f"{failed.id} is no longer listed", _NEXT)
        now, before = found.price_per_hour, failed.price_per_hour
        ceiling = deployment.spec.query.max_price
        if ceiling is not None and now > ceiling:
            raise NoSuitableOffer(
                f"{failed.id} costs {hourly(now)} now, over {hourly(ceiling)}", _NEXT
            )
        if dearer(now, before):
            raise NoSuitableOffer(
                f"{failed.id} costs {hourly(now)} now, it was {hourly(before)}", _NEXT
            )
        await self.budget.refuse(deployment, found)
        return found

    async def _fresh(self, deployment: Deployment, query: OfferQuery) -> Sequence[Offer]:
        """As they cost with the disk that the model needs, and with what is bid for them."""
        offers = await retrying(
            lambda: self._markets.offers(query),
            deployment.progress,
            limit_s=min(LONGEST_S, self._settings.timeouts.session),
            reached=deployment.attempt > 0,
        )
        await self._tell_away(deployment)
        disk_gb = session_needs(
            deployment.engine, deployment.model, query, self._settings, deployment.disk_gb
        ).disk_gb
        if disk_gb:
            offers = [offer.with_disk(disk_gb) for offer in offers]
        return offers if query.bid is None else [offer.bidding(query.bid) for offer in offers]

    async def close(self, deployment: Deployment) -> None:
        """Before its last word: release what its requests have made late, and compare what was
        charged with what was expected."""
        await end_late_machines(deployment, self._markets)
        await self.charges.compare(deployment)

    async def _tell_away(self, deployment: Deployment) -> None:
        """Each backend once that does not answer while others do."""
        for name, why in self._markets.away.items():
            if name not in deployment.told_away:
                deployment.told_away.add(name)
                await deployment.note(f"{name} is away: {why}", "warning")

    @staticmethod
    def _allowing(deployment: Deployment, *, agreed: float | None) -> OfferQuery:
        """The query without the providers that the user included again. agreed: dollars an hour
        that no machine may cost more than, beside what the query says."""
        query = deployment.spec.query
        siblings = deployment.siblings
        asked = query.max_price if siblings is None else siblings.price_left(deployment.id)
        limits = [limit for limit in (asked, agreed) if limit is not None]
        query = replace(query, max_price=min(limits, default=None))
        kept = tuple(p for p in query.exclude_providers if p not in deployment.exclusions.included)
        return replace(query, exclude_providers=kept)

    def _spread(self, deployment: Deployment, suitable: list[RankedOffer]) -> Sequence[RankedOffer]:
        """Where a fleet is spread over markets: those first on whose market the fewest of the
        other replicas are, and among them in the order that they had."""
        siblings = deployment.siblings
        if siblings is None or not siblings.spread:
            return suitable
        several = self._markets.several
        return sorted(
            suitable,
            key=lambda r: siblings.crowd(deployment.id, r.offer, by_backend=several),
        )


def _of_siblings(deployment: Deployment, now: datetime) -> list[Exclusion]:
    """What the other replicas of its fleet have."""
    siblings = deployment.siblings
    return [] if siblings is None else siblings.exclusions(deployment.id, now)


def _confirmed(
    deployment: Deployment,
    ranked: Sequence[RankedOffer],
    suitable: Sequence[RankedOffer],
    query: OfferQuery,
) -> Offer | None:
    """The first machine is one that the user confirmed; later ones are the cheapest that suit.
    None: nothing suits. Raises ConfirmedOfferGone."""
    first = suitable[0].offer if suitable else None
    wanted = {c.offer_id for c in deployment.confirmed}
    if not wanted or deployment.confirmed_tried:
        return first
    found = next((r.offer for r in suitable if r.offer.id in wanted), None)
    if found is not None:
        return found
    names = ", ".join(sorted(wanted)[:3])
    listed = [r for r in ranked if r.offer.id in wanted]
    if first is None and not listed:
        what, helps = why_none(ranked, query)
        raise ConfirmedOfferGone(f"{names} is no longer listed; {what}", helps)
    why = (listed[0].excluded or "") if listed else "no longer listed"
    helps = "choose another offer"
    if first is not None:
        helps = f"the cheapest that suits is {first.id} at {hourly(first.price_per_hour)}"
    raise ConfirmedOfferGone(
        f"{names}, which you confirmed: {why}",
        helps,
        alternative=first.id if first is not None else None,
        price_per_hour=first.price_per_hour if first is not None else 0.0,
        provider=listed[0].offer.provider if listed else "",
        backend=listed[0].offer.backend if listed else "",
    )
