"""The replicas of a fleet whose process is gone, or that was left serving, made this process's."""

from __future__ import annotations

import asyncio
from functools import partial

from gdl.domain import fleet_events as fe
from gdl.domain.backoff import Backoff
from gdl.domain.deployment import DeploymentState, replayed
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.spec import Membership
from gdl.journal import fleets
from gdl.journal.store import Journal
from gdl.orchestrator.fleet.channel import FleetChannel
from gdl.orchestrator.fleet.replicas import PROVEN, Destroy
from gdl.orchestrator.leasing import process_liveness
from gdl.orchestrator.run.registry import DeploymentRegistry

_AGAIN_S = (2.0, 30.0)
_TRIES = 20
"""For a backend that is away: some eight minutes."""


class Resuming:
    """Goes on with each of them by itself. One that cannot be gone on with now is asked for again,
    and counts meanwhile: nothing is rented in its place."""

    def __init__(
        self,
        channel: FleetChannel,
        registry: DeploymentRegistry,
        journal: Journal,
        destroy: Destroy,
    ) -> None:
        self._channel = channel
        self._registry = registry
        self._journal = journal
        self._destroy = destroy
        self._siblings = registry.siblings(channel.id)
        self._states: dict[str, DeploymentState] = {}
        """Of all that had not ended, or were left serving, as the journal has them."""
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Returns once each is gone on with, or its first try has failed."""
        for replica in self._channel.state.serving:
            await self._channel.emit(fe.ReplicaTakenOut(replica.id, "its process is gone"))
        begun: list[tuple[str, int]] = []
        for ident in await fleets.members(self._journal, self._channel.id):
            known = self._channel.state.replicas.get(ident)
            ended = None if known is None else known.ended
            if ended is not None and ended.outcome != "serving":
                continue
            state = replayed(ident, await self._journal.events(ident))
            self._states[ident] = state
            if ended is not None and await self._open_rental(ident) is None:
                continue  # released since, or its machine was gone on with by another replica
            member = None if state.spec is None else state.spec.member
            generation = member.generation if member is not None else 1
            if known is None or ended is not None:
                # Its process ended before the fleet's own events could tell of it; or it was left
                # serving, and counts from now on, whether or not it can be gone on with at once.
                await self._channel.emit(fe.ReplicaStarted(ident, generation))
            begun.append((ident, generation))
            self._siblings.waits(ident, partial(self._states.__getitem__, ident))
        self._siblings.spent_before = self._channel.state.ended_cost
        first: list[asyncio.Future[None]] = []
        for ident, generation in begun:
            tried: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            first.append(tried)
            work = self._take_up(ident, self._states[ident], generation, tried)
            self._tasks.append(asyncio.create_task(work, name=f"resume {ident}"))
        if first:
            await asyncio.wait(first)

    async def _take_up(
        self, ident: str, state: DeploymentState, generation: int, tried: asyncio.Future[None]
    ) -> None:
        try:
            for number, pause in enumerate(Backoff(*_AGAIN_S), 1):
                try:
                    await self._go_on(ident, state, generation)
                    return
                except UsageError as error:
                    await self._give_up(ident, state, error)
                    return
                except GdlError as error:
                    ending = self._channel.state.ending
                    if ending is not None and ending.keep and _left_serving(state):
                        await self._channel.emit(self._left(ident, state))
                        return
                    if number == _TRIES or ending is not None:
                        await self._give_up(ident, state, error)
                        return
                    if number == 1:
                        text = f"{ident} cannot be continued yet: {error.message}"
                        await self._channel.note(text, "warning")
                if not tried.done():
                    tried.set_result(None)
                await asyncio.sleep(pause)
        finally:
            if not tried.done():
                tried.set_result(None)

    async def _go_on(self, ident: str, state: DeploymentState, generation: int) -> None:
        """Raises UsageError when there is nothing to go on with, GdlError when that cannot be known
        now."""
        row = await self._journal.deployment(ident)
        if row is not None and process_liveness.runs(row):
            raise UsageError("another gdl-tui is running it", "it is no longer part of the fleet")
        rental = await self._open_rental(ident)
        if row is None or row.outcome != "serving":
            await self._registry.resume(ident)
            await self._channel.emit(fe.ReplicaStarted(ident, generation))
            return
        if rental is None or rental.session_id is None:
            raise UsageError("nothing of it is serving any more", "")
        member = Membership(self._channel.id, generation, self._channel.state.api_key_file)
        new = await self._registry.attach(rental.session_id, member=member)
        self._siblings.gone_on_with(new, rental)
        # All that this machine costs is told by the one that has it now.
        left = [
            self._left(each, known, but=rental.session_id)
            for each, known in self._states.items()
            if known.attempt is not None and known.attempt.session_id == rental.session_id
        ]
        await self._channel.emit(*left, fe.ReplicaStarted(new, generation, instead_of=ident))

    def _left(self, ident: str, state: DeploymentState, *, but: str = "") -> fe.ReplicaEnded:
        """Its machine serves on without it. but: a session whose cost is not its own any more."""
        now = self._channel.clock()
        cost = round(sum(a.cost(now) for a in state.attempts if a.session_id != but), 6)
        session_id = state.attempt.session_id if state.attempt is not None else None
        known = self._channel.state.replicas[ident].ended
        self._siblings.settled(ident, cost - (0.0 if known is None else known.cost))
        return fe.ReplicaEnded(ident, "serving", Billing.ACTIVE, cost=cost, session_id=session_id)

    async def _open_rental(self, ident: str) -> Rental | None:
        found = [r for r in await self._journal.rentals() if r.deployment_id == ident and r.open]
        return found[0] if found else None

    async def _give_up(self, ident: str, state: DeploymentState, error: GdlError) -> None:
        """What it has rented is released all the same."""
        billing, rental = Billing.RELEASED, await self._open_rental(ident)
        if rental is not None:
            billing = Billing.UNKNOWN
            if rental.session_id is not None:
                try:
                    await self._destroy(rental.session_id)
                    billing = Billing.RELEASED
                except GdlError as trouble:
                    await self._channel.note(f"{ident}: {trouble.message}", "error")
        outcome = state.finished.outcome if state.finished is not None else "interrupted"
        if _left_serving(state):
            outcome = "failed"  # it is not left any more
        cost = round(state.cost(self._channel.clock()), 6)
        if billing in PROVEN:
            self._siblings.settled(ident, cost)
        if self._channel.state.replicas[ident].ended is None:
            end = fe.ReplicaEnded(
                *(ident, outcome, billing, error.kind, error.message, error.hint, cost)
            )
            await self._channel.emit(end)

    async def aclose(self) -> None:
        """Those that are still asked for are given up at their next try."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _left_serving(state: DeploymentState) -> bool:
    return state.finished is not None and state.finished.outcome == "serving"
