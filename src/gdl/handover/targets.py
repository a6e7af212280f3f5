"""Whom a deployment can be handed to."""

from __future__ import annotations

from collections.abc import Callable

from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import UsageError
from gdl.domain.fleet import FleetState
from gdl.domain.text import one_line
from gdl.handover import compose, deployment_toml, dstack, script, skypilot
from gdl.handover.running import Running, running, wish_of

_OTHERS: dict[str, Callable[[Running], str]] = {
    "dstack": dstack.written,
    "skypilot": skypilot.written,
    "compose": compose.written,
    "script": script.written,
}
TARGETS = ("toml", *_OTHERS)
"""Ourselves first: a deployment file."""


def written(state: DeploymentState, target: str, fleet: FleetState | None = None) -> str:
    """The text of a file for that target. fleet: whose replica it is, and which is written as a
    whole. Raises UsageError for a target that is none, and for a
    deployment that cannot be handed over."""
    if target not in TARGETS:
        raise UsageError(
            f"nothing is known of {ascii(target)[:40]}", f"known: {', '.join(TARGETS)}"
        )
    if target != "toml":
        return _OTHERS[target](running(state, fleet))
    if fleet is not None:
        wish = wish_of(fleet)
        return deployment_toml.written(state, wish.replica, wish, fleet.fleet_id)
    if state.spec is None:
        raise UsageError(
            f"the journal has nothing of deployment {one_line(state.deployment_id, 60)}",
            "`gdl-tui deploy MODEL` starts another",
        )
    return deployment_toml.written(state, state.spec)
