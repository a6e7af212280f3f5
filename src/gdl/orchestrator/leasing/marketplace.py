"""The market as one user sees it: offers ranked for a model, without those who are excluded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache

from gdl.backends.base import costs_of_all
from gdl.domain.errors import UsageError
from gdl.domain.judging import Exclusions
from gdl.domain.model import Model
from gdl.domain.money import CostReport
from gdl.domain.offers import Exclusion, Offer, OfferQuery, RankedOffer
from gdl.domain.ranking import Ranking, merged
from gdl.domain.session_price import SessionNeeds
from gdl.domain.session_pricing import ImageOf
from gdl.domain.spec import DeploymentSpec
from gdl.domain.track_record import TrackRecord
from gdl.engines.base import Engine, EngineResolver
from gdl.journal import exclusions as remembered
from gdl.journal.store import Journal
from gdl.orchestrator.api.model_views import ModelRow, ModelVariant, SizedModel
from gdl.orchestrator.api.read_only import changing
from gdl.orchestrator.leasing import session_costs
from gdl.orchestrator.leasing.charge_comparison import ChargeComparison
from gdl.orchestrator.leasing.deployed_model import checked
from gdl.orchestrator.leasing.image_choice import image_of, least_cuda
from gdl.orchestrator.leasing.markets import Leasing, Markets
from gdl.orchestrator.leasing.model_index import ModelIndex
from gdl.orchestrator.leasing.model_lookup import ModelLookup
from gdl.orchestrator.leasing.requirements import (
    fits_of,
    resolved,
    runs_on,
    session_needs,
    sized,
)
from gdl.orchestrator.leasing.several_machines import check_engine
from gdl.orchestrator.leasing.track_record import TrackRecords
from gdl.settings import Settings

EXCLUDABLE = ("provider", "host", "machine", "offer")


class Marketplace:
    """See `api.ports.Market`."""

    def __init__(
        self,
        markets: Markets,
        engines: EngineResolver,
        journal: Journal,
        settings: Settings,
        clock: Callable[[], datetime],
        *,
        lookup: ModelLookup,
    ) -> None:
        self.read_only = settings.read_only
        self._markets = markets
        self._engines = engines
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._began = clock()
        self._track_records = {name: TrackRecords(journal, name) for name in markets.names}
        self._kept: dict[str, tuple[tuple[Offer, ...], tuple[object, ...], Ranking]] = {}
        self._lookup = lookup
        self.charges = ChargeComparison(markets.backends, journal, clock)
        self._indexes = cache(lambda name: ModelIndex(engines(name), lookup, settings))

    @property
    def _engine(self) -> Engine:
        """Of whoever names none. Raises UsageError when it is not there."""
        return self._engines(self._settings.engine.name)

    @property
    def _index(self) -> ModelIndex:
        return self._indexes(self._settings.engine.name)

    @property
    def away(self) -> Mapping[str, str]:
        return self._markets.away

    # -- offers and models -----------------------------------------------------------------------

    async def offers(self, query: OfferQuery) -> list[RankedOffer]:
        """Raises UsageError, BackendError."""
        engine = self._engine
        check_engine(query.nodes, engine)
        finding = asyncio.create_task(self._model(engine, query))
        # Whatever the journal holds is read while the market is asked.
        beside = [asyncio.create_task(self.charges.catch_up())]
        beside += [asyncio.create_task(each.read()) for each in self._track_records.values()]
        try:
            offers = await self._markets.offers(query)
            model = await finding
            await asyncio.gather(*beside)
        finally:
            for task in (finding, *beside):
                task.cancel()
            await asyncio.gather(finding, *beside, return_exceptions=True)
        return await self.ranked(
            offers, query, model, engine=engine, hours=query.hours or self._settings.hours
        )

    async def _model(self, engine: Engine, query: OfferQuery) -> Model | None:
        """The query's model. Raises UsageError for one that cannot be served, or not so."""
        if query.model is None:
            return None
        model = resolved(engine, await self._lookup.find(engine, query.model), query)
        engine.check_load(query, model)
        judged = self._lookup.judged(
            model, engine=None if self._settings.install.version else engine
        )
        if judged.final:
            judged.check()
        return model

    async def ranked(
        self,
        offers: Sequence[Offer],
        query: OfferQuery,
        model: Model | None,
        *,
        engine: Engine,
        hours: int,
        excluded: Sequence[Exclusion] = (),
        included: set[str] | frozenset[str] = frozenset(),
        arguments: Sequence[str] = (),
        disk_gb: int | None = None,
        images: bool = True,
    ) -> list[RankedOffer]:
        """Those offers, ranked for the model on that engine. excluded: besides those that
        are in force for everybody; included: providers that no exclusion holds for; arguments: of
        the deployment's own server; disk_gb: to ask for, where that is more than the model
        needs; images: machines may be rented with one that has the engine."""
        fits, needs = runs_on(engine, self._settings), SessionNeeds(disk_gb or 0)
        if model is not None:
            fits = fits_of(engine, model, query, self._settings, arguments)
            needs = session_needs(engine, model, query, self._settings, disk_gb)
        across = await self.exclusions()
        in_force = [
            x for x in (*across, *excluded) if x.kind != "provider" or x.key not in included
        ]
        if not query.order and self._markets.several:
            # One order for all of them, as each list alone would choose it.
            priced = needs.disk_gb > 0 and any(offer.terms is not None for offer in offers)
            query = replace(query, order="session" if priced else "price")
        query = replace(
            query,
            min_reliability=query.min_reliability or self._settings.min_reliability,
            min_cuda=query.min_cuda
            or least_cuda(engine, self._settings, [b.traits for b in self._markets.backends])
            or engine.least_cuda(self._settings, model, query),
        )
        lists = []
        for each in self._markets.all:
            theirs = [x for x in in_force if x.backend in ("", each.name)]
            listed = [o for o in offers if o.backend == each.name]
            served_name = None if model is None else model.served_name
            record = await self._track_records[each.name].of(served_name)
            image_for = None
            if model is not None and images:
                image_for = image_of(engine, model, query, self._settings, each.backend.traits)
            ranking = self._ranking(each, listed, query, theirs, hours, record, needs, image_for)
            lists.append(ranking.ranked(fits))
        return lists[0] if len(lists) == 1 else merged(lists, by_session=query.order == "session")

    def _ranking(
        self,
        leasing: Leasing,
        offers: Sequence[Offer],
        query: OfferQuery,
        in_force: Sequence[Exclusion],
        hours: int,
        record: TrackRecord,
        needs: SessionNeeds,
        image_for: ImageOf | None,
    ) -> Ranking:
        """The last one again when only the load is another: sliders ask for many in a row."""
        plain = replace(query, context=None, concurrency=None)
        asked = (plain, tuple(in_force), hours, record, needs, image_for is None)
        kept = self._kept.get(leasing.name)
        rows = tuple(offers)
        if kept is not None and kept[0] == rows and kept[1] == asked:
            return kept[2]
        made = Ranking(
            offers,
            query,
            exclusions=Exclusions.of(in_force),
            cpu_allowed=leasing.backend.traits.cpu_allowed,
            hours=hours if leasing.bills else 0,
            track_record=record,
            needs=needs,
            image_of=image_for,
            pulls_free=leasing.backend.traits.pulls_free,
        )
        self._kept[leasing.name] = rows, asked, made
        return made

    def models(self) -> list[ModelRow]:
        return self._index.listed(fits=False)

    async def search(self, words: str) -> list[ModelRow]:
        return await self._index.search(words)

    def answered(self, rows: Sequence[ModelRow]) -> AsyncGenerator[ModelRow]:
        return self._index.answered(rows)

    def variants(self, model: str) -> list[ModelVariant]:
        return self._index.variants(model)

    def size(
        self, query: OfferQuery, gpu: str = "", *, check: DeploymentSpec | bool = False
    ) -> SizedModel:
        if isinstance(check, DeploymentSpec):
            engine = self._engines(check.engine)
            checked(engine, check, self._lookup.kept(engine, check.model), self._settings)
        elif check:
            self._check(query)
        model = self._lookup.kept(self._engine, query.model or "")
        told = sized(self._engine, query, model, self._settings)
        return replace(told, allocation=self._index.allocation(query, gpu)) if gpu else told

    def _check(self, query: OfferQuery) -> None:
        engine, name = self._engine, query.model or ""
        model = resolved(engine, self._lookup.kept(engine, name), query)
        spec = DeploymentSpec(name, "", query, engine=self._settings.engine.name)
        engine.check(spec, model, self._settings)

    async def costs(self) -> CostReport:
        await self.charges.catch_up()
        own = await session_costs.of_backends(self._journal, self._markets.names, self._clock())
        try:
            told = await costs_of_all([each.backend for each in self._markets.all])
        except UsageError as error:
            if not own:
                raise
            total = sum(one.cost or 0.0 for one in own)
            told = CostReport(total, session_count=len(own), note=error.message)
        return replace(told, sessions=own)

    # -- exclusions ------------------------------------------------------------------------------

    async def exclusions(self) -> list[Exclusion]:
        """Those in force for every deployment, newest first. Raises GdlError."""
        found = [x for each in self._markets.all for x in await self._exclusions_of(each)]
        return sorted(found, key=lambda x: x.since, reverse=True)

    async def _exclusions_of(self, leasing: Leasing) -> list[Exclusion]:
        found = await remembered.in_force(self._journal, leasing.name, self._clock())
        if not leasing.bills:
            # A failure says nothing about a machine of the user's own for long.
            return [x for x in found if x.scope == "user"]
        if leasing.backend.traits.outlives_program:
            return found
        # A market that began with this process knows nothing of the failures of an earlier one.
        return [x for x in found if x.scope == "user" or x.since >= self._began]

    @changing("exclude")
    async def exclude(self, kind: str, key: str, reason: str = "", backend: str = "") -> Exclusion:
        """By the user's own choice, until it is cleared. Raises UsageError."""
        if kind not in EXCLUDABLE:
            raise UsageError(
                f"unknown kind of exclusion {kind[:40]}", f"one of {', '.join(EXCLUDABLE)}"
            )
        if not key.strip() or len(key) > 256 or not key.isprintable():
            raise UsageError(f"not a usable name of a {kind}", "`gdl-tui offers --json` shows them")
        exclusion = Exclusion(
            kind,
            key.strip(),
            " ".join(reason.split())[:160] or f"{kind} excluded by you",
            self._clock(),
            cause=f"{kind} excluded by you" if kind != "provider" else f"{key} excluded by you",
            scope="user",
        )
        names = [self._markets.of(backend).name] if backend else self._markets.names
        made = [replace(exclusion, backend=name) for name in names]
        for one in made:
            await remembered.remember(self._journal, one)
        return made[0]

    @changing("clear exclusions")
    async def clear_exclusions(self, key: str | None = None) -> int:
        """Raises UsageError when the key has none."""
        await remembered.tidy(self._journal, self._clock())
        cleared = 0
        for name in self._markets.names:
            cleared += await remembered.clear(self._journal, name, key)
        if key is not None and not cleared:
            raise UsageError(f"no exclusion of {key[:80]}", "`gdl-tui exclusions` lists them")
        return cleared
