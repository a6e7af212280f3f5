"""Speeds of a model on machines, from our own history and from what others have measured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gdl import shipped
from gdl.backends.base import Backend, TellsBenchmarks
from gdl.domain.benchmark import OWN, OWN_LOAD
from gdl.domain.errors import GdlError
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.domain.speed import Figure, Machine, Served, Speed, active_share, speed
from gdl.engines.base import EngineResolver
from gdl.hub import catalogue
from gdl.journal import benchmarks
from gdl.journal.store import Journal
from gdl.orchestrator.leasing.model_lookup import ModelLookup
from gdl.orchestrator.leasing.requirements import needed_of, resolved
from gdl.settings import Settings


class Speeds:
    """simulated: whose figures are compared with others of that sort alone."""

    def __init__(
        self,
        backends: Sequence[Backend],
        engines: EngineResolver,
        journal: Journal,
        settings: Settings,
        lookup: ModelLookup,
        *,
        simulated: bool,
    ) -> None:
        self._backends = backends
        self._engines = engines
        self._journal = journal
        self._settings = settings
        self._lookup = lookup
        self._simulated = simulated

    async def of(self, query: OfferQuery, machines: Iterable[Machine]) -> dict[Machine, Speed]:
        """See `api.ports.Benchmarks.speeds`."""
        engine = self._engines(self._settings.engine.name)
        model = resolved(engine, await self._lookup.find(engine, query.model or ""), query)
        need = needed_of(engine, model, query, self._settings)
        weights = None if need is None else need.weights_gb
        share = _active_share(model)
        active = None if share is None or weights is None else weights * share
        served = Served(query.concurrency or OWN_LOAD.concurrency, weights, active)
        figures = await self._figures(model)
        found = {each: speed(each, served, figures) for each in dict.fromkeys(machines)}
        return {each: told for each, told in found.items() if told is not None}

    async def _figures(self, model: Model) -> list[Figure]:
        kept = await benchmarks.kept(self._journal, model.served_name)
        figures = [
            Figure(
                Machine(one.gpu, one.gpu_count),
                one.report.concurrency,
                one.report.output_throughput,
                "",
                own=True,
            )
            for one in kept
            if one.simulated is self._simulated
            and one.gpu_count
            and one.report.concurrency
            and not one.report.note
            and (one.workload == OWN or one.best)
        ]
        if self._simulated:
            return figures
        asked = await asyncio.gather(*(_told(each, model) for each in self._backends))
        return [*figures, *(each for told in asked for each in told), *_published(model)]


def _active_share(model: Model) -> float | None:
    """By the program's own list, else by its name."""
    found = catalogue.find(model.location)
    if found is None:
        return active_share(model.location)
    entry, _ = found
    return entry.active_b / entry.parameters_b if 0 < entry.active_b < entry.parameters_b else None


async def _told(backend: Backend, model: Model) -> Sequence[Figure]:
    """What a backend's users left there; nothing where it does not answer."""
    if not isinstance(backend, TellsBenchmarks):
        return ()
    try:
        return await backend.benchmarks(model.served_name)
    except GdlError:
        return ()


def _published(model: Model) -> list[Figure]:
    """Of the table that comes with the program."""
    rows: list[Mapping[str, Any]] = shipped.table(__file__, "speeds.toml")["figures"]
    wanted = model.location.casefold()
    return [
        Figure(
            Machine(row["gpu"], row["count"], float(row["vram"])),
            row["concurrency"],
            float(row["tokens_per_s"]),
            row["source"],
        )
        for row in rows
        if row["model"].casefold() == wanted
    ]
