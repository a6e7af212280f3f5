"""Keeping benchmarks, and telling what a new one is beside the earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from gdl.domain.measured import OWN, Measurement, standing
from gdl.domain.models import BenchReport
from gdl.journal import benchmarks
from gdl.journal.store import Journal, Rental


class Measurements:
    def __init__(self, journal: Journal, clock: Callable[[], datetime]) -> None:
        self._journal = journal
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
        gpu, count = await benchmarks.hardware(self._journal, rental.offer_id)
        if not rental.has_gpu:
            gpu, count = "", 0
        earlier = await benchmarks.kept(self._journal, rental.served_name)
        said = ""
        for report in reports:
            if not report.completed:
                continue
            one = Measurement(
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
                best=report is best,
            )
            await benchmarks.add(self._journal, one)
            if report is best or best is None:
                said = standing(one, earlier)
        return said

    async def kept(self, model: str | None, gpu: str | None) -> list[Measurement]:
        """Newest first. model: by its served name; gpu: a part of its name, in any case."""
        found = await benchmarks.kept(self._journal, model)
        wanted = (gpu or "").casefold()
        return [one for one in found if wanted in one.hardware.casefold()]
