"""What was spent and what is left, over all backends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from gdl.backends.base import Backend, ReportsCharges
from gdl.domain.errors import GdlError
from gdl.domain.money import Balance
from gdl.domain.spending import (
    Cost,
    Period,
    SpendingReport,
    charged_costs,
    period_of,
    spending_rows,
    zone_words,
)
from gdl.orchestrator.leasing.budget import Budget
from gdl.settings import Settings

_LOOK_BACK = {"day": timedelta(days=30), "month": timedelta(days=335)}


class SpendingReports:
    """See `api.spending.Spending`. backends: all that are used now."""

    def __init__(
        self,
        backends: Sequence[Backend],
        settings: Settings,
        clock: Callable[[], datetime],
        budget: Budget,
    ) -> None:
        self._backends = {backend.name: backend for backend in backends}
        self._clock = clock
        self._limit_s = settings.timeouts.http
        self._budget = budget

    async def report(self, by: Period) -> SpendingReport:
        now = self._clock()
        told = await self._budget.caps.tally(now)
        first = period_of(now - _LOOK_BACK[by], by)[0]
        spent = [cost for cost in told.costs if cost.until > first]
        charged, silent = await self._charges(spent, first)
        rows = spending_rows(
            spent, [cost for costs in charged.values() for cost in costs], charged, by
        )
        since = f"{first.astimezone():%Y-%m-%d}"[: 10 if by == "day" else 7]
        return SpendingReport(
            by,
            zone_words(now),
            tuple(row for row in rows if row.period >= since),
            tuple(await self._budget.caps.now(fresh=False)),
            tuple(account.name for account in told.accounts if not account.certain),
            dict(await self.balances()),
            silent,
        )

    async def _charges(
        self, spent: Sequence[Cost], first: datetime
    ) -> tuple[dict[str, list[Cost]], dict[str, str]]:
        """(what each backend that tells has charged, why others did not answer); from the day on
        from which the ledger has something of theirs."""
        charged: dict[str, list[Cost]] = {}
        silent: dict[str, str] = {}

        async def ask(name: str, backend: ReportsCharges) -> None:
            began = [cost.since for cost in spent if cost.backend == name]
            since = max(period_of(min(began, default=self._clock()), "day")[0], first)
            try:
                async with asyncio.timeout(self._limit_s):
                    told = await backend.charges(since)
                charged[name] = charged_costs(name, told, self._clock())
            except TimeoutError:
                silent[name] = f"no answer within {self._limit_s:.0f} s"
            except GdlError as error:
                silent[name] = error.message

        telling = [(n, b) for n, b in self._backends.items() if isinstance(b, ReportsCharges)]
        await asyncio.gather(*(ask(name, backend) for name, backend in telling))
        return charged, silent

    async def balances(self) -> dict[str, Balance]:
        return await self._budget.balances.all()
