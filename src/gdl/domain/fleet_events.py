"""What happens to a fleet, beside the events of its replicas, which are deployments of their own.

They stand in the journal like those of a deployment, under the fleet's id.
"""

from __future__ import annotations

from gdl.domain.benchmark import BenchReport
from gdl.domain.event import Event
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.phase import Billing


@dataclass(frozen=True, slots=True)
class FleetPlanned(Event):
    """api_key_file: a path on this computer."""

    spec: FleetSpec
    api_key_file: str


@dataclass(frozen=True, slots=True)
class FleetResumed(Event):
    """Another process goes on with it, after one that is gone or has left it serving."""


@dataclass(frozen=True, slots=True)
class FleetScaled(Event):
    """Another number of replicas is wished. order: the number of the order in the journal; 0 for
    what the fleet decided by itself, for the reason told."""

    replicas: int
    order: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FleetChanged(Event):
    """Replicas of this wish take the place of the others, one after the other."""

    spec: FleetSpec
    generation: int
    order: int = 0


@dataclass(frozen=True, slots=True)
class FleetEnding(Event):
    """keep: the replicas go on serving, and billing, without the router."""

    keep: bool
    reason: str
    order: int = 0


@dataclass(frozen=True, slots=True)
class ReplicaStarted(Event):
    """A deployment of the fleet begins, or is gone on with. instead_of: the one that it takes the
    place of; "" for none. model: as it is to be served."""

    replica: str
    generation: int
    instead_of: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class ReplicaTakenIn(Event):
    """Requests go to it from now on. url: its own end of the tunnel. context: the longest that it
    serves, in tokens; None when it does not tell."""

    replica: str
    url: str
    context: int | None = None


@dataclass(frozen=True, slots=True)
class ReplicaTakenOut(Event):
    """No request goes to it any more. It may come back."""

    replica: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaRefused(Event):
    """It serves, but not what the fleet does: it gets no request and is released."""

    replica: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaLeaving(Event):
    """It is being released because the fleet says so."""

    replica: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaEnded(Event):
    """outcome, kind, reason, hint: of its deployment's last word. billing: what is proven since
    then. cost: dollars in all."""

    replica: str
    outcome: str
    billing: Billing
    kind: str = ""
    reason: str = ""
    hint: str = ""
    cost: float = 0.0
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class RouterStarted(Event):
    """endpoint: as OpenAI clients want it, ending in /v1."""

    router: str
    version: str
    endpoint: str
    pid: int


@dataclass(frozen=True, slots=True)
class RouterEnded(Event):
    """It has ended though nobody asked for that, and is started again."""

    reason: str


@dataclass(frozen=True, slots=True)
class FleetShort(Event):
    """The wished number cannot be had now. kind, reason, hint: of the last error that says why.
    final: nothing more is tried until the fleet is scaled."""

    serving: int
    replicas: int
    kind: str
    reason: str
    hint: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class FleetServing(Event):
    """The wished number serves."""

    replicas: int


@dataclass(frozen=True, slots=True)
class FleetBenchmarked(Event):
    """Measured through the router."""

    report: BenchReport


@dataclass(frozen=True, slots=True)
class FleetFinished(Event):
    """The last event. outcome: serving | released | failed | cancelled. billing: of the replica of
    which the least is proven. cost: dollars, all replicas together. kind: the error's, "" without
    one."""

    outcome: str
    billing: Billing
    cost: float
    error: str | None = None
    hint: str | None = None
    kind: str = ""


FLEET_EVENT_TYPES: dict[str, type[Event]] = {
    "fleet_planned": FleetPlanned,
    "fleet_resumed": FleetResumed,
    "fleet_scaled": FleetScaled,
    "fleet_changed": FleetChanged,
    "fleet_ending": FleetEnding,
    "replica_started": ReplicaStarted,
    "replica_taken_in": ReplicaTakenIn,
    "replica_taken_out": ReplicaTakenOut,
    "replica_refused": ReplicaRefused,
    "replica_leaving": ReplicaLeaving,
    "replica_ended": ReplicaEnded,
    "router_started": RouterStarted,
    "router_ended": RouterEnded,
    "fleet_short": FleetShort,
    "fleet_serving": FleetServing,
    "fleet_benchmarked": FleetBenchmarked,
    "fleet_finished": FleetFinished,
}
