"""What becomes of machines and money when a question is answered, in words. Nothing is said that is
not so where it is said: a machine of one's own bills nobody, and does not go away."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gdl.domain.deployment import DeploymentState
from gdl.domain.fleet_view import FleetView
from gdl.domain.health import Condition
from gdl.domain.phase import Billing, Phase
from gdl.orchestrator.api.views import SessionRow
from gdl.presentation.endings import on_own_machine
from gdl.tui.store import Bill

_ENDING = frozenset({Phase.STOPPING, Phase.STOPPED, Phase.CANCELLED})
_WITH_PROGRAM = "The machines of this backend end when this program ends."


def is_ending(state: DeploymentState) -> bool:
    """What it has rented is being released already."""
    return state.finished is None and state.phase in _ENDING


# Of a deployment


def of_cancelling(state: DeploymentState) -> str:
    attempt = state.attempt
    if on_own_machine(state):
        becomes = "what runs for it on your machine ends"
    elif state.billing is Billing.UNKNOWN:
        becomes = "that its machine is gone is not proven: see 4 Sessions"
    elif state.billing is Billing.REQUESTED:
        becomes = "a machine that is rented by then is released"
    elif attempt is None or attempt.session_id is None or state.billing is Billing.RELEASED:
        becomes = "no machine is rented for it now"
    else:
        becomes = "its machine is released"
    return f"The deployment stops; {becomes}.{_replica(state)}"


def of_releasing(state: DeploymentState) -> str:
    becomes = "the machine is released"
    if on_own_machine(state):
        becomes = "the machine is your own, and stays"
    return f"The model stops serving; {becomes}.{_replica(state)}"


def of_keeping(state: DeploymentState) -> str:
    becomes = "the model goes on serving" if _serves(state) else "what runs there stays as it is"
    if not on_own_machine(state):
        becomes += ", and the machine goes on billing until it is destroyed or its time is over"
    told = f"The tunnel closes; {becomes}.{_replica(state)}"
    return f"{told} 4 Sessions attaches to it again."


def _serves(state: DeploymentState) -> bool:
    well = state.health is None or state.health.condition is Condition.HEALTHY
    return state.phase is Phase.SERVING and well


def _replica(state: DeploymentState) -> str:
    member = state.spec is not None and state.spec.member is not None
    return " Its fleet does not replace it." if member else ""


# Of sessions


def is_own(row: SessionRow) -> bool:
    """Whether nobody bills for its machine."""
    return row.billing == Billing.NONE


def of_destroying(rows: Sequence[SessionRow], here: Collection[str] = ()) -> str:
    """here: ids of the deployments that run in this process."""
    return _ends(rows) + _fleets_do(rows, here)


def _fleets_do(rows: Sequence[SessionRow], here: Collection[str]) -> str:
    replicas = [row for row in rows if row.fleet is not None]
    if not replicas:
        return ""
    if all(row.deployment_id in here for row in replicas):
        return " Its fleet does not replace it." if len(rows) == 1 else ""
    which = "its fleet" if len(rows) == 1 else "the fleet of a replica"
    return f" A gdl-tui that runs {which} rents another instead; F9 makes a fleet smaller."


def _ends(rows: Sequence[SessionRow]) -> str:
    own, one = [row for row in rows if is_own(row)], len(rows) == 1
    if len(own) == len(rows):
        note = (
            "What runs there for it ends; the machine is your own, and stays."
            if one
            else "What runs there for them ends; the machines are your own, and stay."
        )
    elif own:
        note = (
            "Those that are rented are released, and everything on them is lost; on your own,"
            " what runs there for them ends."
        )
    elif one:
        note = "The machine is released; everything on it is lost."
    else:
        note = "The machines are released; everything on them is lost."
    return note


def destroyed(rows: Sequence[SessionRow], asked_for: int) -> str:
    """Once it is proven. rows: those that are gone, of so many."""
    if all(is_own(row) for row in rows):
        what = "what ran there has ended"
        many = f"what ran on {len(rows)} of {asked_for} machines has ended"
    else:
        what, many = "the machine is gone", f"{len(rows)} of {asked_for} machines are gone"
        if any(is_own(row) for row in rows):
            many = f"{len(rows)} of {asked_for} sessions have ended"
    return f"{many if asked_for > 1 else what}: confirmed"


# Of a fleet


def is_of_own(view: FleetView) -> bool:
    """Whether nobody bills for any machine of a fleet."""
    there = [replica for replica in view.replicas if replica.session_id is not None]
    return bool(there) and all(replica.billing is Billing.NONE for replica in there)


def of_ending(view: FleetView) -> str:
    if is_of_own(view):
        return "What runs on its machines ends; they are your own, and stay."
    return "All its machines are released, and everything on them is lost."


# Of quitting


def of_quitting(
    states: Sequence[DeploymentState], bills: Sequence[Bill], *, can_leave: bool, read_only: bool
) -> str:
    """states: of the deployments that run in this process. bills: what costs, if there are none.
    can_leave: what is not being released already may be left as it is."""
    if not states:
        return _rented_earlier(bills, can_leave=can_leave, read_only=read_only)
    going = [state for state in states if not is_ending(state)]
    if not going:
        return _being_released(states)
    waited = " What is being released is waited for." if len(going) < len(states) else ""
    if can_leave:
        return f"If left running, {_left(going)}.{waited}"
    if all(state.can_be_left for state in going):
        return f"{_WITH_PROGRAM}{waited}"
    if len(going) > 1:
        return f"Not all of them serve yet; those cannot continue without this program.{waited}"
    return f"It is not serving yet, and cannot continue without this program.{waited}"


def _rented_earlier(bills: Sequence[Bill], *, can_leave: bool, read_only: bool) -> str:
    if not can_leave:
        return _WITH_PROGRAM
    one = len(bills) == 1
    goes_on = "it goes on" if one else "they go on"
    if not all(bill.certain for bill in bills):
        goes_on = "it may go on" if one else "some may go on"
    which = "it" if one else "them"
    here = f"4 Sessions shows {which}." if read_only else f"4 Sessions to destroy {which}."
    return f"Rented earlier; {goes_on} billing when you quit. {here}"


def _being_released(states: Sequence[DeploymentState]) -> str:
    if all(on_own_machine(state) for state in states):
        return "What runs on your machine is still being ended. Quitting waits for that."
    if len(states) == 1:
        return "The machine is still being released. Quitting waits until it is gone."
    return "The machines are still being released. Quitting waits until they are gone."


def _left(states: Sequence[DeploymentState]) -> str:
    one = len(states) == 1
    serves = "the model keeps serving" if one else "the models keep serving"
    if not all(_serves(state) for state in states):
        serves = "it stays as it is" if one else "they stay as they are"
    if all(on_own_machine(state) for state in states):
        return f"{serves} on your own machine{'' if one else 's'}"
    if any(on_own_machine(state) for state in states):
        return f"{serves}, and what is rented keeps billing"
    return f"{serves} and {'the machine keeps' if one else 'the machines keep'} billing"
