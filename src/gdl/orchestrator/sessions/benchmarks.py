"""Benchmarks of what serves, in this process or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gdl.backends import base as backends
from gdl.domain.benchmark import OWN_LOAD, BenchLoad, BenchReport, Measurement, own_workload
from gdl.domain.errors import GdlError
from gdl.domain.offers import OfferQuery
from gdl.domain.speed import Machine, Speed
from gdl.orchestrator.api.read_only import changing
from gdl.orchestrator.api.views import ReachedEndpoint
from gdl.orchestrator.endpoint.measurements import Measurements
from gdl.orchestrator.leasing.markets import Markets
from gdl.orchestrator.leasing.speeds import Speeds
from gdl.orchestrator.run.registry import DeploymentRegistry
from gdl.orchestrator.sessions.endpoints import SessionEndpoints
from gdl.orchestrator.sessions.lookup import SessionLookup
from gdl.orchestrator.sessions.reconnect import Reconnector

if TYPE_CHECKING:
    from gdl.loadgen.load import Outcome

_OUTPUT_LEN = 64
_LIMIT_S = 300.0
"""For each window of a sweep."""


class SessionBenchmarks:
    """See `api.ports.Benchmarks`."""

    def __init__(
        self,
        markets: Markets,
        registry: DeploymentRegistry,
        lookup: SessionLookup,
        reconnector: Reconnector,
        endpoints: SessionEndpoints,
        measurements: Measurements,
        speeds: Speeds,
        *,
        read_only: bool,
    ) -> None:
        self.read_only = read_only
        self._markets = markets
        self._registry = registry
        self._lookup = lookup
        self._reconnector = reconnector
        self._endpoints = endpoints
        self._measurements = measurements
        self._speeds = speeds

    @changing("bench")
    async def bench(self, ident: str, load: BenchLoad = OWN_LOAD) -> BenchReport:
        serving = self._registry.serving(ident)
        if serving is not None:
            _, attempt = serving
            return await attempt.benchmark(load)
        rental = await self._lookup.find(ident)
        async with self._reconnector.reconnected(rental) as there:
            report = await there.endpoint.bench(
                rental.served_name,
                price_per_hour=rental.price,
                on_answer=lambda answer: None,
                on_progress=lambda done, total, rate: None,
                load=load,
            )
        said = await self._measurements.keep(rental, [report], workload=own_workload(load))
        return replace(report, standing=said)

    @changing("bench")
    async def sweep(self, ident: str, most: int, on_point: Callable[[BenchReport], None]) -> str:
        from gdl.loadgen.workload import BUILTIN

        # As `bench ID --sweep --output-len 64` calls it.
        workload = f"{BUILTIN}, out {_OUTPUT_LEN}"
        came: list[BenchReport] = []

        def take(report: BenchReport) -> None:
            came.append(report)
            on_point(report)

        try:
            async with self._endpoints.reach(ident) as reached:
                reports, best, said = await _sweep(reached, most, take)
        except GdlError:
            # What broke off takes nothing away from the points before.
            await self.keep(ident, came, workload)
            raise
        standing = await self.keep(ident, reports, workload, best)
        return f"{said}. {standing}" if best is not None else said

    @changing("keeping benchmarks")
    async def keep(
        self,
        ident: str,
        reports: Sequence[BenchReport],
        workload: str,
        best: BenchReport | None = None,
    ) -> str:
        rental = await self._lookup.find(ident)
        return await self._measurements.keep(rental, reports, workload=workload, best=best)

    @changing("publish")
    async def publish(self, ident: str, report: BenchReport, workload: str) -> str:
        rental = await self._lookup.find(ident)
        one = await self._measurements.publication(rental, report, workload)
        return await backends.publish(self._markets.of(rental.backend).backend, one)

    async def speeds(self, query: OfferQuery, machines: Iterable[Machine]) -> dict[Machine, Speed]:
        return await self._speeds.of(query, machines)

    async def kept(self, model: str | None = None, gpu: str | None = None) -> list[Measurement]:
        return await self._measurements.kept(model, gpu)


async def _sweep(
    reached: ReachedEndpoint, most: int, on_point: Callable[[BenchReport], None]
) -> tuple[list[BenchReport], BenchReport | None, str]:
    """(a report for each point, the best of them, what was found in a sentence). Raises
    VerificationError when the endpoint does not answer."""
    from gdl.loadgen import report as reports_of
    from gdl.loadgen.bench_session import LoadOptions, connected
    from gdl.loadgen.request_template import RequestTemplate
    from gdl.loadgen.workload import BUILTIN, Length, Workload

    def report_of(outcome: Outcome) -> BenchReport:
        return reports_of.report(
            reached.model,
            outcome.figures,
            price_per_hour=reached.price,
            concurrency=outcome.shape.concurrency or 0,
            note=outcome.strain.limited or outcome.note,
        )

    options = LoadOptions(
        Workload(BUILTIN, output_len=Length(_OUTPUT_LEN, _OUTPUT_LEN)), limit_s=_LIMIT_S
    )
    async with connected(
        reached.url, reached.key, RequestTemplate(reached.model), options
    ) as bench:
        swept = await bench.sweep(most, lambda point: on_point(report_of(point.middle)))
    reports = [report_of(point.middle) for point in swept.points]
    if swept.at_least is not None:
        least = swept.at_least
        said = f"at least {least.throughput:.1f} tokens/s, at {least.concurrency} at a time"
        return reports, None, f"{said}; {swept.doubt}"
    if swept.best is None:
        return reports, None, f"no point is reliable: {swept.ended}"
    best = swept.best
    sure = "" if swept.sure else f" (not sure: {swept.doubt})"
    said = f"best: {best.concurrency} at a time, {best.throughput:.1f} tokens/s{sure}"
    return reports, reports[swept.points.index(best)], said
