"""The orchestrator: the eight ports on one backend, one journal and the engines there are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gdl.backends.base import Backend, Publishes
from gdl.domain.clock import now as steady_now
from gdl.engines.base import EngineResolver
from gdl.hub.lookup import Hub
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.endpoint.measurements import Measurements
from gdl.orchestrator.leasing.budget import Budget
from gdl.orchestrator.leasing.marketplace import Marketplace
from gdl.orchestrator.leasing.model_lookup import ModelLookup
from gdl.orchestrator.leasing.orphans import Orphans
from gdl.orchestrator.leasing.renting import Renter
from gdl.orchestrator.leasing.selection import OfferSelection
from gdl.orchestrator.leasing.spending_report import SpendingReports
from gdl.orchestrator.notify.notifier import Notifier, ways_of
from gdl.orchestrator.run.attempt import Attempt
from gdl.orchestrator.run.registry import DeploymentRegistry
from gdl.orchestrator.sessions.benchmarks import SessionBenchmarks
from gdl.orchestrator.sessions.endpoints import SessionEndpoints
from gdl.orchestrator.sessions.lookup import SessionLookup
from gdl.orchestrator.sessions.public_url import PublicUrls
from gdl.orchestrator.sessions.reconnect import Reconnector
from gdl.orchestrator.sessions.sessions import RentedSessions
from gdl.orchestrator.sessions.tunnels import Tunnels
from gdl.orchestrator.support.diagnostics import Diagnostics
from gdl.settings import Settings


class Orchestrator:
    """See `api.ports.OrchestratorApi`. One per process.

    attempt: makes an Attempt; a seam for those who measure or test without machines.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        backend: Backend,
        engines: EngineResolver,
        journal: Journal,
        hub: Hub,
        consumer_id: str,
        clock: Callable[[], datetime] = steady_now,
        attempt: Callable[..., Attempt] = Attempt,
    ) -> None:
        self.backend_name, self.keeps = backend.name, backend.traits.outlives_program
        self.publishes = isinstance(backend, Publishes)
        self.simulated = backend.traits.simulated
        self._backend = backend
        self._journal = journal
        self._hub = hub
        read_only = settings.read_only
        renter = Renter(backend, journal, settings, consumer_id, clock)
        self._releaser = renter.releaser
        orphans = Orphans(backend, journal, settings, renter.releaser, clock)
        measurements = Measurements(journal, clock, simulated=backend.traits.simulated)
        lookup = SessionLookup(backend, journal, orphans, clock)
        reconnector = Reconnector(backend, engines, journal, settings, clock)
        tunnels = Tunnels(lookup, reconnector, settings)

        def make_attempt(deployment: Deployment) -> Attempt:
            return attempt(deployment, backend, renter, journal, settings)

        budget = Budget([backend], journal, settings, clock)
        models = ModelLookup(hub)
        self.market = Marketplace(backend, engines, journal, settings, clock, lookup=models)
        self.deployments = DeploymentRegistry(
            backend,
            engines,
            journal,
            settings,
            clock,
            lookup=models,
            selection=OfferSelection(self.market, backend, journal, settings, clock, budget),
            orphans=orphans,
            make_attempt=make_attempt,
            find_rental=lookup.find,
            reopen=reconnector.reopen,
            notifier=Notifier(ways_of(settings)),
        )
        self.resumption = self.deployments
        self.sessions = RentedSessions(
            backend,
            journal,
            self.deployments,
            renter.releaser,
            orphans,
            lookup,
            reconnector,
            tunnels,
            PublicUrls(lookup, reconnector, journal, settings, clock),
            clock,
            read_only=read_only,
        )
        self.endpoints = SessionEndpoints(
            backend.name,
            journal,
            self.deployments,
            lookup,
            reconnector,
            tunnels,
            measurements,
            read_only=read_only,
        )
        self.benchmarks = SessionBenchmarks(
            backend,
            self.deployments,
            lookup,
            reconnector,
            self.endpoints,
            measurements,
            read_only=read_only,
        )
        self.spending = SpendingReports([backend], journal, settings, clock, budget)
        self.support = Diagnostics(backend, journal, settings, consumer_id, orphans, clock)

    async def aclose(self) -> None:
        await self.deployments.aclose()
        await self._releaser.aclose()
        await self._backend.aclose()
        await self._hub.aclose()
        await self._journal.aclose()
