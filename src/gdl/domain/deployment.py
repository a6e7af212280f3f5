"""The state of a deployment: a pure fold over its events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace
from datetime import datetime
from functools import reduce

from gdl.domain import events as ev
from gdl.domain.attempt_state import AttemptState, StepState
from gdl.domain.benchmark import BenchReport, QualityAnswer
from gdl.domain.events import Recorded
from gdl.domain.health import Check
from gdl.domain.host import HostFacts
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.offers import NOT_ASKED
from gdl.domain.phase import Billing, Phase
from gdl.domain.remedies import Remedy
from gdl.domain.spec import DeploymentSpec
from gdl.domain.transitions import ENDS, TRANSITIONS, IllegalTransition


@dataclass(frozen=True, slots=True)
class DeploymentState:
    deployment_id: str
    spec: DeploymentSpec | None = None
    model_id: str = ""
    served_name: str = ""
    phase: Phase = Phase.PLANNED
    billing: Billing = Billing.NONE
    started_at: datetime | None = None
    attempts: tuple[AttemptState, ...] = ()
    progress: ev.Progressed | None = None
    ranked: ev.OffersRanked | None = None
    tunnel: ev.TunnelOpened | None = None
    checks: dict[str, Check] = field(default_factory=dict)
    health: ev.HealthChanged | None = None
    """What was last told of it while serving; None: it was well all the time."""
    quality: tuple[QualityAnswer, ...] = ()
    bench_progress: ev.BenchProgressed | None = None
    benchmark: BenchReport | None = None
    notes: tuple[ev.Noted, ...] = ()
    finished: ev.DeploymentFinished | None = None
    exclusions: tuple[ev.ExclusionSet, ...] = ()
    auto_failover: bool = True
    waiting: bool = False
    """A failed attempt, or one that can go on, waits for the user's choice."""
    stuck: str = ""
    """While it waits: why no next offer can be taken, and what would help."""
    offered: Remedy | None = None
    """What the user may choose to apply on the machine, which is still rented."""
    last_seq: int = 0

    @property
    def can_be_left(self) -> bool:
        """It serves, or did when it was attached to: it is released, or left, as soon as its user
        says so, whether or not it has been reached yet."""
        attached = self.spec is not None and self.spec.attached
        going = attached and self.phase not in (*ENDS, Phase.STOPPING, Phase.STOPPED)
        return self.finished is None and (going or self.phase is Phase.SERVING)

    @property
    def held(self) -> bool:
        """Whether it waits for a choice on a machine that can be used."""
        attempt = self.attempt
        return self.waiting and attempt is not None and attempt.failure is None

    @property
    def attempt(self) -> AttemptState | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def endpoint(self) -> str | None:
        return self.tunnel.endpoint if self.tunnel else None

    @property
    def tried(self) -> int:
        """Machines tried so far, the current one among them; offers that were gone are none."""
        return sum(not a.had_no_machine for a in self.attempts)

    def cost(self, now: datetime) -> float:
        return sum(a.cost(now) for a in self.attempts)


_NOTES_KEPT = 200
_ANSWERS_KEPT = 50


def replayed(deployment_id: str, history: Iterable[Recorded]) -> DeploymentState:
    """The state after all of its events. Raises as `apply`."""
    return reduce(apply, history, DeploymentState(deployment_id))


def apply(state: DeploymentState, recorded: Recorded) -> DeploymentState:
    """The state after one more event. Pure; raises IllegalTransition on an illegal phase."""
    event, at = recorded.event, recorded.at
    state = replace(state, last_seq=recorded.seq)
    match event:
        case ev.DeploymentPlanned():
            return replace(
                state,
                spec=event.spec,
                model_id=event.model_id,
                served_name=event.served_name,
                started_at=at,
                auto_failover=event.spec.auto_failover,
            )
        case ev.OffersRanked():
            return replace(state, ranked=event)
        case ev.AttemptStarted():
            return replace(
                state,
                attempts=(*state.attempts, _new_attempt(event, at)),
                progress=None,
                tunnel=None,
                checks={},
                quality=(),
                bench_progress=None,
                waiting=False,
                offered=None,
            )
        case ev.PhaseChanged():
            return _change_phase(state, event, at)
        case ev.BillingChanged():
            return _change_billing(state, event, at)
        case ev.SessionRented():
            return _update(
                state if state.attempt is None else _closing(state, state.attempt, event, at),
                session_id=event.session_id,
                rented_at=event.since or at,
                expires_at=event.expires_at,
                price_per_hour=event.price_per_hour,
            )
        case ev.SessionCharged():
            return _change_charged(state, event)
        case ev.SessionExtended():
            return _update(state, expires_at=event.expires_at)
        case ev.Progressed():
            return _change_parts(replace(state, progress=event), event)
        case ev.HostInspected():
            return _update(state, facts=event.facts, **_found(state, event.facts))
        case ev.StepStarted() | ev.StepFinished():
            return _change_steps(state, event, at)
        case ev.Diagnosed():
            return _update(state, diagnosis=event)
        case ev.RemedyApplied():
            # What it is against is no longer why the attempt fails, if it does.
            done = state.attempt.remedies if state.attempt else ()
            return _update(state, diagnosis=None, remedies=(*done, event))
        case ev.AttemptFailed():
            return _update(state, failure=event)
        case ev.ChoiceAwaited():
            waits = (*state.attempt.waits_closed(at), (at, None)) if state.attempt else ()
            state = _update(state, waits=waits)
            return replace(state, waiting=True, offered=event.remedy, stuck=event.reason)
        case ev.ChoiceMade():
            waits = state.attempt.waits_closed(at) if state.attempt else ()
            state = _update(state, waits=waits)
            return replace(state, waiting=False, offered=None, stuck="")
        case ev.ServerPlanned():
            return _update(state, server=event, memory=None)
        case ev.MemoryCompared():
            return _update(state, memory=event.memory)
        case _:
            return _apply_serving(state, event)


def _apply_serving(state: DeploymentState, event: ev.Event) -> DeploymentState:
    match event:
        case ev.TunnelOpened():
            return replace(state, tunnel=event)
        case ev.Checked():
            return replace(state, checks={**state.checks, event.check.name: event.check})
        case ev.HealthChanged():
            return replace(state, health=event)
        case ev.QualityAnswered():
            return replace(state, quality=(*state.quality, event.answer)[-_ANSWERS_KEPT:])
        case ev.BenchProgressed():
            return replace(state, bench_progress=event)
        case ev.BenchFinished():
            return replace(state, benchmark=event.report, bench_progress=None)
        case ev.ExclusionSet() | ev.ExclusionLifted():
            return _change_exclusions(state, event)
        case ev.SpecChanged():
            return _update(replace(state, spec=event.spec), diagnosis=None)
        case ev.AutoFailoverSet():
            return replace(state, auto_failover=event.enabled)
        case ev.Noted():
            return replace(state, notes=(*state.notes, event)[-_NOTES_KEPT:])
        case ev.DeploymentFinished():
            return replace(
                state, finished=event, billing=event.billing, waiting=False, offered=None
            )
        case _:
            return state


def _closing(
    state: DeploymentState, attempt: AttemptState, event: ev.SessionRented, at: datetime
) -> DeploymentState:
    """Another session of the same attempt takes the place of one that was destroyed."""
    if attempt.session_id in (None, event.session_id):
        return state
    return _update(state, earlier_cost=attempt.cost(at), released_at=None)


def _change_exclusions(
    state: DeploymentState, event: ev.ExclusionSet | ev.ExclusionLifted
) -> DeploymentState:
    kept = tuple(
        x
        for x in state.exclusions
        if (x.kind, x.key) != (event.kind, event.key) or event.backend not in ("", x.backend)
    )
    added = (event,) if isinstance(event, ev.ExclusionSet) else ()
    return replace(state, exclusions=(*kept, *added))


def _new_attempt(event: ev.AttemptStarted, at: datetime) -> AttemptState:
    return AttemptState(
        number=event.attempt,
        offer_id=event.offer_id,
        provider=event.provider,
        gpu_name=event.gpu_name,
        gpu_count=event.gpu_count,
        vram_gb=event.vram_gb,
        price_per_hour=event.price_per_hour,
        location=event.location,
        started_at=at,
        expected=event.expected,
        backend=event.backend,
        image=event.image,
        host=event.host_id or event.machine_id,
    )


def _update(state: DeploymentState, **changes: object) -> DeploymentState:
    if not state.attempts:
        return state
    last = replace(state.attempts[-1], **changes)  # type: ignore[arg-type]
    return replace(state, attempts=(*state.attempts[:-1], last))


def _change_charged(state: DeploymentState, event: ev.SessionCharged) -> DeploymentState:
    attempts = (
        replace(a, charged=event.charged) if a.number == event.attempt else a
        for a in state.attempts
    )
    return replace(state, attempts=tuple(attempts))


def _change_phase(state: DeploymentState, event: ev.PhaseChanged, at: datetime) -> DeploymentState:
    if event.phase not in TRANSITIONS[state.phase]:
        raise IllegalTransition(f"{state.phase} -> {event.phase}")
    # A server that is started was not asked anything yet.
    checks = {} if event.phase is Phase.STARTING else state.checks
    state = replace(state, phase=event.phase, progress=None, checks=checks)
    if not state.attempts:
        return state
    last = state.attempts[-1]
    return _update(state, phases=(*last.phases, (event.phase, at)), waits=last.waits_closed(at))


def _change_billing(
    state: DeploymentState, event: ev.BillingChanged, at: datetime
) -> DeploymentState:
    state = replace(state, billing=event.billing)
    attempt = state.attempt
    released = event.billing in (Billing.RELEASED, Billing.NONE)
    if released and attempt is not None and attempt.rented_at is not None:
        return _update(state, released_at=event.ended_at or at)
    return state


_PARTS_KEPT = 8


def _change_parts(state: DeploymentState, event: ev.Progressed) -> DeploymentState:
    if not event.part or event.part_fraction is None or not state.attempts:
        return state
    parts = dict(state.attempts[-1].parts)
    parts[event.part] = min(max(event.part_fraction, 0.0), 1.0)
    return _update(state, parts=tuple(parts.items())[-_PARTS_KEPT:])


def _change_steps(
    state: DeploymentState, event: ev.StepStarted | ev.StepFinished, at: datetime
) -> DeploymentState:
    if not state.attempts:
        return state
    steps = state.attempts[-1].steps
    if isinstance(event, ev.StepStarted):
        begun = StepState(event.name, event.title, event.index, event.total, at)
        kept = tuple(s for s in steps if s.name != event.name)
        return _update(state, steps=(*kept, begun))
    ended = tuple(
        replace(s, outcome=event.outcome, seconds=event.seconds, detail=event.detail)
        if s.name == event.name
        else s
        for s in steps
    )
    return _update(state, steps=ended)


def _found(state: DeploymentState, facts: HostFacts) -> dict[str, object]:
    """The GPUs of a machine that nobody had asked for them before."""
    attempt = state.attempt
    if attempt is None or attempt.gpu_count or attempt.gpu_name != NOT_ASKED:
        return {}
    if not facts.gpus:
        return {"gpu_name": ""}
    first = facts.gpus[0]
    return {
        "gpu_name": first.name,
        "gpu_count": len(facts.gpus),
        "vram_gb": first.memory_mib / 1024,
    }
