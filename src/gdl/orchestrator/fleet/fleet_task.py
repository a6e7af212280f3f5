"""One fleet from its first replica to its last word: what it has is made to match what is wished,
again and again."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from gdl.domain import fleet_events as fe
from gdl.domain.benchmark import BenchReport
from gdl.domain.errors import DeployError, GdlError, ReleaseUnconfirmed, of_kind
from gdl.domain.event import Event
from gdl.domain.fleet import FleetState, Replica
from gdl.domain.fleet_matching import next_step
from gdl.domain.fleet_orders import Change, End, FleetOrder, Scale, releases
from gdl.domain.phase import Billing
from gdl.journal import fleets
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.siblings import Siblings
from gdl.orchestrator.fleet.admission import of_no_use
from gdl.orchestrator.fleet.channel import FleetChannel
from gdl.orchestrator.fleet.replacing import Replacing
from gdl.orchestrator.fleet.replicas import ENDS, Replicas
from gdl.orchestrator.fleet.router import Router
from gdl.orchestrator.run.internal_error import internal_error

_LOOK_S = 0.25
"""Between two looks at the replicas. Their own health is looked at about as often."""
_ORDERS_S = 0.5
_MOST_UNROUTED = 4
"""Ends of a router that never ran, at two ports: machines without an address are of no use."""
_NOTHING_MORE = frozenset({"no_suitable_offer", "spend_limit"})


class FleetTask:
    """`run` ends when the fleet has. bench: measures it through its router. log_dir: for what must
    not have happened."""

    def __init__(
        self,
        channel: FleetChannel,
        replicas: Replicas,
        router: Router,
        siblings: Siblings,
        journal: Journal,
        bench: Callable[[], Awaitable[BenchReport]],
        log_dir: Path,
    ) -> None:
        self._channel = channel
        self._replicas = replicas
        self._router = router
        self._siblings = siblings
        self._journal = journal
        self._bench = bench
        self._log_dir = log_dir
        self._replacing = Replacing()
        self._woken = asyncio.Event()
        self._orders_at = 0.0
        self._after_task: asyncio.Task[None] | None = None
        self._one_more = True
        self._kept: set[str] = set()
        self._unrouted = 0
        self._error: GdlError | None = None
        """Why it ends, if that is no wish."""

    @property
    def state(self) -> FleetState:
        return self._channel.state

    def wake(self) -> None:
        self._woken.set()

    async def run(self, port: int) -> None:
        self._adopt_limits()
        try:
            await self._router.begin(port, self._told)
            self._replicas.begin()
            # All begin before the first one can fail: its failure alone is no end.
            await self._match()
            while self.state.ending is None:
                await self._round()
                await self._pause()
        except Exception as error:
            self._error = await internal_error(self._log_dir, error, traceback.format_exc())
        finally:
            await self._end()

    async def _told(self, event: Event) -> None:
        await self._channel.emit(event)
        if isinstance(event, fe.RouterEnded) and not self.state.endpoint:
            self._unrouted += 1
            if self._unrouted == _MOST_UNROUTED:
                why = event.reason.removeprefix("the router ")
                log = self._log_dir / "router.log"
                hint = f"look at {log}; correct fleet.program, or name the other one with --router"
                await self._stop(DeployError(f"the router does not start: it {why}", hint))
        self.wake()

    async def _pause(self) -> None:
        """Until something is new, or it is time to look again."""
        try:
            async with asyncio.timeout(_LOOK_S):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    # -- a round ---------------------------------------------------------------------------------

    async def _round(self) -> None:
        await self._take_orders()
        for ended in await self._replicas.look():
            await self._replica_ended(ended)
        self._replicas.raise_defects()
        for error in self._replicas.take_not_begun():
            self._failed(error)
        for replica in self.state.live:
            if replica.refused and not replica.leaving:
                await self._channel.emit(fe.ReplicaLeaving(replica.id, replica.refused))
                self._siblings.refused(replica.id, replica.refused, self._channel.clock())
                self._failed(of_no_use(replica.refused))
            if replica.leaving or replica.refused:
                self._replicas.release(replica, drain=not replica.refused)
        if self.state.ending is None:
            await self._match()
            await self._tell()

    async def _take_orders(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._orders_at:
            return
        self._orders_at = now + _ORDERS_S
        try:
            orders = await fleets.orders(self._journal, self.state.fleet_id, self.state.last_order)
        except GdlError:
            return  # a journal that cannot be read now is read again
        for number, order in orders:
            await self._take_order(number, order)

    async def _take_order(self, number: int, order: FleetOrder) -> None:
        state = self.state
        assert state.spec is not None
        if state.ending is not None and not releases(order):
            return  # what was to be released is not kept, and nothing grows any more
        match order:
            case Scale():
                await self._channel.emit(fe.FleetScaled(order.replicas, number))
            case Change():
                generation = state.generation + bool(order.replaces)
                await self._channel.emit(fe.FleetChanged(order.of(state.spec), generation, number))
                self._one_more = True
            case End():
                await self._channel.emit(fe.FleetEnding(order.keep, "as ordered", number))
        self._replacing.begin_again()
        self._adopt_limits()

    def _adopt_limits(self) -> None:
        state, siblings = self.state, self._siblings
        assert state.spec is not None
        siblings.max_price = state.spec.replica.query.max_price
        siblings.max_spend = state.spec.replica.max_spend
        siblings.spread = state.spec.spread_markets

    async def _match(self) -> None:
        state = self.state
        step = next_step(state, self._replicas.starting, one_more=self._one_more)
        for ident in step.leave:
            await self._channel.emit(fe.ReplicaLeaving(ident, step.reason))
            self._replicas.release(self.state.replicas[ident], drain=True)
        if step.start and self._replacing.may_start(any_live=self._any_live):
            self._replicas.start(step.start, step.instead_of)

    @property
    def _any_live(self) -> bool:
        return bool(self._replicas.starting) or any(r.counts for r in self.state.live)

    # -- failures --------------------------------------------------------------------------------

    async def _replica_ended(self, ended: fe.ReplicaEnded) -> None:
        replica = self.state.replicas[ended.replica]
        if ended.outcome == "serving":
            await self._left_serving(ended)
            return
        if replica.leaving or replica.refused:
            return
        error = of_kind(ended.kind, ended.reason, ended.hint)
        deployment = self._replicas.deployment(ended.replica)
        if deployment is not None and deployment.over_limit is not None:
            by_guard = ended.kind == "guard_ended"
            await self._one_less(ended.reason, error) if by_guard else await self._stop(error)
        elif not ended.kind:
            await self._one_less("a replica was ended by itself", None)
        elif replica.served:
            self._replacing.begin_again()
        else:
            self._failed(error)

    def _failed(self, error: GdlError) -> None:
        self._replacing.failed(error)
        outdated = any(r.generation < self.state.generation for r in self.state.serving)
        several = self.state.wanted > 1
        if outdated and several and self._one_more and error.kind in _NOTHING_MORE:
            # Nothing to be had beside those that serve: one of them is released first. What fails
            # after that waits longer each time, as ever.
            self._one_more = False
            self._replacing.begin_again()

    async def _one_less(self, why: str, error: GdlError | None) -> None:
        """Somebody else has ended a replica on purpose."""
        left = self.state.wanted - 1
        if left == 0:
            await self._stop(error, why)
            return
        await self._channel.emit(fe.FleetScaled(left, reason=why))
        self._adopt_limits()

    async def _left_serving(self, ended: fe.ReplicaEnded) -> None:
        """Its user has left it to itself: it belongs no more to what is served here."""
        self._kept.add(ended.replica)
        why = "a replica was left serving"
        if self.state.wanted > 1:
            await self._one_less(why, None)
        elif self.state.ending is None:
            # Whoever goes on with the fleet goes on with all that were left.
            await self._channel.emit(fe.FleetScaled(len(self._kept), reason=why))
            await self._channel.emit(fe.FleetEnding(True, "each was left serving"))

    async def _stop(self, error: GdlError | None, why: str = "") -> None:
        if self.state.ending is None:
            self._error = error
            why = why or (error.message if error is not None else "")
            await self._channel.emit(fe.FleetEnding(False, why))

    # -- what is told, and what comes after -----------------------------------------------------

    async def _tell(self) -> None:
        state = self.state
        serving, last = len(state.serving), self._replacing.last
        outdated = any(r.generation < state.generation for r in state.live)
        there = serving >= state.wanted and not outdated and not self._replicas.starting
        there = there and bool(state.endpoint)  # else there is nowhere to ask them
        if there and (not state.reached or state.short is not None):
            self._replacing.begin_again()
            await self._channel.emit(fe.FleetServing(serving))
        final = self._replacing.final(any_live=self._any_live)
        if last is not None and not there:
            short = fe.FleetShort(serving, state.wanted, last.kind, last.message, last.hint, final)
            if short != state.short:
                await self._channel.emit(short)
        if final and last is not None:
            assert state.spec is not None
            if not self._any_live or (state.spec.if_short == "release" and not self._coming):
                await self._stop(last)
                return
        if there or (final and serving and not self._coming):
            await self._after(last if not there else None)

    @property
    def _coming(self) -> bool:
        """Whether a replica is on its way to serve."""
        return bool(self._replicas.starting) or any(
            r.counts and not r.taken_in for r in self.state.live
        )

    async def _after(self, short: GdlError | None) -> None:
        """It serves, with all that could be had: measure it once, and end it where that was asked.
        short: why it is fewer than wished."""
        spec = self.state.spec
        assert spec is not None
        if self._after_task is None:
            self._after_task = asyncio.create_task(self._measure(), name="fleet-benchmark")
        if self._after_task.done() and spec.replica.after != "hold":
            keep = spec.replica.after == "keep"
            self._error = short
            await self._channel.emit(fe.FleetEnding(keep, f"--{spec.replica.after}"))

    async def _measure(self) -> None:
        assert self.state.spec is not None
        if not self.state.spec.replica.bench or self.state.benchmark is not None:
            return
        try:
            await self._channel.emit(fe.FleetBenchmarked(await self._bench()))
        except GdlError as error:
            await self._channel.note(f"not measured: {error.message}; {error.hint}", "warning")
        finally:
            self.wake()

    # -- the end ---------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Everything is released, or kept where that was asked for; and the last word."""
        if self._after_task is not None:
            self._after_task.cancel()
            await asyncio.gather(self._after_task, return_exceptions=True)
        if self.state.ending is None:
            why = self._error.message if self._error is not None else "it is given up"
            await self._channel.emit(fe.FleetEnding(False, why))
        try:
            while self.state.live or self._replicas.busy:
                await self._take_orders()  # what was to be kept may be to be released now
                keep = self.state.ending is not None and self.state.ending.keep
                ended = await self._replicas.look()
                self._kept |= {end.replica for end in ended if end.outcome == "serving"}
                for replica in self.state.live:
                    await self._let_go(replica, keep=keep)
                await self._pause()
        finally:
            await self._replicas.aclose()
            await self._router.aclose()
        await self._channel.emit(self._last_word())

    async def _let_go(self, replica: Replica, *, keep: bool) -> None:
        # One that gets no requests for a moment serves all the same.
        if keep and replica.counts and self._replicas.keep(replica):
            self._kept.add(replica.id)
            return
        self._kept.discard(replica.id)
        if not replica.leaving:
            await self._channel.emit(fe.ReplicaLeaving(replica.id, ENDS))
        self._replicas.release(replica, drain=False)

    def _last_word(self) -> fe.FleetFinished:
        state, error = self.state, self._error
        ends = [r.ended for r in state.replicas.values() if r.ended is not None]
        serving = [end for end in ends if end.outcome == "serving" and end.replica in self._kept]
        doubts = state.doubts
        billing = Billing.UNKNOWN if doubts else Billing.ACTIVE if serving else Billing.RELEASED
        if doubts:
            error = ReleaseUnconfirmed(
                f"the end of {', '.join(doubts)} is not proven: it may still be billing",
                "`gdl-tui sessions` shows what is rented, `gdl-tui destroy ID` ends it",
            )
        outcome = "serving" if serving else "released"
        if error is not None and error.kind not in ("spend_limit", "guard_ended"):
            outcome = "failed" if not serving else outcome
        return fe.FleetFinished(
            outcome,
            billing,
            round(state.ended_cost, 6),
            None if error is None else error.message,
            None if error is None else error.hint,
            "" if error is None else error.kind,
        )
