"""Machines that turn up after their rent request was given up as having made nothing."""

from __future__ import annotations

from gdl.backends.base import FindsByLabel
from gdl.domain.errors import BackendError, GdlError, ReleaseUnconfirmed
from gdl.orchestrator.deployment.context import Deployment, Doubt
from gdl.orchestrator.leasing.markets import Markets


async def end_late_machines(deployment: Deployment, markets: Markets) -> None:
    """Look once more for what the deployment's unanswered requests have made, by their labels, and
    release it. Where nobody answers now, the next start of the program looks again."""
    for rental in deployment.unanswered:
        there = markets.of(rental.backend)
        if not isinstance(there.backend, FindsByLabel):
            continue
        try:
            found = await there.backend.labelled(rental.label)
        except BackendError as error:
            await deployment.note(
                f"it is not known whether a machine was created late: {error.message}"
            )
            continue
        for session in found:
            await deployment.note(
                f"session {session.id} was created after its request was abandoned: destroying it",
                "warning",
            )
            try:
                await there.orphans.settle([session])
                await there.releaser.release_session(
                    session.id, deployment.progress, session=session
                )
            except ReleaseUnconfirmed as error:
                deployment.doubts.append(Doubt(session.id, session.provider, error.message))
            except GdlError as error:
                await deployment.note(error.message, "warning")
