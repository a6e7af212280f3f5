"""One deployment while it runs: its channel, its task, and what the user decides meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gdl.domain import events as ev
from gdl.domain.decisions import AfterFailure, AfterServing
from gdl.domain.deployment import DeploymentState
from gdl.domain.health import Check, HealthSample
from gdl.domain.offers import Exclusion
from gdl.domain.phase import Phase
from gdl.domain.readings import CheckRound, GpuLoad
from gdl.domain.remedies import Remedy
from gdl.domain.rental import Rental
from gdl.domain.spec import DeploymentSpec
from gdl.engines.base import Model
from gdl.orchestrator.deployment.event_channel import EventChannel
from gdl.ssh.reconnecting import Link

ROUNDS_KEPT = 60


@dataclass(slots=True)
class Deployment:
    """`decision` is set while the deployment holds ("release" or "keep" resolve it), `choice`
    while an attempt that failed, or could go on, waits ("retry", "next", "exclude" or "fix" resolve
    it). chosen: what was chosen before the attempt had failed.

    tries_left: whether this attempt is not the last that is made by itself.

    exclusions: by (kind, key), those of this deployment. allowed: providers the user brought back,
    whatever speaks against them. doubts: sessions that ended by themselves in a way that proves
    nothing about their machine. adopted: the machine of this attempt was rented by a process that
    is gone. disk_gb: what to ask for, after a disk turned out too small. health: while it is
    held, how the endpoint is now. gpu: what its GPUs do while a server runs on them. rounds: the
    latest rounds of checks, oldest first.
    """

    id: str
    spec: DeploymentSpec
    model: Model
    channel: EventChannel
    log_dir: Path
    task: asyncio.Task[None] | None = None
    decision: asyncio.Future[AfterServing] | None = None
    choice: asyncio.Future[AfterFailure] | None = None
    cancelling: bool = False
    rental: Rental | None = None
    link: Link | None = None
    attempt: int = 0
    auto_failover: bool = True
    adopted: bool = False
    chosen: AfterFailure | None = None
    tries_left: bool = False
    exclusions: dict[tuple[str, str], Exclusion] = field(default_factory=dict)
    allowed: set[str] = field(default_factory=set)
    disk_gb: int | None = None
    health: HealthSample | None = None
    gpu: GpuLoad | None = None
    rounds: deque[CheckRound] = field(default_factory=lambda: deque(maxlen=ROUNDS_KEPT))
    doubts: list[str] = field(default_factory=list)

    @property
    def state(self) -> DeploymentState:
        return self.channel.state

    @property
    def goes_on(self) -> bool:
        """Whether the next offer is taken by itself when this attempt fails."""
        return self.auto_failover and self.tries_left

    async def ask(self, note: str, remedy: Remedy | None = None) -> AfterFailure:
        """Until the user has chosen. note: how it is told. remedy: what there is to apply."""
        self.choice = asyncio.get_running_loop().create_future()
        try:
            await self.emit(ev.ChoiceAwaited(self.attempt, remedy))
            await self.note(note)
            choice = await self.choice
        finally:
            self.choice = None
        await self.emit(ev.ChoiceMade(self.attempt, choice.value))
        return choice

    def keep_round(self, checks: Sequence[Check]) -> None:
        """All checks have been made once more."""
        if checks:
            self.rounds.append(CheckRound(self.channel.clock(), tuple(checks)))

    async def emit(self, event: ev.Event) -> None:
        await self.channel.emit(event)

    async def enter(self, phase: Phase, detail: str = "") -> None:
        """Change the phase, unless it is the current one already."""
        if self.state.phase is not phase:
            await self.emit(ev.PhaseChanged(self.attempt, phase, detail))

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
