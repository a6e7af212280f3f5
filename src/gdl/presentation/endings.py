"""How a deployment ended, in words that agree with what is known about the money."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdl.domain.phase import Billing

if TYPE_CHECKING:
    from gdl.domain.deployment import DeploymentState

_MONEY = {
    Billing.NONE: "nothing is rented",
    Billing.REQUESTED: "it is not known whether a machine was rented",
    Billing.ACTIVE: "the machine keeps billing",
    Billing.RELEASED: "the machine was released",
    Billing.UNKNOWN: "the machine may still be billing",
}
ENDED = frozenset({Billing.NONE, Billing.RELEASED})
"""States of the money in which nothing costs any more."""


def money_words(billing: Billing) -> str:
    """What is known about the machine's costs, as a clause: "the machine was released"."""
    return _MONEY[billing]


def on_own_machine(state: DeploymentState) -> bool:
    """Whether it has a machine for which nobody bills: one of the user's own."""
    attempt = state.attempt
    rented = attempt is not None and attempt.session_id is not None
    return rented and state.billing is Billing.NONE


def outcome_words(outcome: str, billing: Billing) -> str:
    """The outcome as a word; nothing is called released, or serving, that is not.

    outcome: as of DeploymentFinished.
    """
    if outcome == "released":
        return "released" if billing is Billing.RELEASED else "done"
    if outcome == "serving" and billing is Billing.RELEASED:
        return "ended"
    return outcome


def reason_words(outcome: str, billing: Billing, phase: str) -> str:
    """Why an attempt without a failure ended; phase: the last that it reached. "" when only an
    error can tell."""
    match outcome:
        case "released" if billing is Billing.RELEASED:
            return "done, and released"
        case "released":
            words = "done"
        case "serving" if billing is Billing.RELEASED:
            return "it served; the machine was released"
        case "serving":
            words = "left serving"
        case "cancelled":
            words = f"cancelled by you while {phase}"
        case _:
            return ""
    return words if billing in ENDED else f"{words}; {money_words(billing)}"
