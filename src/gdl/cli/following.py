"""A new deployment that a command starts and follows to its end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gdl.cli.runtime import at_terminal

if TYPE_CHECKING:
    from gdl.cli.follower import Follower
    from gdl.cli.runtime import Session
    from gdl.domain.spec import DeploymentSpec
    from gdl.orchestrator.api.ports import Deployments


def follower_of(session: Session, after: str) -> Follower:
    """What follows one: as text, or as JSON lines. after: as of DeploymentSpec."""
    from gdl.cli.deployment_output import JsonDeployment, TextDeployment
    from gdl.cli.follower import Follower
    from gdl.cli.prompt import ask

    output = session.output
    return Follower(
        session.orchestrator.deployments,
        JsonDeployment(output) if output.as_json else TextDeployment(output),
        ask=ask if after == "hold" and at_terminal() else None,
        may_keep=session.orchestrator.keeps,
        watch=output.as_json,
    )


async def begin(deployments: Deployments, spec: DeploymentSpec, *, asks: bool) -> str:
    """The id of the deployment. Whether a model's own code may run is asked when it comes to
    that, before anything is rented."""
    from gdl.cli.output import say
    from gdl.cli.prompt import ask
    from gdl.domain.errors import RemoteCodeNotAllowed
    from gdl.presentation.lines import plain

    try:
        return await deployments.deploy(spec)
    except RemoteCodeNotAllowed as error:
        if not asks or spec.trust_remote_code is not None:
            raise
        say(plain(error.message))
        if await ask("do you trust its authors, and let it run? [y/N] ") not in ("y", "yes"):
            raise
    return await deployments.deploy(replace(spec, trust_remote_code=True))
