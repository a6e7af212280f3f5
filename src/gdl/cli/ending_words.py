"""What is said when the command line ends a deployment: of the machine there is, if any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gdl.domain.phase import Billing, Phase
from gdl.presentation.endings import ENDED, on_own_machine

if TYPE_CHECKING:
    from gdl.domain.deployment import DeploymentState

_AGAIN = "press Ctrl-C again to stop waiting"
_BILLING = f"({_AGAIN}; the machine may then still be billing)"


def cancelling(state: DeploymentState) -> str:
    if on_own_machine(state):
        return f"cancelling: ending what runs on your machine ({_AGAIN})"
    if state.billing in ENDED:
        return f"cancelling ({_AGAIN})"
    return f"cancelling: releasing the machine {_BILLING}"


def releasing(state: DeploymentState) -> str:
    if on_own_machine(state):
        return f"ending what runs on your machine ({_AGAIN})"
    return f"releasing the machine {_BILLING}"


def keeping(state: DeploymentState, *, reached: bool = True) -> str:
    """It is left as it is. reached: whether it was seen by this process that it serves."""
    serves = reached and state.phase is Phase.SERVING
    goes_on = "keeps serving" if serves else "stays as it is"
    if state.billing not in (Billing.NONE, Billing.RELEASED):
        goes_on += " and billing" if serves else ", and keeps billing"
    return f"closing the tunnel; the machine {goes_on}"


def gave_up(state: DeploymentState) -> str:
    """Why there is no more to tell, where the end was not waited for."""
    if on_own_machine(state):
        return "stopped waiting before what runs on your machine had ended"
    if state.deployment_id and state.billing in ENDED:
        return "stopped waiting for its end"
    return "stopped waiting before the machine was released"


def closing(states: Sequence[DeploymentState]) -> list[str]:
    """When the terminal UI has gone while these were under way, a line each. What was attached to
    is left; all else ends with the program."""
    lines = []
    ending = [state for state in states if state.spec is None or not state.spec.attached]
    if len(ending) < len(states):
        lines.append("closing the tunnel: what was attached to is left as it is")
    if any(state.billing not in ENDED for state in ending):
        after = "Ctrl-C stops waiting; it may then still be billing"
        lines.append(f"releasing what is rented ({after})")
    elif ending:
        own = any(on_own_machine(state) for state in ending)
        what = "what runs on your machine" if own else "what is under way"
        lines.append(f"ending {what} (Ctrl-C stops waiting)")
    return lines
