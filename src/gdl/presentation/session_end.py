"""What ends a session that nobody ends."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from gdl.domain.guard import limits
from gdl.domain.money import dollars
from gdl.domain.spec import DeploymentSpec

UNTIL_TERM = "it costs until it is released; that end is its host's own term, not that of --hours"
"""Where only the marketplace's listing ends it."""


class Ends(Protocol):
    """What ends machines of the backends in use; see `OrchestratorApi`."""

    open_ended: frozenset[str]
    guarded: frozenset[str]


def until_when(spec: DeploymentSpec, there: Ends, backends: Collection[str] = ()) -> str:
    """How long a machine costs, as a clause; "" where it is released at once. backends: those that
    it may come from; none: all of those in use."""
    open_ended = _any(there.open_ended, backends)
    guarded = bool(there.guarded) and set(backends) <= there.guarded
    if spec.max_spend is not None:
        spent = dollars(spec.max_spend)
        if spec.after == "keep" and open_ended and not guarded:
            return (
                "it costs that much every hour until it is released: with no guard on the machine,"
                f" nothing ends it at {spent} once this program has ended"
            )
        return f"it ends when {spent} is spent, if not before"
    if spec.after == "destroy":
        return ""
    ends = ["it is released"] if open_ended else ["it is released", "its reserved time is over"]
    if after := guard_limits(spec.idle_minutes, spec.unseen_hours, there, backends):
        ends.append(f"its guard ends it ({after})")
    return f"it costs that much every hour until {' or '.join(ends)}"


def guard_limits(
    idle_minutes: float | None, unseen_hours: float | None, there: Ends, backends: Collection[str]
) -> str:
    """ "30 min idle, 12 h unseen", where a guard can see to that on all of these backends."""
    if not there.guarded or not set(backends) <= there.guarded:
        return ""
    return limits(idle_minutes, unseen_hours)


def _any(those: frozenset[str], backends: Collection[str]) -> bool:
    return bool(those & set(backends) if backends else those)
