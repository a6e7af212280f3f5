"""A new deployment that a command starts and follows to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from gdl.cli.runtime import at_terminal

if TYPE_CHECKING:
    from gdl.cli.follower import Follower
    from gdl.cli.runtime import Session
    from gdl.domain.spec import DeploymentSpec
    from gdl.orchestrator.api.ports import Deployments

Yes = Callable[[str], Awaitable[bool]]
"""Asks a question; whether the answer is yes."""


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


async def begin(deployments: Deployments, spec: DeploymentSpec, yes: Yes | None) -> str:
    """The id of the deployment. Whether a model's own code may run is asked when it comes to
    that, before anything is rented. yes: how to ask; None where nobody can be asked."""
    from gdl.cli.output import say
    from gdl.domain.errors import RemoteCodeNotAllowed
    from gdl.presentation.lines import plain

    try:
        return await deployments.deploy(spec)
    except RemoteCodeNotAllowed as error:
        if yes is None or spec.trust_remote_code is not None:
            raise
        say(plain(error.message))
        if not await yes("do you trust its authors, and let it run?"):
            raise
    return await deployments.deploy(replace(spec, trust_remote_code=True))
