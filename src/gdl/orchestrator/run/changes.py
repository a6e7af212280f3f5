"""Changes that a user makes to a deployment that waits after a failure."""

from __future__ import annotations

from pydantic import SecretStr

from gdl.domain import events as ev
from gdl.domain.change import Change
from gdl.domain.errors import UsageError
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing.deployed_model import checked
from gdl.orchestrator.leasing.model_lookup import ModelLookup
from gdl.orchestrator.leasing.requirements import as_planned
from gdl.settings import Settings


def in_force(deployment: Deployment, settings: Settings) -> Settings:
    """The settings of a deployment's attempts: as it was planned, with the token that it was given
    since."""
    planned = as_planned(settings, deployment.spec)
    if deployment.token is None:
        return planned
    token = SecretStr(deployment.token.reveal())
    return planned.model_copy(update={"hf_token": token})


async def adopt(
    deployment: Deployment, change: Change, lookup: ModelLookup, settings: Settings
) -> None:
    """From now on the deployment is as changed. Raises UsageError for what cannot work on any
    machine, and when it does not wait for a choice: nothing is changed then."""
    _refuse_unasked(deployment)
    engine, before = deployment.engine, deployment.spec
    token = change.token or deployment.token
    if token is not None:
        settings = settings.model_copy(update={"hf_token": SecretStr(token.reveal())})
    spec = change.of(before)
    model = checked(engine, spec, await lookup.find(engine, spec.model), settings)
    _refuse_unasked(deployment)  # the hub may have taken its time, and something else was chosen
    if spec != before:
        await deployment.emit(ev.SpecChanged(deployment.attempt, spec))
    deployment.spec, deployment.model, deployment.token = spec, model, token
    await deployment.note(f"changed by you: {change.words(before)}")


def _refuse_unasked(deployment: Deployment) -> None:
    if not deployment.decisions.asks:
        raise UsageError(
            f"deployment {deployment.id} is not waiting for a choice",
            "wait until its attempt has failed",
        )
