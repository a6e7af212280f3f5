"""How big a machine a model needs, for the load and in the form that the user asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from gdl.domain.errors import UsageError
from gdl.domain.model import Model
from gdl.domain.model_facts import FactsSource
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.ranking import Fit, FitOf, by_total
from gdl.domain.requirements.allocation import Allocation, GpuKind, Load
from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.fit import together
from gdl.domain.requirements.gpus import of_listing
from gdl.domain.requirements.of_facts import architecture_of
from gdl.domain.requirements.shape import CONCURRENCY, CONTEXT, Need, quantized
from gdl.domain.session_price import SessionNeeds
from gdl.domain.spec import DeploymentSpec
from gdl.engines.base import Engine
from gdl.orchestrator.api.model_views import SizedModel
from gdl.orchestrator.leasing.model_variants import with_variants
from gdl.settings import Settings

_FILES_NAMED = 6
"""Of a repository, in a line."""


def resolved(engine: Engine, model: Model, query: OfferQuery) -> Model:
    """The model in the quantization asked for."""
    if model.shape is None:
        return model
    each = engine.info.quantizations.get(query.quantization)
    return replace(model, shape=quantized(model.shape, each))


def as_planned(settings: Settings, spec: DeploymentSpec) -> Settings:
    """The settings as they were when the deployment began, as far as its spec tells them."""
    if spec.runtime in ("", settings.install.runtime):
        return settings
    install = settings.install.model_copy(update={"runtime": spec.runtime})
    return settings.model_copy(update={"install": install})


def load_of(
    engine: Engine, query: OfferQuery, settings: Settings, arguments: Sequence[str] = ()
) -> Load:
    """The load that offers are asked for. arguments: of the deployment's server, besides those of
    the settings."""
    load = Load(
        context=query.context or settings.engine.max_model_len or CONTEXT,
        sequences=query.concurrency or CONCURRENCY,
        quantization=query.quantization,
        language_only=query.text_only,
        pipeline_parallel=query.nodes,
    )
    return engine.memory.asked(load, (*settings.engine.args, *arguments))


_SPARE_GB = 2.0
"""On the disk beside the engine, where the model is on a volume: logs, and what a start leaves."""


def needed_of(engine: Engine, model: Model, query: OfferQuery, settings: Settings) -> Need | None:
    """What a resolved model needs, or None when its size is not known. Raises UsageError for a
    configuration that cannot be read."""
    load = load_of(engine, query, settings)
    if (known := architecture_of(model.facts)) is not None and model.facts is not None:
        return together(
            engine.memory.allocation,
            known,
            load,
            disk_gb=engine.memory.disk_gb,
            download_bytes=model.facts.download_bytes,
        )
    if model.shape is None:
        return None
    need = engine.memory.needed(model.shape, context=load.context, sequences=load.sequences)
    return replace(need, vram_gb=need.vram_gb / query.nodes)


def session_needs(
    engine: Engine,
    model: Model,
    query: OfferQuery,
    settings: Settings,
    disk_gb: int | None = None,
) -> SessionNeeds:
    """What a resolved model makes a rented machine hold and fetch. disk_gb: to hold at least.
    Raises UsageError for a configuration that cannot be read."""
    need = needed_of(engine, model, query, settings)
    own = 0 if need is None else need.disk_gb
    if need is not None and query.volume is not None:
        own = min(own, math.ceil(engine.memory.disk_gb + _SPARE_GB))  # the model lies on that
    disk = max(own, disk_gb or 0)
    if need is None or model.source == "path":
        return SessionNeeds(disk)
    fetched = 0.0
    if model.facts is not None and model.facts.download_bytes:
        fetched = model.facts.download_bytes / 1e9
    elif model.shape is not None:
        fetched = model.shape.files_gb
    packages = engine.memory.download_gb
    return SessionNeeds(disk, fetched + packages, packages)


def answers(
    engine: Engine, model: Model, query: OfferQuery, settings: Settings
) -> Callable[[Architecture, Load, GpuKind], Allocation]:
    """What the engine's memory model answers, and a refusal where no release of it that can serve
    the model runs on such a GPU."""

    def answer(known: Architecture, load: Load, gpu: GpuKind) -> Allocation:
        found = engine.memory.allocation(known, load, gpu)
        why = engine.gpu_refusal(gpu, settings, model, query)
        return found.refused(why) if why else found

    return answer


def runs_on(engine: Engine, settings: Settings) -> FitOf:
    """Before a model is chosen: whether the engine runs on a type of machine at all."""

    def fit(offer: Offer) -> Fit:
        gpu = of_listing(offer.gpu_name, offer.vram_gb)
        why = engine.gpu_refusal(gpu, settings) if offer.gpu_count else ""
        return Fit(why, against="unsuited") if why else Fit()

    return fit


def fits_of(
    engine: Engine,
    model: Model,
    query: OfferQuery,
    settings: Settings,
    arguments: Sequence[str] = (),
) -> FitOf:
    """Whether the model fits on a type of machine: by what each GPU would hold where its
    configuration is known, else by a guess of what all of them must have together. Raises
    UsageError for a configuration that cannot be read."""
    known = architecture_of(model.facts)
    if known is None:
        need = needed_of(engine, model, query, settings)
        guessed = by_total(None if need is None else need.vram_gb)

        def guess(offer: Offer) -> Fit:
            gpu = of_listing(offer.gpu_name, offer.vram_gb)
            why = engine.gpu_refusal(gpu, settings, model, query) if offer.gpu_count else ""
            return Fit(why, against="unsuited") if why else guessed(offer)

        return guess
    load = load_of(engine, query, settings, arguments)
    allowed = engine.memory.tp_allowed(known, load)
    answer, helped = answers(engine, model, query, settings), with_variants(engine, model)

    def fit(offer: Offer) -> Fit:
        if not offer.gpu_count:
            return Fit("no GPU")
        gpus = load.tensor_parallel
        if gpus == 1:
            gpus = max((n for n in allowed if n <= offer.gpu_count), default=1)
        elif gpus > offer.gpu_count:
            return Fit(f"{offer.gpu_count} of {gpus} GPUs")
        gpu = of_listing(offer.gpu_name, offer.vram_gb)
        found = answer(known, replace(load, tensor_parallel=gpus), gpu)
        if found.refusal:
            return Fit(found.refusal, None, found, "unsuited")
        found = helped(found)
        free = found.usable_bytes - found.weights_bytes - found.overhead_bytes - found.kv_bytes
        return Fit("" if found.fits else found.words, free * gpus / 1e9, found)

    return fit


def sized(engine: Engine, query: OfferQuery, model: Model, settings: Settings) -> SizedModel:
    """Raises UsageError for a load that cannot be on any machine, and for a repository of GGUF
    files none of which is named."""
    if model.lacks_file:
        there = model.facts.variants if model.facts is not None else ()
        name = model.location if "/" in model.typed else model.typed.partition(":")[0]
        usual = "Q4_K_M" if not there or "Q4_K_M" in there else there[0]
        held = f": {', '.join(there[:_FILES_NAMED])}" if there else ""
        raise UsageError(
            f"name a file of {model.location}, because they differ in size{held}",
            f"such as {name}:{usual}",
        )
    model = resolved(engine, model, query)
    engine.check_load(query, model)
    known = architecture_of(model.facts)
    longest = model.shape.max_context if model.shape is not None else 0
    return SizedModel(
        need=needed_of(engine, model, query, settings),
        longest=known.max_context if known is not None else longest,
        capabilities=engine.capabilities(model),
        guess="" if known is not None else _guess(model),
        untold=untold(model) if known is None and model.shape is None else "",
    )


def untold(model: Model) -> str:
    """Why nothing tells what a model without a shape needs."""
    if model.source == "path":
        return "it is on the machine, and its name tells no size"
    facts = model.facts
    trouble = facts.trouble if facts is not None else ""
    if facts is None or facts.source is not FactsSource.NAME:
        return "its repository tells no size"
    return f"{trouble}, and its name tells no size" if trouble else "its name tells no size"


def check_size(model: Model, spec: DeploymentSpec) -> None:
    """Raises UsageError for a model of the hub of which nothing tells how much it needs, unless
    the user says on what to serve it."""
    query = spec.query
    told = query.min_vram_gb or query.offer_id or query.offer_ids or spec.confirmed
    if model.source != "hub" or model.shape is not None or told:
        return
    if architecture_of(model.facts) is None and _is_name_alone(model):
        raise UsageError(
            f"the size of {model.location} is not known: {untold(model)}",
            "try again when the hub answers, or pass --min-vram GB or --offer ID",
        )


def _is_name_alone(model: Model) -> bool:
    return model.facts is not None and model.facts.source is FactsSource.NAME


def _guess(model: Model) -> str:
    """Of what the need is guessed: "its name", or the sizes of its files."""
    if model.shape is None:
        return ""
    return "the size of its files" if model.facts and model.facts.weights_bytes else "its name"
