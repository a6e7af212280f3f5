"""Checks of this computer and its settings, past deployments, and what to send to who helps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from gdl.backends import registry
from gdl.backends.base import BackendContext
from gdl.domain.backend import BackendSource
from gdl.domain.findings import Finding
from gdl.domain.id_matching import matching
from gdl.domain.money import for_time
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.journal import fleets
from gdl.journal.store import DeploymentRow, Journal
from gdl.orchestrator.api.views import PastDeployment
from gdl.orchestrator.leasing import process_liveness
from gdl.orchestrator.leasing.markets import Markets
from gdl.orchestrator.support import bundle, doctor, export
from gdl.settings import Settings


class Diagnostics:
    """See `api.support.Support`."""

    def __init__(
        self,
        markets: Markets,
        journal: Journal,
        settings: Settings,
        consumer_id: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._markets = markets
        self._journal = journal
        self._settings = settings
        self._consumer_id = consumer_id
        self._clock = clock

    async def doctor(self) -> Sequence[Finding]:
        return await doctor.examine(self._settings, self._markets, self._journal)

    async def sources(self) -> Sequence[BackendSource]:
        return await registry.discover(BackendContext(self._settings, self._consumer_id))

    async def past_deployments(self) -> list[PastDeployment]:
        rentals: dict[str, list[Rental]] = defaultdict(list)
        for rental in await self._journal.rentals():
            rentals[rental.deployment_id].append(rental)
        found = []
        for row in await self._journal.deployments():
            last = next(iter(rentals[row.id]), None)
            found.append(
                PastDeployment(
                    deployment_id=row.id,
                    model=row.model,
                    backend=row.backend,
                    started_at=row.created_at,
                    outcome=_outcome(row, last),
                    billing=str(last.billing if last else Billing.NONE),
                    session_id=last.session_id if last else None,
                    cost=round(sum(map(self._cost, rentals[row.id])), 6),
                )
            )
        return found

    def _cost(self, rental: Rental) -> float:
        if rental.billing is Billing.NONE:
            return 0.0
        end = rental.released_at or self._clock()
        return for_time(rental.price, rental.requested_at, end)

    async def export(self, ident: str, target: str) -> str:
        named = matching(ident, await fleets.known(self._journal), lambda row: (row.id,))
        if len(named) == 1:
            fleet = named[0].id
            return await export.exported_fleet(fleet, target, self._journal, self._settings)
        found = await self._deployment(ident)
        return await export.exported(found, target, self._journal, self._settings)

    async def _deployment(self, ident: str) -> str:
        past = await self.past_deployments()
        return bundle.find(ident, [(each.deployment_id, each.session_id) for each in past])

    async def bundle(self, ident: str, path: Path | None = None) -> Path:
        found = await self._deployment(ident)
        chosen = path or Path(f"gdl-tui-{found}.tar.gz")
        return await bundle.write(found, chosen, self._journal, self._settings)


def _outcome(row: DeploymentRow, last: Rental | None) -> str:
    """last: its latest rental. What was left serving ends when its machine is released."""
    if row.outcome == "serving" and last is not None and last.billing is Billing.RELEASED:
        return "released"
    return row.outcome or ("running" if process_liveness.runs(row) else "interrupted")
