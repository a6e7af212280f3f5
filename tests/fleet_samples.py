"""One of every event of a fleet."""

from __future__ import annotations

from gdl.domain import fleet_events as fe
from gdl.domain.benchmark import BenchReport
from gdl.domain.event import Event
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.phase import Billing
from gdl.domain.spec import DeploymentSpec

_SPEC = FleetSpec(DeploymentSpec("tinyllama", "vastai"), 3, spread_markets=True)
_REPORT = BenchReport("m", 8, 0, 1.5, 10, 20, 5.3, 13.3)

FLEET_SAMPLES: list[Event] = [
    fe.FleetPlanned(_SPEC, "/keys/fleet.api"),
    fe.FleetResumed(),
    fe.FleetScaled(2, 7, "its guard ended it"),
    fe.FleetChanged(_SPEC, 2, 8),
    fe.FleetEnding(True, "as ordered", 9),
    fe.ReplicaStarted("d1", 1, "d0", "tinyllama"),
    fe.ReplicaTakenIn("d1", "http://127.0.0.1:4001", 2048),
    fe.ReplicaTakenOut("d1", "nothing listens"),
    fe.ReplicaRefused("d1", "it serves another"),
    fe.ReplicaLeaving("d1", "the fleet is smaller now"),
    fe.ReplicaEnded("d1", "failed", Billing.RELEASED, "deploy", "r", "h", 0.2, "s1"),
    fe.RouterStarted("vllm-router", "0.1.17", "http://127.0.0.1:4000/v1", 17),
    fe.RouterEnded("the router has ended (signal 9)"),
    fe.FleetShort(1, 3, "no_suitable_offer", "r", "h", True),
    fe.FleetServing(3),
    fe.FleetBenchmarked(_REPORT),
    fe.FleetFinished("failed", Billing.UNKNOWN, 1.5, "e", "h", "deploy"),
]
