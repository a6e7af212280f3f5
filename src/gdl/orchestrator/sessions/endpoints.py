"""Served models, of this process's deployments or reached over a connection of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from gdl.domain.agent_settings import Served
from gdl.domain.engine import Capabilities
from gdl.domain.errors import GdlError
from gdl.domain.health import Check, HealthSample
from gdl.domain.phase import Phase
from gdl.domain.readings import typical
from gdl.domain.server_memory import memory_check
from gdl.journal import history
from gdl.journal.store import Journal
from gdl.keyring.key_files import read_key
from gdl.orchestrator.api.read_only import refuse_read_only
from gdl.orchestrator.api.views import ChatPartner, ReachedEndpoint, Readings, TunnelRow
from gdl.orchestrator.endpoint import health_watch
from gdl.orchestrator.endpoint.chat import partner
from gdl.orchestrator.endpoint.measurements import Measurements
from gdl.orchestrator.run.registry import DeploymentRegistry
from gdl.orchestrator.run.verification import capabilities
from gdl.orchestrator.sessions.lookup import SessionLookup
from gdl.orchestrator.sessions.reconnect import Reconnector
from gdl.orchestrator.sessions.tunnels import Tunnels


class SessionEndpoints:
    """See `api.ports.Endpoints`."""

    def __init__(
        self,
        backend_names: Sequence[str],
        journal: Journal,
        registry: DeploymentRegistry,
        lookup: SessionLookup,
        reconnector: Reconnector,
        tunnels: Tunnels,
        measurements: Measurements,
        *,
        read_only: bool,
    ) -> None:
        self.read_only = read_only
        self._backend_names = tuple(backend_names)
        self._journal = journal
        self._registry = registry
        self._lookup = lookup
        self._reconnector = reconnector
        self._tunnels = tunnels
        self._measurements = measurements

    # -- how they are ----------------------------------------------------------------------------

    async def health(self, ident: str) -> Sequence[Check]:
        serving = self._registry.serving(ident)
        endpoint = None if serving is None else serving[1].endpoint
        if serving is not None and endpoint is not None:
            deployment, attempt = serving
            checks = await endpoint.check(
                deployment.model.served_name,
                pid=attempt.server.pid,
                has_gpu=bool(deployment.rental and deployment.rental.has_gpu),
                can=capabilities(deployment),
            )
            deployment.readings.keep_round(checks)
            current = deployment.state.attempt
            memory = current.memory if current is not None else None
            return checks if memory is None else [*checks, memory_check(memory)]
        rental = await self._lookup.find(ident)
        async with self._reconnector.reconnected(rental) as there:
            told = await self._reconnector.told_of_server(rental)
            checks = await there.endpoint.check(
                rental.served_name, pid=there.pid, has_gpu=rental.has_gpu, can=told.can
            )
            return [*checks, *told.checks]

    async def watch_health(self, ident: str) -> AsyncGenerator[tuple[HealthSample, bool]]:
        rental = await self._lookup.find(ident)
        async with self._reconnector.reconnected(rental) as there:
            client, link = there.client("`gdl-tui health ID` asks once"), there.link
            runner = link if there.rental.has_gpu else None
            async with aclosing(
                health_watch.samples(
                    client, lambda: link.connected, runner, there.engine.read_metrics
                )
            ) as samples:
                async for each in samples:
                    yield each

    def readings(self, deployment_id: str) -> Readings:
        deployment = self._registry.get(deployment_id)
        if deployment is None:
            return Readings()
        live = deployment.readings
        return Readings(live.health, live.gpu, tuple(live.rounds), live.traffic)

    async def estimates(self, deployment_id: str) -> Mapping[Phase, float]:
        past = await history.phase_times(self._journal, self._backend_names, deployment_id)
        return typical(past, self._registry.state(deployment_id).served_name)

    # -- the way to them -------------------------------------------------------------------------

    @asynccontextmanager
    async def chat(self, ident: str) -> AsyncIterator[ChatPartner]:
        serving = self._registry.serving(ident)
        endpoint = None if serving is None else serving[1].endpoint
        if serving is not None and endpoint is not None and endpoint.way is not None:
            yield partner(endpoint.way, serving[0].model.served_name)
            return
        rental = await self._lookup.find(ident)
        async with self._reconnector.reconnected(rental) as there:
            way = there.endpoint.way
            assert way is not None  # it was opened
            yield partner(way, rental.served_name)

    @asynccontextmanager
    async def reach(self, ident: str) -> AsyncIterator[ReachedEndpoint]:
        refuse_read_only(self, "bench")
        rental = await self._lookup.find(ident)
        async with self._reconnector.reconnected(rental) as there:
            url = there.client("`gdl-tui bench ID` alone works without one").base_url
            hardware = await self._measurements.hardware(there.rental)
            yield ReachedEndpoint(
                url, there.key, rental.served_name, rental.price, rental.provider, hardware
            )

    # -- tunnels in processes of their own -------------------------------------------------------

    async def hold_tunnel(
        self,
        ident: str,
        port: int | None,
        tell: Callable[[str], None],
        opened: Callable[[TunnelRow], None],
    ) -> str:
        return await self._tunnels.hold(ident, port, tell, opened)

    async def tunnels(self) -> list[TunnelRow]:
        return await self._tunnels.rows()

    async def served(self, row: TunnelRow, path: str) -> Served:
        from gdl.endpoint.client import EndpointClient

        can = await self._can(row)
        try:
            key = await asyncio.to_thread(read_key, Path(row.api_key_file))
            async with aclosing(EndpointClient(row.endpoint.removesuffix("/v1"), key)) as client:
                models = await client.models()
                lacks_path = not await client.has(path)
        except GdlError as error:
            return Served(can=can, trouble=error.message)
        return Served(models.get(row.model), can, lacks_path)

    async def _can(self, row: TunnelRow) -> Capabilities | None:
        """What the journal says that the server was started with; None: nothing."""
        ids = (row.session_id, row.deployment_id)
        for rental in await self._journal.rentals():
            if (rental.session_id, rental.deployment_id) == ids:
                planned = (await self._reconnector.told_of_server(rental)).planned
                return None if planned is None else planned.capabilities
        return None

    async def stop_tunnel(self, row: TunnelRow) -> None:
        await self._tunnels.stop(row)
