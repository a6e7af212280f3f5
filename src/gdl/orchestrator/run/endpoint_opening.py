"""The endpoint of an attempt, opened beside other work: it is there when the server is."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from gdl.domain import events as ev
from gdl.domain.errors import GdlError
from gdl.domain.secret import Secret
from gdl.orchestrator.endpoint.served_endpoint import Endpoint
from gdl.orchestrator.machine.connection import Machine
from gdl.settings import Settings


class EndpointOpening:
    """endpoint: once it is open."""

    def __init__(self, machine: Machine, settings: Settings) -> None:
        self._machine = machine
        self._settings = settings
        self._task: asyncio.Task[ev.TunnelOpened] | None = None
        self._made: Endpoint | None = None
        self.endpoint: Endpoint | None = None

    def begin(self, api_key: Secret) -> None:
        """Returns at once; once the server's port is settled. Nothing of it is done twice."""
        if self._task is None:
            self._task = asyncio.create_task(self._open(api_key), name="open-endpoint")
            # Nobody may come to wait for it; whoever does is told.
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def done(self, api_key: Secret) -> ev.TunnelOpened:
        """Until it is open. Raises SshError; it is opened anew by the next call then."""
        if self._task is not None and self._task.done() and self._task.exception() is not None:
            await self.aclose()  # the way may have been cut then, and stand again
        self.begin(api_key)
        assert self._task is not None
        try:
            opened = await asyncio.shield(self._task)
        except GdlError:
            await self.aclose()
            raise
        self.endpoint = self._made
        return opened

    async def _open(self, api_key: Secret) -> ev.TunnelOpened:
        rental, dep = self._machine.rental, self._machine.deployment
        self._made = Endpoint(
            self._machine.link, rental.engine_port, api_key, self._settings, dep.engine.readiness
        )
        opened = await self._made.open()
        return replace(opened, attempt=dep.attempt, api_key_file=rental.api_key_file)

    async def aclose(self) -> None:
        """Idempotent."""
        task, self._task = self._task, None
        made, self._made = self._made, None
        self.endpoint = None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if made is not None:
            with contextlib.suppress(GdlError):
                await made.aclose()
