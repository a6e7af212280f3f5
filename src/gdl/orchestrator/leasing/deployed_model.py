"""The model of a deployment: found, and judged before any machine is rented for it."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.errors import UsageError
from gdl.domain.model import Model
from gdl.domain.model_facts import FactsSource
from gdl.domain.spec import DeploymentSpec
from gdl.engines.base import Engine
from gdl.engines.checks import check_runtime
from gdl.hub.lookup import OFFLINE
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.deployment.engine_habits import rules_of
from gdl.orchestrator.leasing.model_lookup import ModelLookup
from gdl.orchestrator.leasing.requirements import check_size, resolved, untold
from gdl.orchestrator.leasing.several_machines import check_engine, check_spec
from gdl.settings import Settings

BID = "set the most that an hour may cost with --bid USD"


def checked(engine: Engine, spec: DeploymentSpec, model: Model, settings: Settings) -> Model:
    """The model of a spec. Raises UsageError for what cannot work on any machine, before money is
    spent; so are rules for failures that cannot be read."""
    if spec.query.interruptible and spec.query.bid is None:
        raise UsageError("an interruptible machine goes to whoever bids for it", BID)
    check_engine(spec.query.nodes, engine)
    check_spec(spec)
    model = resolved(engine, model, spec.query)
    check_runtime(engine.info, settings)
    engine.check(spec, model, settings)
    rules_of(engine)
    return model


async def to_deploy(
    engine: Engine, spec: DeploymentSpec, lookup: ModelLookup, settings: Settings
) -> tuple[DeploymentSpec, Model]:
    """The spec with all that is decided by now, and its model. Raises UsageError for what cannot
    work on any machine, and for what cannot be served at all, before money is spent."""
    found_one = await lookup.find(engine, spec.model)
    # A release that the user names may know more than is known here.
    asked = None if settings.install.version else engine
    lookup.judged(found_one, engine=asked, trust=bool(spec.trust_remote_code)).check()
    model = checked(engine, spec, found_one, settings)
    check_size(model, spec)
    if spec.query.model is None:
        # Its offers are asked for with its model in mind.
        spec = replace(spec, query=replace(spec.query, model=spec.model))
    # One that was attached to may be deployed again.
    return replace(spec, runtime=settings.install.runtime, attached=False), model


async def tell_source(deployment: Deployment) -> None:
    """Say it when the hub should have told what the model is, and something else did."""
    facts = deployment.model.facts
    if facts is None or not facts.trouble or facts.trouble == OFFLINE:
        return
    if facts.source is FactsSource.NAME and deployment.model.shape is None:
        why = untold(deployment.model)
        await deployment.note(f"the size of {facts.id} is not known: {why}", "warning")
        return
    words = f"what {facts.id} needs is {facts.source_words}"
    if facts.source is not FactsSource.NAME:
        words = f"what {facts.id} needs is known from {facts.source_phrase}"
    await deployment.note(f"{words}: {facts.trouble}", "warning")
