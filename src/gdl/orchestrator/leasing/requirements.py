"""How big a machine a model needs, for the load and in the form that the user asked for."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.errors import UsageError
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.domain.requirements.shape import CONCURRENCY, CONTEXT, Need, quantized
from gdl.domain.spec import DeploymentSpec
from gdl.engines.base import Engine, check_runtime
from gdl.hub import names
from gdl.orchestrator.api.views import SizedModel
from gdl.orchestrator.deployment.engine_habits import rules_of
from gdl.settings import Settings


def found(engine: Engine, name: str) -> Model:
    """What was typed, as a model: one of the engine's own, else as catalogue and name tell it.
    Raises UsageError with suggestions."""
    own = engine.models()
    if not own:
        return names.resolve(name)
    for model in own:
        if model.typed == name:
            return model
    raise UsageError(
        f"{engine.info.display_name} serves no {ascii(name)[:60]}",
        f"one of {', '.join(model.typed for model in own)}",
    )


def known(engine: Engine) -> tuple[Model, ...]:
    """The models to choose from by alias."""
    return engine.models() or names.known()


def resolved(engine: Engine, name: str, query: OfferQuery) -> Model:
    """The model in the quantization asked for. Raises UsageError for a name that cannot be."""
    model = found(engine, name)
    if model.shape is None:
        return model
    each = engine.info.quantizations.get(query.quantization)
    return replace(model, shape=quantized(model.shape, each))


def checked(engine: Engine, spec: DeploymentSpec, settings: Settings) -> Model:
    """The model of a spec. Raises UsageError for what cannot work on any machine, before money is
    spent; so are rules for failures that cannot be read."""
    model = resolved(engine, spec.model, spec.query)
    check_runtime(engine.info, settings)
    engine.check(spec, model, settings)
    rules_of(engine)
    return model


def as_planned(settings: Settings, spec: DeploymentSpec) -> Settings:
    """The settings as they were when the deployment began, as far as its spec tells them."""
    if spec.runtime in ("", settings.install.runtime):
        return settings
    install = settings.install.model_copy(update={"runtime": spec.runtime})
    return settings.model_copy(update={"install": install})


def needed_of(engine: Engine, model: Model, query: OfferQuery, settings: Settings) -> Need | None:
    """What a resolved model needs, or None when its size is not known."""
    if model.shape is None:
        return None
    return engine.memory.needed(
        model.shape,
        context=query.context or settings.engine.max_model_len or CONTEXT,
        sequences=query.concurrency or CONCURRENCY,
    )


def sized(engine: Engine, query: OfferQuery, settings: Settings) -> SizedModel:
    """Raises UsageError for a model or a load that cannot be on any machine."""
    model = resolved(engine, query.model or "", query)
    engine.check_load(query, model)
    return SizedModel(
        need=needed_of(engine, model, query, settings),
        longest=model.shape.max_context if model.shape is not None else 0,
        capabilities=engine.capabilities(model),
    )
