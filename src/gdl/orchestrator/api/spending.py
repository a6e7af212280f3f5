"""The port to what was spent, and to what is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gdl.domain.money import Balance
from gdl.domain.spending import Period, SpendingReport


class Spending(Protocol):
    """What all deployments of this computer spent, and what the accounts have left."""

    async def report(self, by: Period) -> SpendingReport:
        """The last 31 days or 12 months: by the ledger, and by what the marketplaces charged where
        they tell. One that does not answer is named in the report, and nothing is raised for it."""
        ...

    async def balances(self) -> Mapping[str, Balance]:
        """What the accounts have left, by backend, as known a minute ago or less; of backends that
        tell and answer."""
        ...
