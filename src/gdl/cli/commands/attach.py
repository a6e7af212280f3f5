"""`gdl-tui attach`: the endpoint of a serving machine again."""

from __future__ import annotations

from typing import NoReturn

from gdl.cli.id_arguments import SessionArgument
from gdl.cli.options import JsonOption, MachineTarget, WebhookOption, webhook_flags
from gdl.cli.runtime import Cli, Session, at_terminal, execute
from gdl.domain import clock


def attach(
    cli: Cli,
    *,
    ident: SessionArgument,
    webhook: WebhookOption = None,
    target: MachineTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Open the tunnel to a serving machine again, until Ctrl-C.

    An interrupted deployment that does not serve yet is continued, as with `resume`.
    """

    async def body(session: Session) -> int:

        from gdl.cli.deployment_output import JsonDeployment, TextDeployment
        from gdl.cli.follower import Follower, to_the_end
        from gdl.cli.prompt import ask
        from gdl.cli.resuming import follow_resumed
        from gdl.domain.id_matching import matching
        from gdl.domain.phase import Phase

        output, deployments = session.output, session.orchestrator.deployments
        resumable = await session.orchestrator.resumption.resumable()
        for row in matching(ident, resumable, lambda r: (r.deployment_id, r.session_id)):
            if row.phase is not Phase.SERVING:
                return await follow_resumed(session, row.deployment_id, as_json=as_json)
        follower = Follower(
            deployments,
            JsonDeployment(output) if as_json else TextDeployment(output, since=clock.now()),
            attached=True,
            may_release=not session.settings.read_only,
            ask=ask if at_terminal() else None,
            watch=as_json,
        )
        return await to_the_end(follower, deployments.attach(ident), output)

    execute(cli, body, target=target, as_json=as_json, rented=True, flags=webhook_flags(webhook))
