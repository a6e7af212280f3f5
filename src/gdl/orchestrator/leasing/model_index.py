"""The models there are to choose from: the program's own list, and what the hub finds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from gdl.domain.errors import GdlError, UsageError
from gdl.domain.model import Model
from gdl.domain.model_facts import FactsSource, ModelFacts
from gdl.domain.offers import OfferQuery
from gdl.domain.requirements.allocation import Allocation, GpuKind, Load
from gdl.domain.requirements.of_facts import architecture_of
from gdl.engines import registry as engines
from gdl.engines.base import Engine
from gdl.hub import names
from gdl.orchestrator.api.model_views import ModelDetails, ModelRow, ModelVariant
from gdl.orchestrator.leasing import model_rows
from gdl.orchestrator.leasing.model_details import details, files_of, gpu_for
from gdl.orchestrator.leasing.model_lookup import ModelLookup, known
from gdl.orchestrator.leasing.model_variants import variants_of, with_variants
from gdl.orchestrator.leasing.open_hub import open_hub
from gdl.orchestrator.leasing.requirements import answers, load_of, untold
from gdl.settings import Settings

_AT_A_TIME = 4
"""Models that the hub is asked about at once."""


class ModelIndex:
    """For one engine, whose own models are all there is where it brings some."""

    def __init__(self, engine: Engine, lookup: ModelLookup, settings: Settings) -> None:
        self._engine, self._lookup, self._settings = engine, lookup, settings
        self._rows: dict[str, ModelRow] = {}

    def listed(self, words: str = "", *, fits: bool = True) -> list[ModelRow]:
        """The program's own list: the models whose names have all of these words. Nobody is asked.
        fits: with what fits on a card of 24 GB, which takes some milliseconds for each model."""
        wanted = words.casefold().split()
        return [
            model_rows.row(self._engine, model, self._settings, fits=fits)
            for model in known(self._engine)
            if _has(model, wanted)
        ]

    @property
    def hub_limit_s(self) -> float:
        """How long the hub is waited for."""
        return self._settings.timeouts.hub

    def suggestions(self, words: str) -> list[str]:
        """Models of the program's own list whose names look like these words, best first."""
        return names.suggestions(words) if not self._engine.models() else []

    async def search(self, words: str) -> list[ModelRow]:
        """What the hub finds, most downloaded first; what is known already is told of each. Raises
        HubAway."""
        if self._engine.models():
            return []
        found = await self._lookup.search(words)
        return [self._row(model_rows.of_search(each)) for each in found]

    def _row(self, found: ModelRow) -> ModelRow:
        model = self._lookup.kept(self._engine, found.alias)
        facts = model.facts
        if found.fits or facts is None or facts.source is FactsSource.NAME:
            return found
        return model_rows.merged(model_rows.row(self._engine, model, self._settings), found)

    async def answered(self, rows: Sequence[ModelRow]) -> AsyncGenerator[ModelRow]:
        """Those rows of which it is not known what fits, with that: at once where nobody has to be
        asked, then as the hub tells more. Those that nobody answers for do not come."""
        asked = []
        for row in rows:
            if row.told_by == model_rows.SEARCH:
                if not row.fits:
                    asked.append(row)
                continue
            yield self._filled(row)
            await asyncio.sleep(0)
        async for found in self._from_hub(asked):
            yield found

    def _filled(self, row: ModelRow) -> ModelRow:
        if row.fits:
            return row
        kept = self._rows.get(row.alias)
        if kept is None:
            model = self._lookup.kept(self._engine, row.alias)
            kept = self._rows[row.alias] = model_rows.row(self._engine, model, self._settings)
        return kept

    async def _from_hub(self, rows: Sequence[ModelRow]) -> AsyncGenerator[ModelRow]:
        turns = asyncio.Semaphore(_AT_A_TIME)

        async def ask(row: ModelRow) -> ModelRow | None:
            async with turns:
                return await self._answer(row)

        tasks = [asyncio.create_task(ask(row)) for row in rows]
        try:
            for task in asyncio.as_completed(tasks):
                if (row := await task) is not None:
                    yield row
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, row: ModelRow) -> ModelRow | None:
        try:
            model = await self._lookup.find(self._engine, row.alias)
        except GdlError as error:
            return replace(row, fits=f"no: {error.message}")
        judged = self._lookup.judged(model, engine=self._engine)
        if judged.final:
            return replace(row, fits=f"no: {judged.what}")
        told = model_rows.row(self._engine, model, self._settings)
        return model_rows.merged(told, row) if told.fits else None

    async def find(self, typed: str) -> Model:
        """By the best source that answers. Raises UsageError for what is not there, and for what
        cannot be served whatever the user agrees to."""
        model = await self._lookup.find(self._engine, typed)
        judged = self._lookup.judged(model, engine=self._engine)
        if judged.final:
            judged.check()
        return model

    def details(self, model: Model, load: Load, gpu: GpuKind | None) -> ModelDetails:
        """What it is and takes. Raises UsageError."""
        return details(self._engine, model, load, gpu, self._settings)

    def variants(self, typed: str) -> list[ModelVariant]:
        """The same model in other formats, as the catalogue knows them; of a GGUF repository none
        of whose files is named, those files. Raises UsageError."""
        model = self._lookup.kept(self._engine, typed)
        if model.lacks_file:
            return files_of(model)
        return [
            ModelVariant(each.id, each.format.name, each.format.words, each.size_gb)
            for each, other in variants_of(model)
            if not other.lacks_file
        ]

    def allocation(self, query: OfferQuery, gpu: str) -> Allocation | None:
        """What one such GPU holds of the query's model under its load; None where the model's
        configuration is not known. Raises UsageError."""
        model = self._lookup.kept(self._engine, query.model or "")
        known = architecture_of(model.facts)
        if known is None:
            return None
        load = load_of(self._engine, query, self._settings)
        answer = answers(self._engine, model, query, self._settings)
        found = answer(known, load, gpu_for(gpu))
        return with_variants(self._engine, model)(found)

    def notes(self, model: Model) -> list[str]:
        """What is to be known beside the figures: where they are from if not from the hub, what
        stands against it until the user agrees, what goes wrong."""
        facts, judged = model.facts, self._lookup.judged(model, engine=self._engine)
        notes = []
        if facts is not None and facts.source is not FactsSource.HUB and facts.trouble:
            notes.append(f"{facts.trouble}; {_instead(model, facts)}")
        try:
            known = architecture_of(facts)
        except UsageError:
            known = None
        if known is None and model.shape is None:
            notes.append(f"its size is not known: {untold(model)}")
        elif known is None:
            notes.append("its configuration is not known: its memory is guessed from its size")
        elif known.notes:
            notes += known.notes
        if judged.what:
            notes.append(f"{judged.what}: {judged.helps}")
        return [*notes, *judged.notes, *self._engine.advice(model).traps]


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[ModelIndex]:
    """An index of its own, without an orchestrator; its hub is closed on the way out. Raises
    UsageError for an engine that is not there."""
    hub = open_hub(settings)
    try:
        yield ModelIndex(engines.get(settings.engine.name), ModelLookup(hub), settings)
    finally:
        await hub.aclose()


def _instead(model: Model, facts: ModelFacts) -> str:
    if facts.source is FactsSource.NAME and model.shape is None:
        return "nothing else is known about it"
    return f"this is from {facts.source_phrase}"


def _has(model: Model, words: list[str]) -> bool:
    names = f"{model.typed} {model.location}".casefold()
    return all(word in names for word in words)
