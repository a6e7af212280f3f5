"""The orchestrator: the eleven ports on the backends of a run, one journal, all engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gdl.backends.base import Backend, Publishes
from gdl.domain.clock import now as steady_now
from gdl.domain.fleet_spec import FleetSpec
from gdl.engines.base import EngineResolver
from gdl.hub.lookup import Hub
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.endpoint.measurements import Measurements
from gdl.orchestrator.fleet.admission import Models, models_of
from gdl.orchestrator.fleet.benchmarks import (
    FleetAwareBenchmarks,
    FleetAwareEndpoints,
    FleetBenchmarks,
)
from gdl.orchestrator.fleet.loads import ReplicaLoads
from gdl.orchestrator.fleet.lookup import FleetLookup
from gdl.orchestrator.fleet.registry import FleetRegistry
from gdl.orchestrator.fleet.router import MakeRouter, Router
from gdl.orchestrator.leasing.budget import Budget
from gdl.orchestrator.leasing.marketplace import Marketplace
from gdl.orchestrator.leasing.markets import Markets
from gdl.orchestrator.leasing.model_lookup import ModelLookup
from gdl.orchestrator.leasing.selection import OfferSelection
from gdl.orchestrator.leasing.speeds import Speeds
from gdl.orchestrator.leasing.spending_report import SpendingReports
from gdl.orchestrator.notify.notifier import Notifier, ways_of
from gdl.orchestrator.run.registry import DeploymentRegistry
from gdl.orchestrator.sessions.lookup import SessionLookup
from gdl.orchestrator.sessions.public_url import PublicUrls
from gdl.orchestrator.sessions.reconnect import Reconnector
from gdl.orchestrator.sessions.server_log import ServerLogs
from gdl.orchestrator.sessions.sessions import RentedSessions
from gdl.orchestrator.sessions.tunnels import Tunnels
from gdl.orchestrator.sessions.volumes import KeptVolumes
from gdl.orchestrator.support.diagnostics import Diagnostics
from gdl.settings import Settings

if TYPE_CHECKING:
    from gdl.orchestrator.run.attempt import Attempt


class Orchestrator:
    """See `api.ports.OrchestratorApi`. One per process.

    attempt: makes an Attempt; router: a fleet's router; served_models: asks a server for its
    models; seams for those who measure or test without machines.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        backends: Sequence[Backend],
        engines: EngineResolver,
        journal: Journal,
        hub: Hub,
        consumer_id: str,
        clock: Callable[[], datetime] = steady_now,
        attempt: Callable[..., Attempt] | None = None,
        router: MakeRouter | None = None,
        served_models: Models = models_of,
    ) -> None:
        markets = self._markets = Markets(backends, journal, settings, consumer_id, clock)
        self.backend_name = markets.name
        self.keeps = any(each.outlives_program for each in markets.all)
        self.publishes = any(isinstance(backend, Publishes) for backend in backends)
        self.simulated = markets.simulated
        self.bills = markets.bill
        self.open_ended = markets.open_ended
        self.guarded = markets.guarded if settings.guard.enabled else frozenset()
        self._journal = journal
        self._hub = hub
        read_only = settings.read_only
        measurements = Measurements(journal, clock, simulated=markets.simulated)
        lookup = SessionLookup(markets, journal, clock)
        reconnector = Reconnector(
            lambda name: markets.of(name).backend, engines, journal, settings, clock
        )
        tunnels = Tunnels(lookup, reconnector, settings)

        budget = Budget(backends, journal, settings, clock)
        models = ModelLookup(hub)
        self.market = Marketplace(markets, engines, journal, settings, clock, lookup=models)
        self.deployments = DeploymentRegistry(
            markets,
            engines,
            journal,
            settings,
            clock,
            lookup=models,
            selection=OfferSelection(self.market, markets, journal, settings, clock, budget),
            make_attempt=_attempts(attempt, markets, journal, settings),
            find_rental=lookup.find,
            reopen=reconnector.reopen,
            notifier=Notifier(ways_of(settings)),
        )
        self.resumption = self.deployments
        self.sessions = RentedSessions(
            markets,
            journal,
            self.deployments,
            lookup,
            reconnector,
            tunnels,
            PublicUrls(lookup, reconnector, journal, settings, clock),
            clock,
            read_only=read_only,
        )
        self.endpoints = FleetAwareEndpoints(
            markets.names,
            journal,
            self.deployments,
            lookup,
            reconnector,
            tunnels,
            measurements,
            read_only=read_only,
        )
        self.benchmarks = FleetAwareBenchmarks(
            markets,
            self.deployments,
            lookup,
            reconnector,
            self.endpoints,
            measurements,
            Speeds(backends, engines, journal, settings, models, simulated=markets.simulated),
            read_only=read_only,
        )
        found = FleetLookup(self._journal, self.deployments, clock, ReplicaLoads(engines))
        make_router = router or _routers(settings)
        self.fleets = self._fleets(settings, clock, found, served_models, make_router)
        self.volumes = KeptVolumes(backends, journal, clock, read_only=read_only)
        self.spending = SpendingReports(backends, settings, clock, budget)
        self.logs = ServerLogs(lookup, reconnector, journal, settings)
        self.support = Diagnostics(markets, journal, settings, consumer_id, clock)

    def _fleets(
        self,
        settings: Settings,
        clock: Callable[[], datetime],
        found: FleetLookup,
        models: Models,
        make_router: MakeRouter,
    ) -> FleetRegistry:
        """Composed of all the other parts, which know nothing of fleets."""
        simulated = self._markets.simulated
        benchmarks = FleetBenchmarks(found, self._journal, clock, simulated=simulated)
        self.endpoints.fleets = self.benchmarks.fleets = benchmarks
        return FleetRegistry(
            self.deployments,
            found,
            self._journal,
            settings,
            clock,
            backend_name=self.backend_name,
            destroy=self.sessions.destroy,
            benchmarks=benchmarks,
            models=models,
            make_router=make_router,
        )

    async def aclose(self) -> None:
        await self.fleets.aclose()
        await self.deployments.aclose()
        await self._markets.aclose()
        await self._hub.aclose()
        await self._journal.aclose()


def _attempts(
    kind: Callable[..., Attempt] | None, markets: Markets, journal: Journal, settings: Settings
) -> Callable[[Deployment, str], Attempt]:
    def make(deployment: Deployment, name: str) -> Attempt:
        there = markets.of(name)
        # With all that is done on machines; looking at offers needs none of it.
        from gdl.orchestrator.run.attempt import Attempt
        from gdl.orchestrator.run.spanning import SpanningAttempt

        usual = SpanningAttempt if deployment.spec.query.nodes > 1 else Attempt
        return (kind or usual)(deployment, there.backend, there.renter, journal, settings)

    return make


def _routers(settings: Settings) -> MakeRouter:
    def make(spec: FleetSpec, key_file: Path, folder: Path) -> Router:
        from gdl.orchestrator.fleet.router_process import RouterProcess

        return RouterProcess(spec, key_file, folder, settings)

    return make
