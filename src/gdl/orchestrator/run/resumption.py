"""Deployments whose process is gone: which there are, and how one becomes this process's."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState, replayed
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.events import Recorded
from gdl.domain.guard import end_words
from gdl.domain.id_matching import matching
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.engines.base import EngineResolver
from gdl.journal import guards
from gdl.journal.claims import claim_deployment
from gdl.journal.store import DeploymentRow, Journal
from gdl.orchestrator.api.views import ResumableDeployment
from gdl.orchestrator.deployment.context import Deployment, Doubt
from gdl.orchestrator.deployment.event_channel import EventChannel
from gdl.orchestrator.deployment.exclusions import restore
from gdl.orchestrator.deployment.rental_record import RentalRecord
from gdl.orchestrator.deployment.siblings import Siblings
from gdl.orchestrator.leasing import process_liveness
from gdl.orchestrator.leasing.deployed_model import checked
from gdl.orchestrator.leasing.markets import Markets
from gdl.orchestrator.leasing.model_lookup import ModelLookup
from gdl.orchestrator.leasing.requirements import as_planned
from gdl.orchestrator.run.resumed import ENDINGS, Resumed, where_it_stands
from gdl.settings import Settings

_NO_END = ("", "interrupted")


@dataclass(frozen=True, slots=True)
class Interrupted:
    """rentals: all that the journal has of it, newest first. rental: what is open of the current
    attempt."""

    row: DeploymentRow
    history: tuple[Recorded, ...]
    state: DeploymentState
    rentals: tuple[Rental, ...]

    @property
    def rental(self) -> Rental | None:
        return next((r for r in self._of_attempt if r.open), None)

    @property
    def closed(self) -> Rental | None:
        """What the current attempt had rented, when that is over."""
        return next((r for r in self._of_attempt if not r.open), None)

    @property
    def _of_attempt(self) -> list[Rental]:
        number = self.state.attempt.number if self.state.attempt is not None else 0
        return [r for r in self.rentals if r.attempt == number]

    @property
    def backend(self) -> str:
        """Of what the events tell that name none: then there was one."""
        rental = self.rental or self.closed
        return rental.backend if rental is not None else self.row.backend

    @property
    def session_id(self) -> str | None:
        rental = self.rental
        return rental.session_id if rental is not None else None


class Resumptions:
    def __init__(
        self,
        markets: Markets,
        engines: EngineResolver,
        journal: Journal,
        settings: Settings,
        clock: Callable[[], datetime],
        lookup: ModelLookup,
    ) -> None:
        self._markets = markets
        self._engines = engines
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._lookup = lookup

    # -- finding ---------------------------------------------------------------------------------

    async def rows(self) -> list[ResumableDeployment]:
        """Those with something rented, or asked for, that nobody works on; newest first. Asks the
        backend whether the machines are there, and lists those of which it cannot tell."""
        return [
            self._row(each)
            for each in await self._with_machines()
            if not await self._over(each.rental)
        ]

    async def _with_machines(self) -> list[Interrupted]:
        rentals = await self._mine()
        wanted = {r.deployment_id for r in rentals if r.open}
        found = []
        for row in await self._journal.deployments():
            if row.id in wanted and row.outcome in _NO_END and not process_liveness.runs(row):
                each = await self._read(row, rentals)
                if each.state.finished is None and not await self._in_hand(each):
                    found.append(each)
        return found

    async def find(self, ident: str) -> Interrupted:
        """By its id, its session's id, or the beginning of one. Raises UsageError for none, or one
        that cannot be resumed."""
        rentals = await self._mine()
        known = await guards.known(self._journal)
        by_guard = {ident for ident, guard in known.items() if guard.ended}
        named = [r for r in reversed(rentals) if r.open or r.intent_id in by_guard]
        sessions = {r.deployment_id: r.session_id for r in named}
        rows = await self._journal.deployments()
        found = matching(ident, rows, lambda row: (row.id, sessions.get(row.id)))
        if len(found) != 1:
            what = "several deployments" if found else "no deployment"
            raise UsageError(f"{ident} names {what}", "`gdl-tui resume` lists what can be resumed")
        row = found[0]
        if not self._in_reach(row, rentals):
            raise UsageError(
                f"deployment {row.id} is on the {row.backend} backend",
                f"add --backend {row.backend}",
            )
        if process_liveness.runs(row):
            raise UsageError(
                f"deployment {row.id} is running in another gdl-tui (pid {row.owner_pid})",
                "wait for it, or end that program first",
            )
        each = await self._read(row, rentals)
        await self._refuse(each)
        return each

    async def _refuse(self, each: Interrupted) -> None:
        row, state = each.row, each.state
        if state.finished is not None or row.outcome not in _NO_END:
            outcome = state.finished.outcome if state.finished is not None else row.outcome
            if row.outcome in _NO_END and state.finished is not None:
                await self._journal.set_outcome(row.id, outcome, 0)
            raise UsageError(
                f"deployment {row.id} has ended ({outcome})",
                "`gdl-tui attach` reaches what was left serving; otherwise deploy again",
            )
        rented = state.attempt.session_id if state.attempt is not None else None
        elsewhere = rented is not None and rented not in {r.session_id for r in each.rentals}
        if state.spec is None or elsewhere or await self._in_hand(each):
            raise UsageError(
                f"deployment {row.id} no longer has a machine of its own",
                f"`gdl-tui attach {rented}` if that one serves" if rented else "deploy again",
            )

    async def _mine(self) -> list[Rental]:
        return await self._markets.rentals()

    def _in_reach(self, row: DeploymentRow, rentals: list[Rental]) -> bool:
        """Whether what it has rented is on a backend of this run; without anything, whether all of
        its own are."""
        if any(r.deployment_id == row.id and r.open for r in rentals):
            return True
        names = row.backend.split(",")
        return all(self._markets.get(name) is not None for name in names)

    async def _read(self, row: DeploymentRow, rentals: list[Rental]) -> Interrupted:
        history = tuple(await self._journal.events(row.id))
        own = tuple(r for r in rentals if r.deployment_id == row.id)
        return Interrupted(row, history, replayed(row.id, history), own)

    async def _in_hand(self, each: Interrupted) -> bool:
        """Whether another deployment works on its machine, or left it serving on purpose."""
        holders = await self._journal.holders(each.session_id) if each.session_id else []
        others = [h for h in holders if h.id != each.row.id]
        return any(process_liveness.holds(h) for h in others)

    async def _over(self, rental: Rental | None) -> bool:
        if rental is None or rental.session_id is None:
            return False
        try:
            backend = self._markets.of(rental.backend).backend
            return (await backend.session(rental.session_id)).terminal
        except GdlError:
            return False

    def _row(self, each: Interrupted) -> ResumableDeployment:
        state, attempt, rental = each.state, each.state.attempt, each.rental
        since = attempt.rented_at or attempt.started_at if attempt is not None else None
        return ResumableDeployment(
            deployment_id=each.row.id,
            model=state.served_name or each.row.model,
            asked_for=state.spec.model if state.spec is not None else each.row.model,
            phase=state.phase,
            session_id=each.session_id,
            provider=rental.provider if rental is not None else "",
            gpu_name=attempt.gpu_name if attempt is not None else "",
            gpu_count=attempt.gpu_count if attempt is not None else 0,
            price_per_hour=rental.price if rental is not None else 0.0,
            since=since or each.row.created_at,
            ending=_ends(state, rental),
            cost=round(state.cost(self._clock()), 6) if self._bills(each) else 0.0,
        )

    def _bills(self, each: Interrupted) -> bool:
        leasing = self._markets.get(each.backend)
        return self._markets.bill if leasing is None else leasing.bills

    # -- taking over -----------------------------------------------------------------------------

    async def take_over(
        self, each: Interrupted, *, ask_on_failure: bool, siblings: Siblings | None = None
    ) -> tuple[Deployment, Resumed | None]:
        """The deployment as this process's, and where it stands. Raises UsageError when another
        process was quicker, GdlError when the backend cannot be asked: then it stays as it is."""
        row, state = each.row, each.state
        assert state.spec is not None
        spec = replace(state.spec, ask_on_failure=ask_on_failure)
        engine = self._engines(spec.engine)
        # As it was known: what the hub says by now must not end what serves.
        model = self._lookup.kept(engine, spec.model)
        model = checked(engine, spec, model, as_planned(self._settings, spec))
        if each.rental is not None:
            # Before it is ours, as without an answer nothing goes on.
            await self._markets.of(each.rental.backend).backend.sessions()
        mark = process_liveness.claim_mark(os.getpid(), self._clock())
        if not await claim_deployment(self._journal, row, os.getpid(), mark):
            raise UsageError(
                f"another gdl-tui has just taken over deployment {row.id}", "wait for that one"
            )
        deployment = Deployment(
            row.id,
            spec,
            engine,
            model,
            EventChannel.replay(row.id, each.history, self._journal, self._clock),
            RentalRecord(self._journal),
            self._settings.logs_dir / row.id,
            auto_failover=state.auto_failover,
            siblings=siblings,
        )
        deployment.attempt = state.attempt.number if state.attempt is not None else 0
        restore(deployment.exclusions, each.history, each.backend)
        deployment.doubts += [
            Doubt(r.session_id, r.provider, r.doubt or "its release was not confirmed")
            for r in each.rentals
            if r.attempt < deployment.attempt and r.open and r.session_id is not None
        ]
        if each.rental is not None:
            deployment.record.taken_up(each.rental)
        await deployment.note(f"continuing in {state.phase}, after a gdl-tui that is gone")
        await self._tell_end(deployment, each)
        where = where_it_stands(
            state, each.history, each.rental, each.backend, await self._by_guard(each)
        )
        return deployment, where

    async def _tell_end(self, deployment: Deployment, each: Interrupted) -> None:
        """The money's end that is in the journal, and not among its events."""
        closed, billing = each.closed, deployment.state.billing
        over = billing in (Billing.NONE, Billing.RELEASED)
        if each.rental is None and closed is not None and not over:
            await deployment.emit(
                ev.BillingChanged(
                    closed.attempt,
                    closed.billing,
                    closed.session_id,
                    "as the journal has it",
                    closed.released_at,
                )
            )

    async def _by_guard(self, each: Interrupted) -> str:
        """What its guard has done, where the machine is gone by that; else ""."""
        closed = each.closed if each.rental is None else None
        guard = await guards.of_rental(self._journal, closed.intent_id) if closed else None
        return end_words(guard) if guard is not None else ""


def _ends(state: DeploymentState, rental: Rental | None) -> bool:
    """Whether the machine was being released when its process ended."""
    failed = state.attempt is not None and state.attempt.failure is not None
    return failed or state.phase in ENDINGS or (rental is not None and rental.release_requests > 0)
