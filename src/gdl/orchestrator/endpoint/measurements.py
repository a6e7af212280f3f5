"""Keeping benchmarks and what servers held, and telling what a new benchmark is beside the
earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from gdl.domain import events as ev
from gdl.domain.benchmark import OWN, BenchReport, Measurement, Publication, machine, standing
from gdl.domain.errors import UsageError
from gdl.domain.rental import Rental
from gdl.domain.server_memory import MemoryComparison
from gdl.journal import benchmarks, memory
from gdl.journal.store import Journal


class Measurements:
    def __init__(self, journal: Journal, clock: Callable[[], datetime], *, simulated: bool) -> None:
        self._journal = journal
        self.simulated = simulated
        self._clock = clock

    async def keep(
        self,
        rental: Rental,
        reports: Sequence[BenchReport],
        *,
        workload: str = OWN,
        best: BenchReport | None = None,
    ) -> str:
        """Keep what was measured on a machine; one sentence on its best point (or the only one)
        beside what was measured before, "" when every request failed. best: one of `reports`."""
        earlier = await benchmarks.kept(self._journal, rental.served_name)
        said = ""
        for report in reports:
            if not report.completed:
                continue
            one = await self._measurement(rental, report, workload, best=report is best)
            await benchmarks.add(self._journal, one)
            if report is best or best is None:
                said = standing(one, earlier)
        return said

    async def keep_memory(self, rental: Rental, found: MemoryComparison) -> None:
        """Keep what a server held, beside what was predicted."""
        await memory.add(
            self._journal,
            found,
            rental.deployment_id,
            rental.attempt,
            self._clock(),
            simulated=self.simulated,
        )

    async def _measurement(
        self, rental: Rental, report: BenchReport, workload: str, *, best: bool
    ) -> Measurement:
        gpu, count = await self._gpus(rental)
        return Measurement(
            at=self._clock(),
            deployment_id=rental.deployment_id,
            session_id=rental.session_id or "",
            backend=rental.backend,
            model=rental.served_name,
            gpu=gpu,
            gpu_count=count,
            provider=rental.provider,
            price=rental.price,
            workload=workload,
            report=report,
            best=best,
            simulated=self.simulated,
        )

    async def _gpus(self, rental: Rental) -> tuple[str, int]:
        if not rental.has_gpu:
            return "", 0
        return await benchmarks.hardware(self._journal, rental.offer_id)

    async def hardware(self, rental: Rental) -> str:
        """What the machine computes with, in a few words."""
        return machine(*await self._gpus(rental))

    async def publication(self, rental: Rental, report: BenchReport, workload: str) -> Publication:
        """A report on a rental's machine as others may see it. Raises UsageError when no request
        of it succeeded, or something speaks against its figures."""
        if not report.completed or report.note:
            why = report.note or "no request succeeded"
            raise UsageError(f"not published: {why}", "measure again, then publish that")
        one = await self._measurement(rental, report, workload, best=False)
        inspections = [
            recorded.event.facts
            for recorded in await self._journal.events(rental.deployment_id)
            if isinstance(recorded.event, ev.HostInspected)
        ]
        return Publication(one, inspections[-1] if inspections else None, rental.engine)

    async def kept(self, model: str | None, gpu: str | None) -> list[Measurement]:
        """Newest first. model: by its served name; gpu: a part of its name, in any case."""
        found = await benchmarks.kept(self._journal, model)
        wanted = (gpu or "").casefold()
        return [one for one in found if wanted in one.hardware.casefold()]
