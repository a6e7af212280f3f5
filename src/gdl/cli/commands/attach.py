"""`gdl-tui attach`: the endpoint of a serving machine again."""

from __future__ import annotations

from typing import NoReturn

from gdl.cli.options import JsonOption, MachineTarget, SessionArgument
from gdl.cli.runtime import Cli, Session, at_terminal, execute


def attach(
    cli: Cli, ident: SessionArgument, target: MachineTarget, as_json: JsonOption = False
) -> NoReturn:
    """Open the tunnel to a serving machine again, until Ctrl-C."""

    async def body(session: Session) -> int:
        from datetime import UTC, datetime

        from gdl.cli.deployment_output import JsonDeployment, TextDeployment
        from gdl.cli.follower import Follower, to_the_end
        from gdl.cli.prompt import ask

        output, deployments = session.output, session.orchestrator.deployments
        follower = Follower(
            deployments,
            JsonDeployment(output) if as_json else TextDeployment(output, since=datetime.now(UTC)),
            attached=True,
            may_release=not session.settings.read_only,
            ask=ask if at_terminal() else None,
            watch=as_json,
        )
        return await to_the_end(follower, deployments.attach(ident), output)

    execute(cli, body, target=target, as_json=as_json)
