"""One deployment while it runs: its channel, its task, and what the user decides meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState
from gdl.domain.models import DeploymentSpec, Exclusion
from gdl.engines.base import Model
from gdl.journal.store import Rental
from gdl.orchestrator.bus import Channel
from gdl.ssh.link import Link


@dataclass(slots=True)
class Deployment:
    """`decision` is set while the deployment holds ("release" or "keep" resolve it), `choice`
    while a failed attempt waits ("retry", "next" or "exclude" resolve it).

    exclusions: by (kind, key), those of this deployment. allowed: providers the user brought back,
    whatever speaks against them. doubts: sessions that ended by themselves in a way that proves
    nothing about their machine. adopted: the machine of this attempt was rented by a process that
    is gone.
    """

    id: str
    spec: DeploymentSpec
    model: Model
    channel: Channel
    log_dir: Path
    task: asyncio.Task[None] | None = None
    decision: asyncio.Future[str] | None = None
    choice: asyncio.Future[str] | None = None
    cancelling: bool = False
    rental: Rental | None = None
    link: Link | None = None
    attempt: int = 0
    auto_failover: bool = True
    adopted: bool = False
    exclusions: dict[tuple[str, str], Exclusion] = field(default_factory=dict)
    allowed: set[str] = field(default_factory=set)
    doubts: list[str] = field(default_factory=list)

    @property
    def state(self) -> DeploymentState:
        return self.channel.state

    async def emit(self, event: ev.Event) -> None:
        await self.channel.emit(event)

    async def enter(self, phase: ev.Phase, detail: str = "") -> None:
        """Change the phase, unless it is the current one already."""
        if self.state.phase is not phase:
            await self.emit(ev.PhaseChanged(self.attempt, phase, detail))

    async def note(self, text: str, level: str = "info") -> None:
        await self.emit(ev.Noted(level, text))

    async def progress(self, text: str, fraction: float | None = None) -> None:
        await self.emit(ev.Progressed(self.attempt, text, fraction))
