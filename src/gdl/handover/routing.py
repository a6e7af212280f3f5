"""What spreads the requests of a fleet, where the other tool has nothing of its own for that."""

from __future__ import annotations

from gdl.domain.errors import UsageError
from gdl.domain.fleet_router import CHECKS, RELEASES
from gdl.domain.fleet_spec import ROUTERS, FleetSpec

_PROGRAM = ROUTERS[0]
PACKAGE = f"{_PROGRAM}=={RELEASES[_PROGRAM]}"
_FIRST_READY_S = 1800
"""Until a replica has what it needs, at worst: the router waits for one of them."""


def command(fleet: FleetSpec, port: str) -> list[str]:
    """The words that start it, up to the replicas' addresses. Raises UsageError for a router that
    cannot be handed over: smg has to be given the key as a word, which everybody could read."""
    if fleet.router != _PROGRAM:
        raise UsageError(
            f"a fleet behind {fleet.router} cannot be written for this tool",
            "--to dstack and --to skypilot bring a router of their own",
        )
    listen = "0.0.0.0" if port.isdigit() else '"$LISTEN"'  # noqa: S104 - inside the container
    return [
        *(_PROGRAM, "--host", listen, "--port", port, "--policy", fleet.policy, *CHECKS),
        *("--worker-startup-timeout-secs", str(_FIRST_READY_S), "--log-level", "warning"),
        "--worker-urls",
    ]
