"""One deployment while it runs: what it is, where it stands, and what owns its parts."""

from __future__ import annotations

import asyncio
from dataclasses import field
from pathlib import Path

from gdl.domain import events as ev
from gdl.domain.decisions import AfterFailure
from gdl.domain.deployment import DeploymentState
from gdl.domain.engine_image import EngineImage
from gdl.domain.errors import SpendLimitReached
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.model import Model
from gdl.domain.phase import Phase
from gdl.domain.remedies import Remedy
from gdl.domain.rental import Rental
from gdl.domain.secret import Secret
from gdl.domain.session_price import SessionPrice
from gdl.domain.spec import ConfirmedOffer, DeploymentSpec
from gdl.engines.base import Engine
from gdl.orchestrator.deployment.decisions import Decisions
from gdl.orchestrator.deployment.event_channel import EventChannel
from gdl.orchestrator.deployment.exclusions import DeploymentExclusions
from gdl.orchestrator.deployment.live_readings import LiveReadings
from gdl.orchestrator.deployment.rental_record import RentalRecord
from gdl.orchestrator.deployment.siblings import Siblings


@dataclass(frozen=True, slots=True)
class Doubt:
    """A machine that may still be billing. why: what was tried and seen."""

    session_id: str
    provider: str
    why: str


@dataclass(slots=True)
class Deployment:
    """cancelling: its user, or the end of the program, has ended it.

    attempt: the number of the current one, from 1. tries_left: whether it is not the last that is
    made by itself. adopted: its machine was rented by a process that is gone. disk_gb: what to ask
    for, after a disk turned out too small. expected: what a session on the chosen offer is to cost,
    where the market tells enough for that. image: to start its machine with, None for the market's
    usual one. min_cuda: the least CUDA version that its driver must support.

    confirmed: what the user was shown and took, at that price or less; confirmed_tried: one of them
    was tried, and others may be taken. ceiling: dollars an hour that its user agreed to for the
    next attempt, beside what the query says. over_limit: why it is being ended: what may be spent
    is.

    token: of the model hub, in place of the settings'; given while it ran, and kept nowhere else.

    unanswered: requests that seem to have made nothing, and could not be answered.

    doubts: what may still be billing though the deployment goes on without it. told_away: backends
    of which its user knows that they do not answer. siblings: the other replicas of its fleet; None
    for a deployment by itself.
    """

    id: str
    spec: DeploymentSpec
    engine: Engine
    model: Model
    channel: EventChannel
    record: RentalRecord
    log_dir: Path
    auto_failover: bool = True
    task: asyncio.Task[None] | None = None
    cancelling: bool = False
    attempt: int = 0
    tries_left: bool = False
    adopted: bool = False
    disk_gb: int | None = None
    expected: SessionPrice | None = None
    image: EngineImage | None = None
    min_cuda: float | None = None
    confirmed: tuple[ConfirmedOffer, ...] = ()
    confirmed_tried: bool = False
    ceiling: float | None = None
    over_limit: SpendLimitReached | None = None
    token: Secret | None = None
    doubts: list[Doubt] = field(default_factory=list)
    told_away: set[str] = field(default_factory=set)
    unanswered: list[Rental] = field(default_factory=list)
    exclusions: DeploymentExclusions = field(default_factory=DeploymentExclusions)
    siblings: Siblings | None = None
    decisions: Decisions = field(init=False)
    readings: LiveReadings = field(init=False)

    def __post_init__(self) -> None:
        self.confirmed = self.spec.confirmed
        self.decisions = Decisions(self.id, serves_already=self.spec.attached)
        self.readings = LiveReadings(self.channel.clock)
        if self.siblings is not None:
            self.siblings.join(self.id, lambda: self.state, self.exclusions)

    @property
    def rental(self) -> Rental | None:
        """What is rented for it now."""
        return self.record.current

    @property
    def state(self) -> DeploymentState:
        return self.channel.state

    @property
    def goes_on(self) -> bool:
        """Whether the next offer is taken by itself when this attempt fails."""
        return self.auto_failover and self.tries_left

    async def ask(
        self, note: str, remedy: Remedy | None = None, *, reason: str = ""
    ) -> AfterFailure:
        """Until the user has chosen. note: what says so. remedy: what there is to apply. reason:
        why no next offer can be taken."""

        async def announce() -> None:
            await self.emit(ev.ChoiceAwaited(self.attempt, remedy, reason))
            await self.note(note)

        choice = await self.decisions.after_failure(announce)
        await self.emit(ev.ChoiceMade(self.attempt, choice.value))
        return choice

    async def emit(self, event: ev.Event) -> None:
        await self.channel.emit(event)

    async def tell(self, *events: ev.Event) -> None:
        """Emit them, unless it is over: for whoever watches beside the deployment's own task."""
        await self.channel.emit_unless_over(*events)

    async def enter(self, phase: Phase, detail: str = "") -> None:
        """Change the phase, unless it is the current one already."""
        if self.state.phase is not phase:
            await self.emit(ev.PhaseChanged(self.attempt, phase, detail))
            attempt = self.state.attempt
            expected = attempt.expected if attempt is not None else None
            if phase is Phase.INSTALLING and expected is not None:
                await self.record.fetches(expected, self.channel.clock())

    async def note(self, text: str, level: str = "info") -> None:
        await self.emit(ev.Noted(level, text))

    async def progress(
        self,
        text: str,
        fraction: float | None = None,
        *,
        part: str = "",
        part_fraction: float | None = None,
    ) -> None:
        await self.emit(ev.Progressed(self.attempt, text, fraction, part, part_fraction))
