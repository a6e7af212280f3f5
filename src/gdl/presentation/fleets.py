"""Fleets in words, for the command line and the terminal UI alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gdl.domain import fleet_events as fe
from gdl.domain.event import Event
from gdl.domain.fleet import FleetState
from gdl.domain.money import dollars, hourly
from gdl.presentation.endings import money_words, outcome_words
from gdl.presentation.hardware import machine
from gdl.presentation.lines import plain
from gdl.presentation.words import plural

if TYPE_CHECKING:
    from gdl.domain.fleet_view import FleetView, ReplicaView

HEADINGS = ("REPLICA", "STATE", "MACHINE", "PROVIDER", ">LOAD", ">TOKENS/S", ">PRICE", ">COST")


def name_of(state: FleetState, replica: str) -> str:
    """ "replica 2": by the order in which they began."""
    place = list(state.replicas).index(replica) + 1 if replica in state.replicas else 0
    return f"replica {place}" if place else f"replica {replica}"


def words_of(event: Event, state: FleetState) -> str:
    """An event of a fleet in one line; "" for one that says nothing to a reader. state: after
    it."""
    text = _of_replica(event, state) or _of_fleet(event, state)
    return plain(text, 400)


def _of_replica(event: Event, state: FleetState) -> str:
    match event:
        case fe.ReplicaStarted():
            instead = (
                f", in place of {name_of(state, event.instead_of)}" if event.instead_of else ""
            )
            return f"{name_of(state, event.replica)} begins{instead} ({event.replica})"
        case fe.ReplicaTakenIn():
            serving = f"{len(state.serving)} of {state.wanted} serve"
            return f"{name_of(state, event.replica)} gets requests: {serving}"
        case fe.ReplicaTakenOut():
            return f"{name_of(state, event.replica)} gets no more requests: {event.reason}"
        case fe.ReplicaRefused():
            return f"{name_of(state, event.replica)} gets no requests: {event.reason}"
        case fe.ReplicaLeaving():
            return f"{name_of(state, event.replica)} is being released: {event.reason}"
        case fe.ReplicaEnded():
            why = f": {event.reason}" if event.reason else ""
            how = outcome_words(event.outcome, event.billing)
            money = money_words(event.billing)
            return f"{name_of(state, event.replica)} has ended ({how}; {money}){why}"
        case _:
            return ""


def _of_fleet(event: Event, state: FleetState) -> str:
    match event:
        case fe.FleetPlanned():
            many = plural(event.spec.replicas, "replica")
            return f"a fleet of {many} of {event.spec.replica.model}: {state.fleet_id}"
        case fe.FleetResumed():
            return "continued, after a gdl-tui that is gone"
        case fe.FleetScaled():
            why = f": {event.reason}" if event.reason else ""
            return f"{plural(event.replicas, 'replica')} wanted from now on{why}"
        case fe.FleetChanged():
            return "its settings have changed: replicas that differ are replaced"
        case fe.FleetEnding():
            what = "left serving, without the router" if event.keep else "released"
            return f"the replicas are {what}: {event.reason}"
        case fe.RouterStarted():
            return f"{event.router} {event.version} spreads requests at {event.endpoint}"
        case fe.RouterEnded():
            return f"{event.reason}: it is restarted"
        case fe.FleetShort():
            waits = "" if not event.final else "; nothing more is tried"
            help_ = f"; {event.hint}" if event.hint else ""
            there = f"{event.serving} of {event.replicas} serve"
            return f"short: {there}: {event.reason}{help_}{waits}"
        case fe.FleetServing():
            return f"all {plural(event.replicas, 'replica')} serve"
        case fe.FleetBenchmarked():
            return f"together {event.report.output_throughput:.1f} tokens/s"
        case fe.FleetFinished():
            how = outcome_words(event.outcome, event.billing)
            return f"the fleet has ended: {how}; {dollars(event.cost)} in all"
        case _:
            return ""


def summary(view: FleetView) -> str:
    """How a fleet is, in one line: replicas, money, speed."""
    rented = any(replica.session_id for replica in view.replicas)
    parts = [
        f"{view.serving} of {view.wanted} serve" if view.wanted else "being prepared",
        hourly(view.price_per_hour) if rented else "nothing rented",
    ]
    parts.append(f"{dollars(view.cost)} so far")
    if view.tokens_per_s is not None:
        parts.append(f"{view.tokens_per_s:.0f} tokens/s")
    if view.usd_per_million is not None:
        parts.append(f"{dollars(view.usd_per_million)} per 1M tokens")
    return ", ".join(parts)


def state_of(replica: ReplicaView) -> str:
    """A replica's state in a few words."""
    if replica.leaving:
        return "leaving"
    if replica.taken_in:
        return "serving"
    out = replica.why_out and replica.phase.value == "SERVING"
    return "taken out" if out else replica.phase.value.lower()


def cells(replica: ReplicaView) -> Sequence[str]:
    """A row under HEADINGS."""
    health = replica.health
    load = "" if health is None or health.running is None else f"{health.running:.0f}"
    speed = "" if health is None or health.tokens_per_s is None else f"{health.tokens_per_s:.0f}"
    return (
        replica.id,
        state_of(replica),
        machine(replica) if replica.gpu_count else "",
        replica.provider,
        load,
        speed,
        hourly(replica.price_per_hour) if replica.session_id else "",
        dollars(replica.cost),
    )
