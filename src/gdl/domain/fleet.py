"""The state of a fleet: a pure fold over its own events. What each replica does is the state of its
deployment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace
from datetime import datetime
from functools import reduce

from gdl.domain import fleet_events as fe
from gdl.domain.benchmark import BenchReport
from gdl.domain.events import Noted, Recorded
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.phase import Billing

_NOTES_KEPT = 200


@dataclass(frozen=True, slots=True)
class Replica:
    """One deployment of the fleet. url: its end of the tunnel while requests go to it, else "".
    why_out: why none do, "" before it was taken in. refused, leaving: why it is being released, or
    "". ended: its deployment's last word."""

    id: str
    generation: int
    since: datetime
    url: str = ""
    context: int | None = None
    why_out: str = ""
    refused: str = ""
    leaving: str = ""
    ended: fe.ReplicaEnded | None = None
    served: bool = False
    """Whether requests went to it at any time."""

    @property
    def taken_in(self) -> bool:
        return bool(self.url)

    @property
    def counts(self) -> bool:
        """Whether it is one of those that are wished: it serves, or comes to that."""
        return self.ended is None and not self.leaving and not self.refused


@dataclass(frozen=True, slots=True)
class FleetState:
    fleet_id: str
    spec: FleetSpec | None = None
    served_name: str = ""
    api_key_file: str = ""
    wanted: int = 0
    generation: int = 1
    started_at: datetime | None = None
    replicas: dict[str, Replica] = field(default_factory=dict)
    """By the deployment's id, in the order in which they began; those that have ended, too."""
    router: fe.RouterStarted | None = None
    """None while it does not run."""
    endpoint: str = ""
    """The fleet's address; the same for as long as it lasts, unless its port is taken by others."""
    short: fe.FleetShort | None = None
    """Why the wished number is not there; None while nothing stands against it."""
    reached: bool = False
    """Whether the wished number has served at any time since it was wished."""
    benchmark: BenchReport | None = None
    ending: fe.FleetEnding | None = None
    finished: fe.FleetFinished | None = None
    notes: tuple[Noted, ...] = ()
    last_order: int = 0
    last_seq: int = 0

    @property
    def live(self) -> tuple[Replica, ...]:
        """Those whose deployments have not ended."""
        return tuple(r for r in self.replicas.values() if r.ended is None)

    @property
    def serving(self) -> tuple[Replica, ...]:
        """Those that requests go to."""
        return tuple(r for r in self.live if r.taken_in)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Sessions, or replicas without one, that have ended without a proof that nothing is rented
        for them, and were not left serving on purpose."""
        ends = [r.ended for r in self.replicas.values() if r.ended is not None]
        proven = (Billing.NONE, Billing.RELEASED)
        return tuple(
            end.session_id or end.replica
            for end in ends
            if end.billing not in proven and end.outcome != "serving"
        )

    @property
    def context(self) -> int | None:
        """Tokens that a request may have whichever replica it goes to; None when nobody tells."""
        told = [r.context for r in self.serving if r.context is not None]
        return min(told) if told else None

    @property
    def ended_cost(self) -> float:
        """Dollars that the replicas have cost that are over."""
        return sum(r.ended.cost for r in self.replicas.values() if r.ended is not None)


def replayed_fleet(fleet_id: str, history: Iterable[Recorded]) -> FleetState:
    """The state after all of its events."""
    return reduce(apply_fleet, history, FleetState(fleet_id))


def apply_fleet(state: FleetState, recorded: Recorded) -> FleetState:
    """The state after one more event. Pure."""
    event, at = recorded.event, recorded.at
    state = replace(state, last_seq=recorded.seq)
    match event:
        case fe.FleetPlanned():
            return replace(
                state,
                spec=event.spec,
                api_key_file=event.api_key_file,
                wanted=event.spec.replicas,
                started_at=at,
            )
        case fe.FleetResumed():
            return _resumed(state)
        case fe.FleetScaled():
            return _ordered(
                replace(state, wanted=event.replicas, short=None, reached=False), event.order
            )
        case fe.FleetChanged():
            changed = replace(state, spec=event.spec, generation=event.generation, short=None)
            return _ordered(changed, event.order)
        case fe.FleetEnding():
            return _ordered(replace(state, ending=event), event.order)
        case fe.RouterStarted():
            return replace(state, router=event, endpoint=event.endpoint)
        case fe.RouterEnded():
            return replace(state, router=None)
        case fe.FleetShort():
            return replace(state, short=event)
        case fe.FleetServing():
            return replace(state, short=None, reached=True)
        case fe.FleetBenchmarked():
            return replace(state, benchmark=event.report)
        case fe.FleetFinished():
            return replace(state, finished=event, router=None)
        case Noted():
            return replace(state, notes=(*state.notes, event)[-_NOTES_KEPT:])
        case _:
            return _apply_to_replica(state, event, at)


def _resumed(state: FleetState) -> FleetState:
    """What was being released is released; what was left serving is held from now on."""
    kept = state.finished is not None or (state.ending is not None and state.ending.keep)
    state = replace(state, finished=None, router=None, short=None, reached=False)
    if not kept or state.spec is None:
        return state
    spec = replace(state.spec, replica=replace(state.spec.replica, after="hold"))
    return replace(state, spec=spec, ending=None)


def _ordered(state: FleetState, order: int) -> FleetState:
    return replace(state, last_order=max(state.last_order, order))


def _apply_to_replica(state: FleetState, event: object, at: datetime) -> FleetState:
    match event:
        case fe.ReplicaStarted():
            known = state.replicas.get(event.replica)
            state = replace(state, served_name=state.served_name or event.model)
            if known is not None and known.ended is None:
                # Gone on with in another process: its way there is another one.
                return _put(state, replace(known, url="", why_out="gone on with"))
            return _put(state, Replica(event.replica, event.generation, at))
        case fe.ReplicaTakenIn(replica=name):
            return _change(
                state, name, url=event.url, context=event.context, why_out="", served=True
            )
        case fe.ReplicaTakenOut(replica=name):
            return _change(state, name, url="", why_out=event.reason)
        case fe.ReplicaRefused(replica=name):
            return _change(state, name, url="", refused=event.reason)
        case fe.ReplicaLeaving(replica=name):
            return _change(state, name, leaving=event.reason)
        case fe.ReplicaEnded(replica=name):
            return _change(state, name, url="", ended=event)
        case _:
            return state


def _put(state: FleetState, replica: Replica) -> FleetState:
    return replace(state, replicas={**state.replicas, replica.id: replica})


def _change(state: FleetState, name: str, **changes: object) -> FleetState:
    known = state.replicas.get(name)
    if known is None:
        return state
    return _put(state, replace(known, **changes))  # type: ignore[arg-type]
