"""Deployments of the journal that do not run in this process, as far as somebody reads them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gdl.domain.errors import UsageError
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.event_channel import EventChannel


class PastDeployments:
    def __init__(self, journal: Journal, clock: Callable[[], datetime]) -> None:
        self._journal = journal
        self._clock = clock
        self._channels: dict[str, EventChannel] = {}

    def known(self, deployment_id: str) -> EventChannel:
        """One that was read before. Raises UsageError."""
        if deployment_id not in self._channels:
            raise UsageError(
                f"no deployment {deployment_id}", "`gdl-tui sessions` lists what there is"
            )
        return self._channels[deployment_id]

    async def channel(self, deployment_id: str) -> EventChannel:
        """Raises UsageError for one that the journal does not have."""
        if deployment_id not in self._channels:
            history = await self._journal.events(deployment_id)
            if history:
                self._channels[deployment_id] = EventChannel.replay(
                    deployment_id, history, self._journal, self._clock
                )
        return self.known(deployment_id)

    def forget(self, deployment_id: str) -> None:
        """It runs in this process from now on."""
        self._channels.pop(deployment_id, None)
