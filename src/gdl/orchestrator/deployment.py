"""One deployment while it runs: its channel, its task, and what the user decides meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState
from gdl.domain.models import DeploymentSpec
from gdl.engines.base import Model
from gdl.journal.store import Rental
from gdl.orchestrator.bus import Channel
from gdl.ssh.link import Link


@dataclass(slots=True)
class Deployment:
    """`decision` is set while the deployment holds ("release" or "keep" resolve it), `choice`
    while a failed attempt waits ("retry", "next" or "exclude" resolve it)."""

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
    excluded_offers: dict[str, str] = field(default_factory=dict)
    excluded_providers: dict[str, str] = field(default_factory=dict)
    excluded_machines: dict[str, str] = field(default_factory=dict)

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
