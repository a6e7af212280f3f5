"""Fleets where sessions are expected: reached through their router, measured as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from gdl.domain.benchmark import (
    OWN_LOAD,
    BenchLoad,
    BenchReport,
    Measurement,
    machine,
    own_workload,
    standing,
)
from gdl.domain.errors import MachineError
from gdl.domain.fleet_view import FleetView
from gdl.journal import benchmarks
from gdl.journal.fleets import FleetRow
from gdl.journal.store import Journal
from gdl.keyring.key_files import read_key
from gdl.orchestrator.api.read_only import changing, refuse_read_only
from gdl.orchestrator.api.views import ReachedEndpoint
from gdl.orchestrator.fleet.lookup import FleetLookup
from gdl.orchestrator.sessions.benchmarks import SessionBenchmarks
from gdl.orchestrator.sessions.endpoints import SessionEndpoints
from gdl.presentation.words import plural


class FleetBenchmarks:
    def __init__(
        self,
        lookup: FleetLookup,
        journal: Journal,
        clock: Callable[[], datetime],
        *,
        simulated: bool,
    ) -> None:
        self.lookup = lookup
        self._journal = journal
        self._clock = clock
        self._simulated = simulated

    async def named(self, ident: str) -> FleetRow | None:
        """The fleet that an id means; None when it is no fleet's."""
        if not ident.startswith("fleet"):
            return None
        found = await self.lookup.named(ident)
        return found[0] if len(found) == 1 else None

    async def reached(self, row: FleetRow) -> ReachedEndpoint:
        """Its address on this computer. Raises MachineError when nothing is there."""
        view = await self.lookup.view(row)
        if not view.runs or not view.routed or not view.serving:
            raise MachineError(
                f"fleet {row.id} is not serving now", f"`gdl-tui resume {row.id}`, or wait for it"
            )
        key = await asyncio.to_thread(read_key, Path(view.api_key_file))
        url = view.endpoint.removesuffix("/v1")
        gpu, count = _gpus(view)
        return ReachedEndpoint(
            url, key, view.model, view.price_per_hour, _provider(view), machine(gpu, count)
        )

    async def measure(self, row: FleetRow, load: BenchLoad = OWN_LOAD) -> BenchReport:
        """The benchmark of every deployment, on all replicas together."""
        from gdl.endpoint.client import EndpointClient
        from gdl.loadgen.deployment_benchmark import run_bench

        reached = await self.reached(row)
        async with aclosing(EndpointClient(reached.url, reached.key)) as client:
            report = await run_bench(
                client,
                reached.model,
                key=reached.key,
                price_per_hour=reached.price,
                on_answer=lambda answer: None,
                on_progress=lambda done, total, rate: None,
                load=load,
            )
        return replace(report, standing=await self.keep(row, [report], own_workload(load)))

    async def keep(
        self,
        row: FleetRow,
        reports: Sequence[BenchReport],
        workload: str,
        best: BenchReport | None = None,
    ) -> str:
        """As `Measurements.keep`."""
        view = await self.lookup.view(row)
        gpu, count = _gpus(view)
        earlier = await benchmarks.kept(self._journal, view.model)
        said = ""
        for report in reports:
            if not report.completed:
                continue
            one = Measurement(
                at=self._clock(),
                deployment_id=row.id,
                session_id="",
                backend=row.backend,
                model=view.model,
                gpu=gpu,
                gpu_count=count,
                provider=_provider(view),
                price=view.price_per_hour,
                workload=workload,
                report=report,
                best=report is best,
                simulated=self._simulated,
            )
            await benchmarks.add(self._journal, one)
            if report is best or best is None:
                said = standing(one, earlier)
        return said


class FleetAwareEndpoints(SessionEndpoints):
    """The same for fleets as for sessions. `fleets` is set by whoever makes it."""

    fleets: FleetBenchmarks

    @asynccontextmanager
    async def reach(self, ident: str) -> AsyncIterator[ReachedEndpoint]:
        row = await self.fleets.named(ident)
        if row is None:
            async with super().reach(ident) as reached:
                yield reached
        else:
            refuse_read_only(self, "bench")
            yield await self.fleets.reached(row)


class FleetAwareBenchmarks(SessionBenchmarks):
    """The same for fleets as for sessions. `fleets` is set by whoever makes it."""

    fleets: FleetBenchmarks

    @changing("bench")
    async def bench(self, ident: str, load: BenchLoad = OWN_LOAD) -> BenchReport:
        row = await self.fleets.named(ident)
        if row is None:
            return await super().bench(ident, load)
        return await self.fleets.measure(row, load)

    @changing("keeping benchmarks")
    async def keep(
        self,
        ident: str,
        reports: Sequence[BenchReport],
        workload: str,
        best: BenchReport | None = None,
    ) -> str:
        row = await self.fleets.named(ident)
        if row is None:
            return await super().keep(ident, reports, workload, best)
        return await self.fleets.keep(row, reports, workload, best)


def _gpus(view: FleetView) -> tuple[str, int]:
    """The GPUs of those that serve, by all of their names."""
    serving = [r for r in view.replicas if r.taken_in and r.gpu_count]
    names = sorted({r.gpu_name for r in serving})
    return " + ".join(names), sum(r.gpu_count for r in serving)


def _provider(view: FleetView) -> str:
    return f"fleet of {plural(view.serving, 'replica')}"
