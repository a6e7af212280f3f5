"""Every event of a deployment. Past tense; immutable; no secrets; bounded text.

An event reaches its readers inside `Recorded`, which numbers it within its deployment.
"""

from __future__ import annotations

from datetime import datetime

from gdl.domain.benchmark import BenchReport
from gdl.domain.event import Event as Event
from gdl.domain.fleet_events import FLEET_EVENT_TYPES
from gdl.domain.host import HostFacts
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money_events import BalanceLow as BalanceLow
from gdl.domain.money_events import PriceRaised as PriceRaised
from gdl.domain.money_events import SessionCharged as SessionCharged
from gdl.domain.money_events import StopAnnounced as StopAnnounced
from gdl.domain.phase import Billing, Phase
from gdl.domain.remedies import Remedy
from gdl.domain.serving_events import BenchFinished as BenchFinished
from gdl.domain.serving_events import BenchProgressed as BenchProgressed
from gdl.domain.serving_events import Checked as Checked
from gdl.domain.serving_events import HealthChanged as HealthChanged
from gdl.domain.serving_events import MemoryCompared as MemoryCompared
from gdl.domain.serving_events import QualityAnswered as QualityAnswered
from gdl.domain.serving_events import ServerPlanned as ServerPlanned
from gdl.domain.serving_events import TunnelOpened as TunnelOpened
from gdl.domain.session_price import SessionPrice
from gdl.domain.spec import DeploymentSpec
from gdl.domain.summary import AttemptSummary


@dataclass(frozen=True, slots=True)
class DeploymentPlanned(Event):
    spec: DeploymentSpec
    model_id: str
    served_name: str
    needed_vram_gb: float | None = None


@dataclass(frozen=True, slots=True)
class OffersRanked(Event):
    """`reasons` counts the excluded ones by reason, in words."""

    suitable: int
    excluded: int
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AttemptStarted(Event):
    """expected: what the whole session is to cost; None where nobody knows. backend: whose offer
    it is; "" in journals of versions that used one at a time. image: the container image that is
    asked for, "" for the market's usual one."""

    attempt: int
    offer_id: str
    provider: str
    gpu_name: str
    gpu_count: int
    vram_gb: float
    price_per_hour: float
    location: str = ""
    machine_id: str = ""
    host_id: str = ""
    expected: SessionPrice | None = None
    backend: str = ""
    image: str = ""


@dataclass(frozen=True, slots=True)
class PhaseChanged(Event):
    attempt: int
    phase: Phase
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BillingChanged(Event):
    """ended_at: when the machine ceased to cost, if that was before now."""

    attempt: int
    billing: Billing
    session_id: str | None = None
    detail: str = ""
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SessionRented(Event):
    """`since`: when it was rented, if that was before now (a session attached to again)."""

    attempt: int
    session_id: str
    provider: str
    price_per_hour: float
    expires_at: datetime | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class SessionExtended(Event):
    """It is reserved for longer."""

    attempt: int
    session_id: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Progressed(Event):
    """What is being waited for now, in one line. `fraction` 0-1 when it is known.

    part: what part of the work this is, such as "shards", when that can be counted by itself;
    part_fraction: how far it is, 0-1.
    """

    attempt: int
    text: str
    fraction: float | None = None
    part: str = ""
    part_fraction: float | None = None


@dataclass(frozen=True, slots=True)
class HostInspected(Event):
    attempt: int
    facts: HostFacts


@dataclass(frozen=True, slots=True)
class StepStarted(Event):
    attempt: int
    name: str
    title: str
    index: int
    total: int


@dataclass(frozen=True, slots=True)
class StepFinished(Event):
    """outcome: done | skipped | failed."""

    attempt: int
    name: str
    outcome: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LogLines(Event):
    """A batch of remote lines, already stripped and bounded.

    source: "install" or "engine". first_offset: byte offset of the batch in the remote file.
    dropped: lines missing from the batch (they are in the file on disk).
    Not journaled: the full text is a file.
    """

    attempt: int
    source: str
    lines: tuple[str, ...]
    first_offset: int
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Diagnosed(Event):
    """Why something failed: cause in one sentence, what would help, and the lines that show it.
    action: the remedy as an object; an attempt goes on when it can be applied on its machine."""

    attempt: int
    cause: str
    remedy: str
    evidence: tuple[str, ...] = ()
    rule: str = ""
    action: Remedy | None = None


@dataclass(frozen=True, slots=True)
class RemedyApplied(Event):
    """The attempt goes on after a remedy. rule: what it is against. text: what is done, in words.
    by: "auto", "user", or "earlier": what the machine still has of an earlier deployment."""

    attempt: int
    rule: str
    remedy: Remedy
    text: str
    by: str


@dataclass(frozen=True, slots=True)
class AttemptFailed(Event):
    attempt: int
    phase: Phase
    kind: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class ExclusionSet(Event):
    """Somebody is excluded from here on; `until` None: as long as the deployment, or until it is
    cleared. kind: offer | machine | host | provider | backend. remembered: other deployments
    exclude it, too. aside: a host, provider or backend that is taken when nothing else suits, and
    comes back by itself then. backend: as of AttemptStarted."""

    attempt: int
    kind: str
    key: str
    reason: str
    until: datetime | None = None
    remembered: bool = False
    aside: bool = False
    backend: str = ""


@dataclass(frozen=True, slots=True)
class ExclusionLifted(Event):
    """Somebody is included in this deployment again: by the user, or for the reason told.
    backend: as of AttemptStarted."""

    attempt: int
    kind: str
    key: str
    reason: str = ""
    backend: str = ""


@dataclass(frozen=True, slots=True)
class ChoiceAwaited(Event):
    """Nothing goes on by itself: the user is to say what next. remedy: what can be applied, on a
    machine that stays rented until the choice is made; None after a failed attempt. reason: why
    there is no next offer to take, and what would help; "" while there may be one."""

    attempt: int
    remedy: Remedy | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ChoiceMade(Event):
    """choice: retry | next | exclude | fix."""

    attempt: int
    choice: str


@dataclass(frozen=True, slots=True)
class SpecChanged(Event):
    """The user has changed what was asked for, before it is tried again."""

    attempt: int
    spec: DeploymentSpec


@dataclass(frozen=True, slots=True)
class AutoFailoverSet(Event):
    """Whether the next offer is taken by itself after a failed attempt, from here on."""

    enabled: bool


@dataclass(frozen=True, slots=True)
class Noted(Event):
    """A line of narration. level: info | warning | error."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class DeploymentFinished(Event):
    """The last event. outcome: serving | released | failed | cancelled.

    kind: the error's kind, "" without one. attempts: all of them, in order. degraded: the checks of
    what was promised beside serving that it does not keep. reached: False for what served before
    and was left without having been reached again, so that nobody knows whether it still does.
    """

    outcome: str
    endpoint: str | None
    model: str
    session_id: str | None
    billing: Billing
    attempts: tuple[AttemptSummary, ...]
    benchmark: BenchReport | None = None
    error: str | None = None
    hint: str | None = None
    kind: str = ""
    degraded: tuple[str, ...] = ()
    reached: bool = True


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event with its place: `seq` counts from 1 within a deployment, `at` is UTC."""

    deployment_id: str
    seq: int
    at: datetime
    event: Event


EVENT_TYPES: dict[str, type[Event]] = {
    "deployment_planned": DeploymentPlanned,
    "offers_ranked": OffersRanked,
    "attempt_started": AttemptStarted,
    "phase_changed": PhaseChanged,
    "billing_changed": BillingChanged,
    "session_rented": SessionRented,
    "session_extended": SessionExtended,
    "progressed": Progressed,
    "host_inspected": HostInspected,
    "step_started": StepStarted,
    "step_finished": StepFinished,
    "log_lines": LogLines,
    "server_planned": ServerPlanned,
    "tunnel_opened": TunnelOpened,
    "checked": Checked,
    "memory_compared": MemoryCompared,
    "health_changed": HealthChanged,
    "quality_answered": QualityAnswered,
    "bench_progressed": BenchProgressed,
    "bench_finished": BenchFinished,
    "diagnosed": Diagnosed,
    "remedy_applied": RemedyApplied,
    "attempt_failed": AttemptFailed,
    "exclusion_set": ExclusionSet,
    "exclusion_lifted": ExclusionLifted,
    "choice_awaited": ChoiceAwaited,
    "choice_made": ChoiceMade,
    "spec_changed": SpecChanged,
    "auto_failover_set": AutoFailoverSet,
    "noted": Noted,
    "stop_announced": StopAnnounced,
    "price_raised": PriceRaised,
    "balance_low": BalanceLow,
    "session_charged": SessionCharged,
    "deployment_finished": DeploymentFinished,
    **FLEET_EVENT_TYPES,
}
TYPE_NAMES: dict[type[Event], str] = {cls: name for name, cls in EVENT_TYPES.items()}
