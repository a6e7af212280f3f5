"""How a deployment ends when one of its earlier machines may still be billing."""

from __future__ import annotations

from collections.abc import Sequence

from gdl.domain.errors import GdlError, ReleaseUnconfirmed, SshError
from gdl.orchestrator.deployment.context import Doubt
from gdl.orchestrator.leasing.release_proof import unconfirmed


def with_doubts(error: GdlError | None, doubts: Sequence[Doubt], *, serving: bool) -> GdlError:
    """A machine that serves, or served, does not outweigh an earlier one that may bill unused."""
    last = doubts[-1]
    unsure = unconfirmed(last.session_id, last.provider, last.why)
    if len(doubts) > 1:
        others = ", ".join(d.session_id for d in doubts[:-1])
        unsure.message += f" (and so may {others})"
    if serving:
        unsure.message = f"it serves, but {unsure.message}"
    if error is None:
        return unsure
    error.message = f"{error.message}; {unsure.message}"
    error.hint = unsure.hint
    return error


def server_runs_on(trouble: SshError) -> ReleaseUnconfirmed:
    """What to say where our server on a machine that stays could not be ended."""
    return ReleaseUnconfirmed(
        f"the server on the machine could not be ended: {trouble.message}",
        "log in and end it by its pid; it is in the engine job's `pid` file",
    )
