"""What the command's exit code says. One table; `--help` prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gdl.domain.errors import GdlError
    from gdl.domain.events import DeploymentFinished
    from gdl.domain.phase import Billing

OK = 0
INTERNAL = 1
USAGE = 2
NO_OFFER = 3
NO_MACHINE = 4
DEPLOY_FAILED = 5
VERIFICATION_FAILED = 6
BACKEND_FAILED = 7
CANCELLED = 8
STILL_BILLING = 9
SPEND_LIMIT = 10
OUTPUT_CLOSED = 141
"""As a shell reports a process that SIGPIPE ended: 128 + 13."""

MEANINGS: dict[int, str] = {
    OK: "success",
    INTERNAL: "internal error",
    USAGE: "wrong usage",
    NO_OFFER: "no suitable offer",
    NO_MACHINE: "could not get a machine",
    DEPLOY_FAILED: "install or start failed",
    VERIFICATION_FAILED: "verification failed",
    BACKEND_FAILED: "backend or model hub unreachable, or it refused",
    CANCELLED: "cancelled",
    STILL_BILLING: "a machine may still be billing (takes precedence)",
    SPEND_LIMIT: "the spending limit is reached",
}

BY_KIND: dict[str, int] = {
    "usage": USAGE,
    "no_suitable_offer": NO_OFFER,
    "machine": NO_MACHINE,
    "offer_gone": NO_MACHINE,
    "session_exists": NO_MACHINE,
    "offer_taken": NO_MACHINE,
    "insufficient_disk": NO_MACHINE,
    "rent_ambiguous": NO_MACHINE,
    "session_failed": NO_MACHINE,
    "outbid": NO_MACHINE,
    "session_gone": NO_MACHINE,
    "ssh": NO_MACHINE,
    "host_key_changed": NO_MACHINE,
    "ssh_auth": NO_MACHINE,
    "forward_refused": NO_MACHINE,
    "command_timeout": NO_MACHINE,
    "deploy": DEPLOY_FAILED,
    "verification": VERIFICATION_FAILED,
    "backend": BACKEND_FAILED,
    "backend_unreachable": BACKEND_FAILED,
    "backend_refused": BACKEND_FAILED,
    "hub_away": BACKEND_FAILED,
    "cancelled": CANCELLED,
    "release_unconfirmed": STILL_BILLING,
    "spend_limit": SPEND_LIMIT,
    "guard_ended": SPEND_LIMIT,
}
"""Error kinds as `gdl.domain.errors` names them; an unknown one is an internal error."""


def epilog() -> str:
    """The table for `--help`, one code a line."""
    rows = "\n".join(f"  {code}  {meaning}" for code, meaning in MEANINGS.items())
    return f"\b\nExit codes:\n{rows}\n(`diagnose`: 0 if the cause is known, 1 if not)"


def of_error(error: GdlError) -> int:
    """The code for an expected failure that ended a command."""
    return BY_KIND.get(error.kind, INTERNAL)


_IN_DOUBT = ("requested", "unknown")


def may_bill(billing: Billing) -> bool:
    """Whether a machine in this billing state may cost money from here on."""
    return billing.value in ("requested", "active", "unknown")


def of_finished(finished: DeploymentFinished) -> int:
    """The code for how a deployment ended."""
    if finished.kind == "release_unconfirmed":
        return STILL_BILLING
    if finished.outcome == "serving" and finished.billing.value not in _IN_DOUBT:
        return OK
    if may_bill(finished.billing):
        return STILL_BILLING
    if finished.outcome == "released":
        return BY_KIND.get(finished.kind, OK) if finished.error else OK
    if finished.outcome == "cancelled":
        return CANCELLED
    return BY_KIND.get(finished.kind, INTERNAL)
