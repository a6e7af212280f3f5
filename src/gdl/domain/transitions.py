"""Which phases follow which."""

from __future__ import annotations

from gdl.domain.phase import Phase

ACTIVE = (
    Phase.PLANNED,
    Phase.RENTING,
    Phase.CONNECTING,
    Phase.PREFLIGHT,
    Phase.INSTALLING,
    Phase.STARTING,
    Phase.LOADING,
    Phase.VERIFYING,
    Phase.SERVING,
    Phase.STOPPING,
)
"""In the order in which a deployment passes them."""

ENDS = frozenset({Phase.FAILED, Phase.CANCELLED})

TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.PLANNED: ENDS | {Phase.RENTING},
    Phase.RENTING: ENDS | {Phase.CONNECTING},
    # A session that serves already is attached to without an install.
    Phase.CONNECTING: ENDS | {Phase.PREFLIGHT, Phase.VERIFYING, Phase.STOPPING},
    Phase.PREFLIGHT: ENDS | {Phase.INSTALLING, Phase.STOPPING},
    Phase.INSTALLING: ENDS | {Phase.STARTING, Phase.STOPPING},
    # A repair goes back to the install, a changed flag back to the start.
    Phase.STARTING: ENDS | {Phase.INSTALLING, Phase.LOADING, Phase.VERIFYING, Phase.STOPPING},
    Phase.LOADING: ENDS | {Phase.INSTALLING, Phase.STARTING, Phase.VERIFYING, Phase.STOPPING},
    Phase.VERIFYING: ENDS | {Phase.INSTALLING, Phase.STARTING, Phase.SERVING, Phase.STOPPING},
    Phase.SERVING: ENDS | {Phase.STARTING, Phase.STOPPING},
    Phase.STOPPING: ENDS | {Phase.STOPPED},
    Phase.STOPPED: frozenset(),
    # The next attempt, by itself or by a key press; a cancel while between two attempts.
    Phase.FAILED: frozenset({Phase.RENTING, Phase.CANCELLED}),
    Phase.CANCELLED: frozenset(),
}


class IllegalTransition(ValueError):
    """A phase change that `TRANSITIONS` does not know: a defect of ours, never of the user's."""
