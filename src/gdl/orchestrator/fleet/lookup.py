"""Fleets of this process and of the journal: find them, and tell how they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from gdl.domain.deployment import DeploymentState, replayed
from gdl.domain.errors import UsageError
from gdl.domain.fleet import FleetState, Replica, replayed_fleet
from gdl.domain.fleet_view import FleetView, ReplicaView
from gdl.domain.health import HealthSample
from gdl.domain.id_matching import matching
from gdl.domain.money import for_a_million
from gdl.domain.phase import Billing
from gdl.journal import fleets
from gdl.journal.fleets import FleetRow
from gdl.journal.store import Journal
from gdl.orchestrator.fleet.channel import FleetChannel
from gdl.orchestrator.fleet.loads import ReplicaLoads
from gdl.orchestrator.leasing import process_liveness
from gdl.orchestrator.run.registry import DeploymentRegistry


class FleetLookup:
    """here: the fleets of this process, which whoever starts them adds."""

    def __init__(
        self,
        journal: Journal,
        registry: DeploymentRegistry,
        clock: Callable[[], datetime],
        loads: ReplicaLoads,
    ) -> None:
        self._journal = journal
        self._registry = registry
        self._clock = clock
        self._loads = loads
        self.here: dict[str, FleetChannel] = {}

    async def find(self, ident: str) -> FleetRow:
        """Raises UsageError for none, or several."""
        found = await self.named(ident)
        if len(found) != 1:
            what = "several fleets" if found else "no fleet"
            raise UsageError(f"{ident} names {what}", "`gdl-tui scale` lists the fleets")
        return found[0]

    async def named(self, ident: str) -> Sequence[FleetRow]:
        """All that an id or the beginning of one may mean."""
        return matching(ident, await fleets.known(self._journal), lambda row: (row.id,))

    def runs(self, row: FleetRow) -> bool:
        """Whether a process works on it: this one, or another."""
        channel = self.here.get(row.id)
        if channel is not None:
            return channel.state.finished is None
        return process_liveness.runs(row)

    async def state(self, fleet_id: str) -> FleetState:
        channel = self.here.get(fleet_id)
        if channel is not None:
            return channel.state
        return replayed_fleet(fleet_id, await self._journal.events(fleet_id))

    async def rows(self, *, past: bool) -> list[FleetView]:
        """Newest first. past: those that are over, too."""
        found = [await self.view(row) for row in await fleets.known(self._journal)]
        return [view for view in found if past or view.runs or view.resumable or view.replicas]

    async def view(self, row: FleetRow) -> FleetView:
        state, now = await self.state(row.id), self._clock()
        live = [(r, *await self._deployment(r.id)) for r in state.live]
        told: Mapping[str, HealthSample] = {}
        if row.id not in self.here and self.runs(row):
            told = await self._loads.of([each for _, each, _ in live], state.api_key_file)
        replicas = tuple(
            _replica_view(r, each, health or told.get(r.id), now) for r, each, health in live
        )
        cost = state.ended_cost + sum(each.cost for each in replicas)
        speeds = [
            each.health.tokens_per_s
            for each in replicas
            if each.health is not None and each.health.tokens_per_s is not None
        ]
        price = sum(each.price_per_hour for each in replicas)
        speed = sum(speeds) if speeds else None
        ended = "" if state.finished is None else state.finished.outcome
        return FleetView(
            id=row.id,
            model=state.served_name or row.model,
            wanted=state.wanted,
            serving=len(state.serving),
            endpoint=state.endpoint,
            api_key_file=state.api_key_file,
            routed=state.router is not None,
            replicas=replicas,
            price_per_hour=price,
            cost=round(cost, 6),
            tokens_per_s=speed,
            usd_per_million=_per_million(price, speed, state),
            short="" if state.short is None else state.short.reason,
            context=state.context,
            generation=state.generation,
            outcome=row.outcome or ended,
            since=row.created_at,
            here=row.id in self.here,
            runs=self.runs(row),
            doubts=state.doubts,
        )

    async def _deployment(self, ident: str) -> tuple[DeploymentState, HealthSample | None]:
        here = self._registry.get(ident)
        if here is not None:
            return here.state, here.readings.health
        return replayed(ident, await self._journal.events(ident)), None


def _replica_view(
    replica: Replica, state: DeploymentState, health: HealthSample | None, now: datetime
) -> ReplicaView:
    attempt = state.attempt
    rented = attempt is not None and attempt.rented_at is not None
    bills = state.billing not in (Billing.NONE, Billing.RELEASED)
    return ReplicaView(
        id=replica.id,
        generation=replica.generation,
        phase=state.phase,
        billing=state.billing,
        taken_in=replica.taken_in,
        why_out=replica.why_out,
        leaving=replica.leaving or replica.refused,
        health=health,
        backend=attempt.backend if attempt is not None else "",
        provider=attempt.provider if attempt is not None else "",
        gpu_name=attempt.gpu_name if attempt is not None else "",
        gpu_count=attempt.gpu_count if attempt is not None else 0,
        price_per_hour=attempt.price_per_hour if attempt and rented and bills else 0.0,
        cost=round(state.cost(now), 6),
        session_id=attempt.session_id if attempt is not None else None,
        since=replica.since,
    )


def _per_million(price: float, speed: float | None, state: FleetState) -> float | None:
    """At what is made now, where that is anything; else as it was measured."""
    if speed and price > 0:
        return for_a_million(price, speed)
    return None if state.benchmark is None else state.benchmark.cost_per_million
