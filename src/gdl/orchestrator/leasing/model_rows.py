"""Models as the faces of the program list them."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.errors import UsageError
from gdl.domain.model import Model
from gdl.domain.model_facts import FoundModel
from gdl.domain.offers import OfferQuery
from gdl.domain.requirements.allocation import Allocation, Load, tokens_in_words
from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.gpus import of_listing
from gdl.domain.requirements.of_facts import architecture_of
from gdl.domain.requirements.shape import CONCURRENCY, CONTEXT
from gdl.domain.servability import writes_text
from gdl.engines.base import Engine
from gdl.hub import catalogue
from gdl.orchestrator.api.model_views import ModelRow
from gdl.orchestrator.leasing.model_variants import variants_of
from gdl.orchestrator.leasing.requirements import needed_of
from gdl.settings import Settings

SEARCH = "search"
"""Who told of a row of which more can be asked."""
NAME_A_FILE = "no: name a file, such as :Q4_K_M"
_CARD = of_listing("RTX 4090", 24.0)
_CONTEXT = 32_768
_SHORTEST = 1024


def row(engine: Engine, model: Model, settings: Settings, *, fits: bool = True) -> ModelRow:
    """A line of the list of models. fits: with what it needs and whether a card of 24 GB has that,
    which takes a moment to work out."""
    can, facts = engine.capabilities(model), model.facts
    fits = fits and not model.lacks_file
    need = needed_of(engine, model, OfferQuery(), settings) if fits else None
    return ModelRow(
        alias=model.typed,
        location=model.location,
        source=model.source,
        gated=model.gated,
        parameters_b=None if model.shape is None else model.shape.parameters_b,
        vram_gb=None if need is None else round(need.vram_gb, 1),
        disk_gb=None if need is None else need.disk_gb,
        chat=can.chat,
        tools=can.tools,
        size_gb=_files_gb(model),
        license="" if facts is None else facts.license,
        downloads=None if facts is None else facts.downloads,
        max_context=0 if model.shape is None else model.shape.max_context,
        fits=NAME_A_FILE if model.lacks_file else on_small_card(engine, model) if fits else "",
        told_by="" if facts is None else facts.source.value,
    )


def _files_gb(model: Model) -> float | None:
    """Of what is loaded; None where no file is named, or nobody knows."""
    if model.lacks_file:
        return None
    if model.facts is not None and model.facts.weights_bytes:
        return model.facts.weights_bytes / 1e9
    return None if model.shape is None else model.shape.files_gb


def of_search(found: FoundModel) -> ModelRow:
    """A model of which no more is known than what the hub's search tells."""
    entry = catalogue.find(found.id)
    typed = entry[0].alias if entry is not None and entry[1] is None else found.id
    return ModelRow(
        alias=typed,
        location=found.id,
        source="hub",
        gated=found.gated,
        parameters_b=found.parameters / 1e9 if found.parameters else None,
        vram_gb=None,
        disk_gb=None,
        size_gb=found.stored_bytes / 1e9 if found.stored_bytes else None,
        license=found.license,
        downloads=found.downloads,
        fits="" if writes_text(found.pipeline_tag) else f"no: it is for {found.pipeline_tag}",
        told_by=SEARCH,
    )


def merged(known: ModelRow, found: ModelRow) -> ModelRow:
    """What we know of a model, with what the hub's search alone can tell."""
    return replace(
        known,
        downloads=found.downloads,
        license=known.license or found.license,
        gated=found.gated,
    )


def on_small_card(engine: Engine, model: Model) -> str:
    """Whether a card of 24 GB runs it, and with how much: "yes, 3 x 32k"; "" when that is not
    known."""
    try:
        known = architecture_of(model.facts)
    except UsageError:
        return "no: its configuration cannot be read"
    if known is None:
        return ""
    found = _on_card(engine, known)
    if found.sequences or found.longest >= _SHORTEST:
        return f"yes, {_most(found)}"
    usual = Load(context=CONTEXT, sequences=CONCURRENCY)
    short = engine.memory.allocation(known, usual, _CARD)
    words = f"no: {short.missing_bytes / 1e9:.1f} GB short"
    for variant, smaller in variants_of(model):
        other = None if smaller.lacks_file else architecture_of(smaller.facts)
        if other is not None and _on_card(engine, other).longest >= _SHORTEST:
            return f"{words}; {variant.format.words} variant fits"
    return words


def _most(found: Allocation) -> str:
    """ "3 x 32k", or how long a single request may be."""
    if found.sequences:
        return f"{found.sequences} x {tokens_in_words(found.load.context)}"
    return f"1 x {tokens_in_words(found.longest // _SHORTEST * _SHORTEST)}"


def _on_card(engine: Engine, known: Architecture) -> Allocation:
    return engine.memory.allocation(known, Load(context=_CONTEXT, sequences=1), _CARD)
