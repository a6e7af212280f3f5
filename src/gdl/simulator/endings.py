"""How sessions of the simulated service end: by request, by themselves, by the service's checks.

As the real service does it, whose word about an end can be wrong: see the fault models
`DestroyFails`, `SlowCreate` and `Refused.made`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from gdl.simulator import fault_models
from gdl.simulator.inventory import Inventory
from gdl.simulator.key_pool import Keys
from gdl.simulator.rented_session import Rented
from gdl.simulator.timing import Timing
from gdl.simulator.wire_format import Refusal

_TRIES = 10
"""Of the marketplace's destroy, in one request for an end."""
STUCK = "Session stuck in stopping state - manual cleanup may be required"
NEVER_READY = "Session stuck in provisioning state - provisioning timeout"

Pause = Callable[[float], Awaitable[None]]
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Endings:
    """pause: for simulated seconds. spawn: starts a task that ends with the market."""

    def __init__(
        self,
        timing: Timing,
        keys: Keys,
        inventory: Inventory,
        pause: Pause,
        spawn: Spawn,
        speed: float,
    ) -> None:
        self._timing = timing
        self._keys = keys
        self._inventory = inventory
        self._pause = pause
        self._spawn = spawn
        self._speed = speed

    # -- what really happens -------------------------------------------------------------------

    async def end(self, session: Rented, status: str, error: str = "") -> None:
        """The machine goes, then the state says so. Waits for whoever ends it already."""
        async with session.ending:
            if session.terminal and not session.rented:
                return
            await self._machine_goes(session)
            session.status, session.error = status, error or session.error
            session.ended = datetime.now(UTC)

    async def _machine_goes(self, session: Rented) -> None:
        if session.machine is not None:
            await session.machine.aclose()
            session.machine = None
        if session.key is not None:
            self._keys.put_back(session.key)
            session.key = None
        session.rented = session.instance_known = False

    def _refused(self, session: Rented) -> bool:
        """One try of the marketplace's destroy: whether it fails."""
        fault = session.faults.first(fault_models.DestroyFails)
        if fault is None or (fault.times and session.destroy_tries >= fault.times):
            return False
        session.destroy_tries += 1
        return True

    def forgotten(self, session: Rented) -> None:
        """The machine is there, and the service does not know: its sweep may find that."""
        session.instance_known = False
        if self._timing.sweep:
            self._spawn(self._sweep(session))

    async def _sweep(self, session: Rented) -> None:
        while session.rented:
            await self._pause(self._timing.sweep)
            if not self._refused(session):
                async with session.ending:
                    await self._machine_goes(session)

    # -- a request for the end -----------------------------------------------------------------

    async def destroy(self, session: Rented) -> None:
        """Raises Refusal. Cancelled: the session stays `stopping`, and its machine stays."""
        # One at a time: who asks again meanwhile waits for the first.
        async with session.destroying:
            if session.status == "failed":
                await self.forget(session)
            elif not session.terminal and session.status != "stopping":
                await self._destroy(session)
            # One that is `stopping` is left alone: somebody has asked for its end already.

    async def _destroy(self, session: Rented) -> None:
        was, error = session.status, session.error
        session.status = "stopping"
        self.watch(session)
        if session.life is not None:
            session.life.cancel()
            await asyncio.gather(session.life, return_exceptions=True)
        if was == "provisioning" and session.instance_known:
            reason = "instance not found during SSH verification"
            self._inventory.note_failure(session.offer, "instance_vanished", reason)
        if session.instance_known:
            await self._verified(session)
        # From here on it goes through: what was begun at the provider cannot be undone.
        await asyncio.shield(self._spawn(self._stopped(session, error)))

    async def _verified(self, session: Rented) -> None:
        """The marketplace's destroy, until the machine is seen to be gone."""
        for _ in range(_TRIES):
            if not self._refused(session):
                await self._pause(self._timing.destroy)
                return
            await self._pause(self._timing.destroy_tries / _TRIES)
        raise Refusal(
            500,
            f"failed to verify destruction of session {session.id} after {_TRIES} attempts",
        )

    async def _stopped(self, session: Rented, error: str) -> None:
        async with session.ending:
            if session.instance_known:
                await self._machine_goes(session)
            # As it was when the request came, whatever a check has written meanwhile.
            session.status, session.error = "stopped", error
            session.ended = datetime.now(UTC)

    # -- what the service does by itself -------------------------------------------------------

    def watch(self, session: Rented) -> None:
        """The check of every minute: a session that is on its way and old has failed, however long
        it has been on its way."""
        self._spawn(self._check(session, session.status))

    async def _check(self, session: Rented, status: str) -> None:
        old = session.created + timedelta(seconds=self._timing.stuck / self._speed)
        while session.status == status:
            if datetime.now(UTC) > old:
                error = STUCK if status == "stopping" else NEVER_READY
                session.status, session.error = "failed", error
                session.ended = datetime.now(UTC)
                self._spawn(self._cleaned_up(session))
                return
            await self._pause(self._timing.check)

    async def failed(self, session: Rented, error: str) -> None:
        """The service gives a session up. It tries to end the machine, and does not look."""
        if self._refused(session):
            session.status, session.error = "failed", error
            session.ended = datetime.now(UTC)
        else:
            await self.end(session, "failed", error)
        await self._cleaned_up(session)

    async def _cleaned_up(self, session: Rented) -> None:
        await self._pause(self._timing.failed)
        async with session.destroying:
            await self.forget(session)

    async def forget(self, session: Rented) -> None:
        """A failed session: one try to end its machine, and whatever comes of it, the session is
        over and its error stays."""
        if session.status != "failed":
            return
        if session.instance_known:
            if self._refused(session):
                self.forgotten(session)
            else:
                async with session.ending:
                    await self._machine_goes(session)
        session.status = "stopped"
