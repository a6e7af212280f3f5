"""What may be spent: a deployment's own limit, the caps of all of them, and what accounts have
left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from gdl.backends.base import Backend
from gdl.domain.offers import Offer
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing.account_watch import AccountWatch
from gdl.orchestrator.leasing.balances import Balances
from gdl.orchestrator.leasing.spending import refuse_over_limit, watch_spending
from gdl.orchestrator.leasing.spending_caps import SpendingCaps
from gdl.settings import Settings


class Budget:
    """backends: all that are used; simulated ones are not used beside others. caps, balances: its
    parts, for those who show them."""

    def __init__(
        self,
        backends: Sequence[Backend],
        journal: Journal,
        settings: Settings,
        clock: Callable[[], datetime],
    ) -> None:
        self._backends = {backend.name: backend for backend in backends}
        self._journal = journal
        self._clock = clock
        self.caps = SpendingCaps(journal, settings, clock, backends)
        self.balances = Balances(backends, settings, clock)

    async def refuse(self, deployment: Deployment, offer: Offer) -> None:
        """Before it is rented. Raises SpendLimitReached for what goes over a limit; says when the
        balance does not pay for as long as is asked for."""
        await refuse_over_limit(deployment, offer, self._clock(), self.caps)
        if words := await self.balances.words(offer, deployment.spec.hours):
            await deployment.note(words, "warning")

    async def watch(self, deployment: Deployment) -> None:
        """Until it is cancelled: tell what comes near, and end the deployment at a limit."""
        account = AccountWatch(
            deployment, self._backends.get, self._journal, self.balances, self._clock
        )
        # Apart from each other: no trouble with what is only told may end what is enforced.
        telling = asyncio.create_task(account.run())
        try:
            await watch_spending(deployment, self._clock, self.caps)
            await asyncio.wait({telling})
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
