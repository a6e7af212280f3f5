"""Seeing to the guard on the machine of an attempt, while there is a connection to it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import replace
from datetime import timedelta

from gdl.domain import events as ev
from gdl.domain.clock import time_of_day
from gdl.domain.errors import GdlError, GuardEnded, SshError
from gdl.domain.guard import Guard, GuardStatus, end_words, words
from gdl.orchestrator.leasing.guards import Guards
from gdl.orchestrator.leasing.uninterrupted import uninterrupted
from gdl.orchestrator.machine import guard as program
from gdl.orchestrator.machine.connection import Machine
from gdl.settings import Settings

_TRY_AGAIN_S = 5.0
_NEAR_S = 300
_NEAR_SHARE = 0.8
"""When the end for want of requests is announced: at that share, and so many seconds before."""
_LAST_LOOK_S = 40.0
"""As long as the guard may take to end a server, and a little more."""
_AT_IT_S = 0.3


class Guarding:
    """Puts the guard there, tells it what changes and that somebody is connected, and tells the
    user what it will do. Nothing of it fails an attempt."""

    def __init__(self, machine: Machine, guards: Guards, settings: Settings) -> None:
        self._machine = machine
        self._dep = machine.deployment
        self._guards = guards
        self._settings = settings
        self._clock = machine.deployment.channel.clock
        self._told = ""
        """The settings that the guard has, as far as we know."""
        self._trouble = ""
        self._introduced = self._announced = False
        self._there = False
        """Whether a guard of this rental was put or seen on the machine."""
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Once the machine is connected; it goes on in the background until that is closed."""
        if self._settings.guard.enabled:
            self._task = self._machine.spawn(self._run())

    async def _run(self) -> None:
        await self._tell_what_cannot_be()
        if self._guards.ends not in ("machine", "server"):
            return
        while True:
            pause = program.LOOK_EVERY_S
            try:
                guard = await self._guards.wanted(self._dep, self._machine.rental)
                if guard is not None:
                    await self._round(guard)
                self._trouble = ""
            except GdlError as error:
                pause = _TRY_AGAIN_S
                if error.message != self._trouble and not isinstance(error, SshError):
                    await self._dep.note(f"no guard on the machine: {error.message}", "warning")
                self._trouble = error.message
            await asyncio.sleep(pause)

    async def _tell_what_cannot_be(self) -> None:
        dep, ends = self._dep, self._guards.ends
        asked = dep.spec.idle_minutes or dep.spec.unseen_hours
        if asked and ends not in ("machine", "server"):
            what = "its reserved time ends it" if ends else "only gdl-tui ends it"
            await dep.note(f"this machine cannot end itself: {what}", "warning")
        attempt = dep.state.attempt
        priced = attempt is not None and attempt.price_per_hour > 0
        if dep.spec.query.nodes > 1 and dep.spec.max_spend is not None and priced:
            await dep.note(
                "the guard ends the server of rank 0 alone: with no gdl-tui at work, those of the"
                " other machines run on until `gdl-tui destroy`",
                "warning",
            )
        if dep.spec.idle_minutes and not dep.engine.readiness.done:
            name = dep.engine.info.display_name
            await dep.note(
                f"{name} does not count its requests, so --idle has no effect", "warning"
            )

    # -- one look ----------------------------------------------------------------------------------

    async def _round(self, guard: Guard) -> None:
        machine = self._machine
        if guard.ends == "server" and not machine.rental.engine_port:
            return  # until then, another deployment's server may be found to run here
        work_dir = await machine.work_dir()
        status = await program.look(machine.link, work_dir, secrets.token_hex(8))
        if status is None or status.id != machine.rental.intent_id or not status.alive:
            if await self._ended_there(guard, status):
                return
            fresh = status is None or status.id != machine.rental.intent_id
            await uninterrupted(self._put(guard, work_dir, fresh=fresh))
            return
        self._there = True
        settings = self._settings_of(guard)
        if settings != self._told:
            # What it has counted itself is better than our clock, which may be wrong by now.
            await program.tell(machine.link, work_dir, settings)
            self._told = settings
        guard = replace(
            guard,
            installed=True,
            seen_at=self._clock(),
            idle_s=float(status.idle_s),
            survives=status.survives,
        )
        await self._guards.remember(machine.rental, guard)
        await self._tell_user(guard, status)

    async def _put(self, guard: Guard, work_dir: str, *, fresh: bool) -> None:
        """fresh: the machine has no key of this rental yet."""
        machine, key = self._machine, None
        if fresh or not guard.url:
            guard, key = await self._guards.with_way(machine.rental, guard)
        # What changes meanwhile, such as the server's port, is told at the next look.
        settings, now = self._settings_of(guard), self._settings_of(guard, self._billed(guard))
        self._there = True
        await program.put(machine.link, work_dir, now, key)
        self._told = settings
        guard = replace(guard, installed=True, seen_at=self._clock(), idle_s=0.0)
        await self._guards.remember(machine.rental, guard)
        if not self._introduced:
            self._introduced = True
            await self._dep.note(f"the guard on the machine: {words(guard, self._clock())}")

    def _settings_of(self, guard: Guard, billed_s: int = 0) -> str:
        readiness = self._dep.engine.readiness
        return program.settings_of(guard, self._machine.rental, readiness, billed_s)

    def _billed(self, guard: Guard) -> int:
        return int((self._clock() - guard.since).total_seconds())

    async def _tell_user(self, guard: Guard, status: GuardStatus) -> None:
        """Once for each stretch without a request, and once that it ends the machine."""
        limit_s = (guard.idle_minutes or 0.0) * 60
        left_s = limit_s - status.idle_s
        near = limit_s > 0 and left_s <= _NEAR_S and status.idle_s >= _NEAR_SHARE * limit_s
        if status.reason:
            near, left_s = True, 0.0
        if near and not self._announced:
            at = self._clock() + timedelta(seconds=max(left_s, 0.0))
            why = {
                "spend": "the spending limit is reached",
                "unseen": "nobody was connected",
            }.get(status.reason, f"no request for {status.idle_s // 60} min")
            what = "server" if guard.ends == "server" else "machine"
            text = f"{why}: the guard ends the {what} at {time_of_day(at)}"
            await self._dep.note(text, "warning")
            await self._dep.emit(ev.StopAnnounced(self._dep.attempt, at, text))
        self._announced = near

    # -- ends --------------------------------------------------------------------------------------

    async def _ended_there(self, guard: Guard, status: GuardStatus | None) -> bool:
        """Whether it has ended what ran on a machine that stays; journaled then."""
        over = (
            status is not None
            and status.id == self._machine.rental.intent_id
            and status.answer == "stopped"
            and status.reason
        )
        if not over or status is None:
            return False
        self._there = True
        if not guard.ended:
            at = self._clock() - timedelta(seconds=status.ago_s or 0)
            guard = replace(guard, ended=status.reason, ended_at=at)
            await self._guards.remember(self._machine.rental, guard)
        return True

    async def ended(self) -> GuardEnded | None:
        """What to say where the guard has ended the server, on a machine that stays; None where it
        has not, or nobody can say."""
        if self._guards.ends != "server" or not self._machine.connected:
            return None
        with contextlib.suppress(GdlError, TimeoutError):
            async with asyncio.timeout(_LAST_LOOK_S):
                guard = await self._guards.of(self._machine.rental)
                if guard is None:
                    return None
                work_dir = await self._machine.work_dir()
                status = await program.look(self._machine.link, work_dir)
                while status is not None and status.alive and status.reason:
                    # It is at it: its word comes once all that runs here has ended.
                    await asyncio.sleep(_AT_IT_S)
                    status = await program.look(self._machine.link, work_dir)
                if await self._ended_there(guard, status):
                    latest = await self._guards.of(self._machine.rental)
                    return GuardEnded(end_words(latest or guard), "deploy again")
        return None

    async def remove(self) -> None:
        """From a machine that stays: nothing of it is left behind. Raises SshError."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._guards.ends != "server" or not self._machine.connected:
            return
        if self._there:
            await program.remove(self._machine.link, self._machine.rental.work_dir)
