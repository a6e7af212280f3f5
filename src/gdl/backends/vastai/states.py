"""What the four state fields of an instance mean together.

`actual_status` is what its host reports, null before the host has: created, loading, running,
stopped, frozen, exited, rebooting, unknown, offline. `intended_status` is what is wanted of it,
`cur_state` and `next_state` are the contract's. None of the dead states ends the billing: only a
destroyed instance costs nothing.
"""

from __future__ import annotations

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import hourly
from gdl.domain.session import SessionStatus

_BROKEN_START = ("oci runtime create failed", "failed to create shim task")
"""In the host's message: the container will never start."""
_STARTING = frozenset({"", "created", "loading", "rebooting"})
_DEAD = {
    "exited": "its container ended",
    "unknown": "its host does not answer",
    "offline": "its host has no connection to Vast.ai",
}


@dataclass(frozen=True, slots=True)
class States:
    """The fields as they come, "" for null. bid: whether it is interruptible, None where that is
    not told. message: the host's. price, disk_price: dollars an hour, running and stopped; None
    where not known."""

    actual: str = ""
    intended: str = ""
    current: str = ""
    next: str = ""
    bid: bool | None = None
    message: str = ""
    price: float | None = None
    disk_price: float | None = None


@dataclass(frozen=True, slots=True)
class Meaning:
    """error: why it is dead, in words. idle_price: dollars an hour that it costs though it does
    not run."""

    status: SessionStatus
    error: str | None = None
    outbid: bool = False
    idle_price: float | None = None


def meaning(states: States) -> Meaning:
    """What becomes of an instance in these states."""
    if states.actual == "frozen":
        costs = _costs(states.price, "its GPUs are billed all the same")
        return _dead(f"it was frozen, and {costs}", states.price)
    disk = _costs(states.disk_price, "its disk is billed until it is destroyed")
    if states.current == states.intended == states.next == "stopped" and states.bid is not False:
        why = _OUTBID if states.bid else f"{_OUTBID}, or Vast.ai stopped it"
        return _stopped(f"{why}; {disk}", states.disk_price, outbid=True)
    if states.intended == "stopped" or states.actual == "stopped":
        return _stopped(f"{_UNASKED}; {disk}", states.disk_price)
    if states.actual != "running" and any(mark in states.message.lower() for mark in _BROKEN_START):
        return _dead(f"its container cannot be started: {states.message}; {disk}", states.price)
    if (dead := _DEAD.get(states.actual)) is not None:
        said = f" ({states.message})" if states.message else ""
        return _dead(f"{dead}{said}; {disk}", states.price)
    if states.actual == "running":
        return Meaning(SessionStatus.RUNNING)
    if states.actual in _STARTING:
        return Meaning(SessionStatus.PROVISIONING)
    return Meaning(SessionStatus.UNKNOWN)


_UNASKED = "it was stopped without our request"
_OUTBID = "outbid: somebody pays more for this machine"


def _dead(error: str, price: float | None) -> Meaning:
    return Meaning(SessionStatus.FAILED, error, idle_price=price)


def _stopped(error: str, price: float | None, *, outbid: bool = False) -> Meaning:
    return Meaning(SessionStatus.STOPPED, error, outbid, price)


def _costs(price: float | None, words: str) -> str:
    return words if price is None else f"{words} ({hourly(price)})"
