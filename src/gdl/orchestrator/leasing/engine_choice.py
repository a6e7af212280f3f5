"""The engine of a deployment that leaves the choice to the program."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.errors import UsageError
from gdl.domain.spec import DeploymentSpec
from gdl.engines.base import Engine, EngineResolver
from gdl.engines.choosing import ChoosesEngine
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing.markets import Markets
from gdl.orchestrator.leasing.model_lookup import ModelLookup
from gdl.orchestrator.leasing.several_machines import check_backends, check_engine
from gdl.settings import Settings


async def engine_for(
    spec: DeploymentSpec,
    engines: EngineResolver,
    markets: Markets,
    lookup: ModelLookup,
    settings: Settings,
) -> tuple[Engine, DeploymentSpec, str]:
    """(engine, the spec that names it, why it is that one). Of several the first that takes the
    model as it is asked for. "": the spec named it. Raises UsageError, BackendError."""
    check_backends(spec.query.nodes, markets.backends)
    engine = engines(spec.engine)
    if not isinstance(engine, ChoosesEngine):
        return engine, spec, ""
    model = await lookup.find(engine, spec.model)
    refused: UsageError | None = None
    for candidate in engine.candidates(model, gpu=await _has_gpu(spec, markets)):
        chosen, named = engines(candidate.name), replace(spec, engine=candidate.name)
        try:
            check_engine(spec.query.nodes, chosen)
            chosen.check(named, await lookup.find(chosen, spec.model), settings)
        except UsageError as error:
            refused = refused or error
            continue
        return chosen, named, candidate.why
    assert refused is not None
    raise refused


async def _has_gpu(spec: DeploymentSpec, markets: Markets) -> bool | None:
    """Of the machines that can be had; None where nobody tells before they are looked at."""
    if not all(backend.traits.cpu_allowed for backend in markets.backends):
        return True
    offers = await markets.offers(spec.query)
    if all(offer.gpu_name and not offer.gpu_count for offer in offers):
        return False
    return True if all(offer.gpu_count for offer in offers) else None


async def tell_choice(deployment: Deployment, why: str) -> None:
    """Say which engine was chosen, where one was."""
    if why:
        await deployment.note(f"served by {deployment.engine.info.display_name}, as {why}")
