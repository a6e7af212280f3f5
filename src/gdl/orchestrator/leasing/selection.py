"""Which offer a deployment takes next, and whom it excludes after a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from gdl.backends.base import Backend
from gdl.domain import events as ev
from gdl.domain.errors import GdlError, NoSuitableOffer, UsageError
from gdl.domain.money import dollars
from gdl.domain.offers import Exclusion, Offer, OfferQuery
from gdl.domain.ranking import why_none
from gdl.journal import exclusions as remembered
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.deployment.engine_habits import rules_of
from gdl.orchestrator.leasing.blame import Blame, blame_for, ends_everything, exclusions_for
from gdl.orchestrator.leasing.marketplace import Marketplace
from gdl.orchestrator.leasing.requirements import needed_of
from gdl.orchestrator.leasing.retry import LONGEST_S, retrying
from gdl.presentation.money import hourly
from gdl.settings import Settings

_BIG_DISK_GB = 100
"""Asked for after a disk was too small for a model of unknown size."""


class OfferSelection:
    """Chooses the offer of each attempt, and excludes who is to blame when one fails."""

    def __init__(
        self,
        market: Marketplace,
        backend: Backend,
        journal: Journal,
        settings: Settings,
        clock: Callable[[], datetime],
    ) -> None:
        self._market = market
        self._backend = backend
        self._journal = journal
        self._settings = settings
        self._clock = clock

    # -- offers ----------------------------------------------------------------------------------

    async def choose(self, deployment: Deployment) -> Offer:
        """The cheapest suitable offer of a fresh list. Raises NoSuitableOffer with what would
        help, or BackendError when the list cannot be had."""
        query = self._allowing(deployment)
        offers = await self._fresh(deployment, query)
        ranked = await self._market.ranked(
            offers,
            query,
            engine=deployment.engine,
            hours=deployment.spec.hours,
            excluded=deployment.exclusions.in_force,
            included=deployment.exclusions.included,
        )
        suitable = [r for r in ranked if r.excluded is None]
        reasons = Counter(r.excluded for r in ranked if r.excluded is not None)
        await deployment.emit(
            ev.OffersRanked(
                len(suitable),
                len(ranked) - len(suitable),
                tuple(f"{count} x {reason}" for reason, count in reasons.most_common(8)),
            )
        )
        if not suitable:
            raise NoSuitableOffer(*why_none(ranked, query))
        return suitable[0].offer

    async def again(self, deployment: Deployment, failed: Offer) -> Offer:
        """A failed offer as it is listed now. Raises NoSuitableOffer when it is not."""
        offers = await self._fresh(deployment, deployment.spec.query)
        found = next((o for o in offers if o.id == failed.id), None)
        if found is None:
            raise NoSuitableOffer(f"{failed.id} is not listed any more", "take the next offer")
        ceiling = deployment.spec.query.max_price
        if ceiling is not None and found.price_per_hour > ceiling:
            raise NoSuitableOffer(
                f"{failed.id} costs {hourly(found.price_per_hour)} by now, "
                f"over {dollars(ceiling)}/h",
                "take the next offer",
            )
        return found

    async def _fresh(self, deployment: Deployment, query: OfferQuery) -> Sequence[Offer]:
        return await retrying(
            lambda: self._backend.offers(query),
            deployment.progress,
            limit_s=min(LONGEST_S, self._settings.timeouts.session),
            reached=deployment.attempt > 0,
        )

    @staticmethod
    def _allowing(deployment: Deployment) -> OfferQuery:
        """The query without the providers that the user included again."""
        query = deployment.spec.query
        kept = tuple(p for p in query.exclude_providers if p not in deployment.exclusions.included)
        return replace(query, exclude_providers=kept)

    # -- after a failure -------------------------------------------------------------------------

    async def learn(self, deployment: Deployment, offer: Offer, error: GdlError) -> bool:
        """Exclude whom a failure speaks against, here and across restarts. True: no other offer can
        help."""
        blame = self._blame(deployment, error)
        if ends_everything(error, blame):
            return True
        if blame.id == "disk":
            # Where the disk is made to order, the next one is to be big enough.
            need = needed_of(
                deployment.engine, deployment.model, deployment.spec.query, self._settings
            )
            enough = 2 * need.disk_gb if need is not None else _BIG_DISK_GB
            deployment.disk_gb = max(enough, deployment.disk_gb or 0)
        now = self._clock()
        for exclusion in exclusions_for(blame, offer, error, now, self._backend.name):
            await self._exclude(deployment, exclusion)
        return False

    @staticmethod
    def _blame(deployment: Deployment, error: GdlError) -> Blame:
        attempt = deployment.state.attempt
        diagnosis = attempt.diagnosis if attempt is not None else None
        return blame_for(
            error,
            rules_of(deployment.engine),
            diagnosis.rule if diagnosis is not None else "",
        )

    async def exclude_offer(self, deployment: Deployment, offer: Offer, error: GdlError) -> None:
        """An offer on which it failed, for this deployment, though it is not to blame."""
        reason = f"failed: {error.message}"[:160]
        name = self._backend.name
        out = Exclusion(
            "offer", offer.id, reason, self._clock(), cause="failed",
            scope="deployment", backend=name,
        )  # fmt: skip
        await self._exclude(deployment, out)

    async def exclude_provider(self, deployment: Deployment, provider: str) -> None:
        """Because its user said so, for this deployment."""
        await self._exclude(
            deployment,
            Exclusion(
                "provider",
                provider,
                f"provider {provider} excluded by you",
                self._clock(),
                cause=f"{provider} excluded by you",
                scope="deployment",
                backend=self._backend.name,
            ),
        )

    async def _exclude(self, deployment: Deployment, exclusion: Exclusion) -> None:
        lasting = exclusion.scope != "deployment"
        # Within the deployment it lasts as long as that, however short its own time is.
        mine = replace(exclusion, scope="deployment", until=None)
        deployment.exclusions.add(mine)
        if lasting and self._backend.traits.bills:
            try:
                await remembered.remember(self._journal, exclusion)
            except GdlError as error:
                await deployment.note(error.message, "warning")
        await deployment.emit(
            ev.ExclusionSet(
                deployment.attempt,
                exclusion.kind,
                exclusion.key,
                exclusion.reason,
                exclusion.until,
                lasting,
            )
        )

    async def include_provider(self, deployment: Deployment, provider: str) -> None:
        """Include a provider in this deployment again, whatever excluded it."""
        known = deployment.exclusions.excludes_provider(provider)
        in_force = await self._market.exclusions()
        across = any(x.kind == "provider" and x.key == provider for x in in_force)
        if not (known or across or provider in deployment.spec.query.exclude_providers):
            raise UsageError(f"provider {provider} is not excluded here", "nothing to include")
        deployment.exclusions.include_provider(provider)
        await deployment.emit(ev.ExclusionLifted(deployment.attempt, "provider", provider))
