"""Models as the faces of the program see them."""

from __future__ import annotations

from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.engines.base import Engine
from gdl.orchestrator.api.views import ModelRow
from gdl.orchestrator.leasing.requirements import needed_of
from gdl.settings import Settings


def row(engine: Engine, model: Model, settings: Settings) -> ModelRow:
    """A line of the list of models."""
    can = engine.capabilities(model)
    need = needed_of(engine, model, OfferQuery(), settings)
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
    )
