"""What a model is and takes, in full: for `models show`."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.errors import UsageError
from gdl.domain.model import Model
from gdl.domain.model_facts import FactsSource
from gdl.domain.offers import OfferQuery
from gdl.domain.requirements.allocation import Allocation, GpuKind, Load
from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.gpus import COMMON, named
from gdl.domain.requirements.of_facts import architecture_of
from gdl.domain.requirements.shape import CONCURRENCY, CONTEXT
from gdl.engines.base import Engine
from gdl.orchestrator.api.model_views import GpuFit, ModelDetails, ModelVariant
from gdl.orchestrator.leasing.model_variants import variants_of, with_variants
from gdl.orchestrator.leasing.requirements import answers, resolved
from gdl.settings import Settings

REFERENCE = "H100 80GB"
"""Whose figures are told where no GPU is named: how much a cache takes depends on it, too."""
SMALLEST = COMMON[0]
"""On which variants are told to fit then."""
FILE_NEEDED = "not known until a file is named"
_KV_TYPES = ("auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2")


def load_for(
    *, context: int | None, sequences: int | None, gpus: int, kv_dtype: str, quantization: str
) -> Load:
    """Raises UsageError for a type of the cache that cannot be."""
    if kv_dtype not in _KV_TYPES:
        raise UsageError(
            f"unknown type of the KV cache {ascii(kv_dtype)[:40]}", f"one of {', '.join(_KV_TYPES)}"
        )
    return Load(
        context=context or CONTEXT,
        sequences=sequences or CONCURRENCY,
        kv_dtype=kv_dtype,
        quantization=quantization,
        tensor_parallel=gpus,
    )


def gpu_for(name: str) -> GpuKind:
    """Raises UsageError for a name that tells no memory."""
    found = named(name)
    if found is None:
        raise UsageError(
            f"no GPU called {ascii(name)[:60]} is known",
            "such as RTX 4090, L40S, A100, H100, H200 or B200; or its memory: 24GB",
        )
    return found


def details(
    engine: Engine, model: Model, load: Load, gpu: GpuKind | None, settings: Settings
) -> ModelDetails:
    """What each GPU holds is told only where such GPUs run the model at all. Raises UsageError for
    a load that cannot be on any machine, and for a configuration that cannot be read."""
    query = OfferQuery(
        context=load.context, concurrency=load.sequences, quantization=load.quantization
    )
    shaped = resolved(engine, model, query)
    engine.check_load(_within(query, shaped), shaped)
    known, facts = architecture_of(model.facts), model.facts
    can, advice = engine.capabilities(model), engine.advice(model)
    helped = with_variants(engine, model)
    gpus = [gpu] if gpu is not None else [gpu_for(each) for each in COMMON]
    answer = answers(engine, model, query, settings)
    told: Figures = _guess(engine, shaped, load)
    if known is not None:
        told = _figures(answer(known, load, gpu or gpu_for(REFERENCE)))
    weights, per_token, state, cache, overhead, vram = told
    download = facts.download_bytes / 1e9 if facts is not None and facts.download_bytes else None
    on_disk = download if download is not None else weights
    longest = known.max_context if known is not None else 0
    return ModelDetails(
        id=model.location,
        revision="" if facts is None else facts.revision,
        source=_source(model),
        architecture=_architecture(known, model),
        gated=model.gated,
        license="" if facts is None else facts.license,
        weights_gb=weights,
        kv_bytes_per_token=per_token,
        state_bytes_per_sequence=state,
        kv_cache_gb=cache,
        overhead_gb=overhead,
        vram_gb=vram,
        disk_gb=None if on_disk is None else round(engine.memory.disk_gb + 1.3 * on_disk + 0.5),
        download_gb=download,
        max_context=longest or (shaped.shape.max_context if shaped.shape else 0) or None,
        tp_allowed=() if known is None else engine.memory.tp_allowed(known, load),
        tool_parser=can.tool_parser,
        reasoning_parser=can.reasoning_parser,
        chat_template=advice.chat_template,
        trust_remote_code=advice.trust_remote_code,
        env=dict(advice.environment),
        min_vllm=advice.first_release,
        max_vllm=advice.last_release,
        variants=tuple(_variants(engine, model, load, gpu or gpu_for(SMALLEST), settings)),
        fits=()
        if known is None
        else tuple(fit_of(helped(answer(known, load, each))) for each in gpus),
    )


def _source(model: Model) -> str:
    """Where it is known from: what the catalogue tells of a GGUF file's size was reckoned."""
    facts = model.facts
    if facts is None:
        return ""
    if facts.source is FactsSource.NAME and model.shape is None:
        return "not known"
    if model.file and facts.source is FactsSource.CATALOGUE:
        return f"{facts.source_words}; size computed from the bits of {model.file}"
    return facts.source_words


Figures = tuple[float | None, float | None, float | None, float | None, float | None, float | None]
"""Weights, cache of a token, state of a sequence (bytes), cache, overhead and all of it (GB)."""


def _within(query: OfferQuery, model: Model) -> OfferQuery:
    """Nobody asked for the default context: a model of a shorter one takes less."""
    longest = model.shape.max_context if model.shape is not None else 0
    if query.context == CONTEXT and 0 < longest < CONTEXT:
        return replace(query, context=longest)
    return query


def _figures(found: Allocation) -> Figures:
    if found.refusal:
        return None, None, None, None, None, None
    used = found.weights_bytes + found.overhead_bytes + found.kv_bytes
    share = found.usable_bytes / (found.gpu.memory_gib * 2**30)
    return (
        found.weights_bytes / 1e9,
        found.kv_bytes_per_token,
        found.state_bytes_per_sequence,
        found.kv_bytes / 1e9,
        found.overhead_bytes / 1e9,
        used / share / 1e9,
    )


def _guess(engine: Engine, model: Model, load: Load) -> Figures:
    """Where there is nothing but a size to go by, for a single GPU."""
    if model.shape is None:
        return None, None, None, None, None, None
    need = engine.memory.needed(model.shape, context=load.context, sequences=load.sequences)
    return need.weights_gb, None, None, need.kv_cache_gb, need.overhead_gb, need.vram_gb


def _architecture(known: Architecture | None, model: Model) -> str:
    if known is not None:
        return known.name
    return next(iter(model.facts.architectures), "") if model.facts is not None else ""


def fit_of(found: Allocation) -> GpuFit:
    """An allocation, as people and programs read it."""
    return GpuFit(
        gpu=found.gpu.name,
        memory_gib=round(found.gpu.memory_gib, 2),
        gpus=found.load.tensor_parallel,
        fits=found.fits,
        context=found.load.context,
        sequences=found.sequences,
        longest=found.longest,
        missing_gb=found.missing_bytes / 1e9,
        words=found.words,
        levers=tuple(lever.words for lever in found.levers),
    )


def _variants(
    engine: Engine, model: Model, load: Load, gpu: GpuKind, settings: Settings
) -> list[ModelVariant]:
    """Those that the catalogue knows, then the files of a GGUF repository."""
    plain = replace(load, quantization="")
    listed = []
    for variant, other in variants_of(model):
        known = architecture_of(other.facts)
        answer = answers(engine, other, OfferQuery(), settings)
        fits = "" if known is None else answer(known, plain, gpu).words
        fits = FILE_NEEDED if other.lacks_file else fits
        listed.append(
            ModelVariant(
                variant.id, variant.format.name, variant.format.words, variant.size_gb, fits
            )
        )
    return [*listed, *files_of(model)]


def files_of(model: Model) -> list[ModelVariant]:
    """The files of a GGUF repository, as far as the hub told of them."""
    files = () if model.facts is None else model.facts.variants
    return [ModelVariant(f"{model.location}:{each}", "gguf", each) for each in files]
