"""How big a machine a model needs, for the load and in the form that the user asked for."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.offers import OfferQuery
from gdl.domain.requirements import CONCURRENCY, CONTEXT, Need, needed, quantized
from gdl.engines.base import Engine, Model
from gdl.orchestrator.api.views import SizedModel
from gdl.settings import Settings


def resolved(engine: Engine, name: str, query: OfferQuery) -> Model:
    """The model in the quantization asked for. Raises UsageError for a name that cannot be."""
    model = engine.resolve(name)
    if model.shape is None:
        return model
    return replace(model, shape=quantized(model.shape, query.quantization))


def needed_of(model: Model, query: OfferQuery, settings: Settings) -> Need | None:
    """What a resolved model needs, or None when its size is not known."""
    if model.shape is None:
        return None
    return needed(
        model.shape,
        context=query.context or settings.engine.max_model_len or CONTEXT,
        sequences=query.concurrency or CONCURRENCY,
    )


def sized(engine: Engine, query: OfferQuery, settings: Settings) -> SizedModel:
    """Raises UsageError for a model or a load that cannot be on any machine."""
    model = resolved(engine, query.model or "", query)
    engine.check_load(query, model)
    return SizedModel(
        need=needed_of(model, query, settings),
        longest=model.shape.max_context if model.shape is not None else 0,
    )
