"""The backends of one run, each with what deals with its offers and machines.

A rental, a session and an offer name their backend; whatever is done about one of them is done by
the parts of that backend. Offers of all backends make one list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from gdl.backends.base import Backend, Extends
from gdl.domain.errors import BackendError, BackendUnreachable, UsageError
from gdl.domain.judging import squash
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.rental import Rental
from gdl.journal.store import Journal
from gdl.orchestrator.leasing.guards import what_can_end
from gdl.orchestrator.leasing.orphans import Orphans
from gdl.orchestrator.leasing.releasing import Releaser
from gdl.orchestrator.leasing.renting import Renter
from gdl.orchestrator.leasing.several_machines import check_backends
from gdl.settings import Settings

T = TypeVar("T")


class Leasing:
    """One backend, and what rents, watches and releases its machines."""

    def __init__(
        self,
        backend: Backend,
        journal: Journal,
        settings: Settings,
        consumer_id: str,
        clock: Callable[[], datetime],
        *,
        alone: bool,
    ) -> None:
        self.backend = backend
        self.renter = Renter(backend, journal, settings, consumer_id, clock, alone=alone)
        self.orphans = Orphans(backend, journal, settings, self.releaser, clock)
        self._journal = journal

    @property
    def name(self) -> str:
        return self.backend.name

    @property
    def bills(self) -> bool:
        return self.backend.traits.bills

    @property
    def outlives_program(self) -> bool:
        return self.backend.traits.outlives_program

    @property
    def releaser(self) -> Releaser:
        return self.renter.releaser

    async def rentals(self) -> list[Rental]:
        """Ours there by the journal, newest first."""
        return await self._journal.rentals(self.name, self.backend.service_url)


class Markets:
    """All of them, in the order of the settings. away: those that did not answer when offers were
    last asked for, and why."""

    def __init__(
        self,
        backends: Sequence[Backend],
        journal: Journal,
        settings: Settings,
        consumer_id: str,
        clock: Callable[[], datetime],
    ) -> None:
        alone = len(backends) == 1
        self.all = tuple(
            Leasing(b, journal, settings, consumer_id, clock, alone=alone) for b in backends
        )
        self.away: dict[str, str] = {}
        self._answer_s = settings.timeouts.http
        self._by_name = {each.name: each for each in self.all}
        if len(self._by_name) != len(self.all):
            raise UsageError("a backend is named twice", "name each once: --backend vastai,runpod")
        if len({each.backend.traits.simulated for each in self.all}) > 1:
            raise UsageError(
                "simulated and real machines cannot be mixed",
                "name only simulated backends, or only real ones",
            )

    @property
    def name(self) -> str:
        """As the settings have it."""
        return ",".join(self._by_name)

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    @property
    def backends(self) -> list[Backend]:
        return [each.backend for each in self.all]

    @property
    def several(self) -> bool:
        return len(self.all) > 1

    @property
    def bill(self) -> bool:
        """Whether any of them does."""
        return any(each.bills for each in self.all)

    @property
    def open_ended(self) -> frozenset[str]:
        """Those that bill until a machine is released, as no reserved hours end it."""
        rented = (each.backend for each in self.all if each.bills)
        return frozenset(each.name for each in rented if not isinstance(each, Extends))

    @property
    def guarded(self) -> frozenset[str]:
        """Those whose machines, or what we run on them, a guard there can end."""
        can = (each for each in self.all if what_can_end(each.backend) in ("machine", "server"))
        return frozenset(each.name for each in can)

    @property
    def simulated(self) -> bool:
        return self.all[0].backend.traits.simulated

    def get(self, name: str) -> Leasing | None:
        return self._by_name.get(name)

    def of(self, name: str) -> Leasing:
        """Raises UsageError for one that is not of this run."""
        found = self._by_name.get(name)
        if found is None:
            raise UsageError(
                f"the {name} backend is not among those in use ({', '.join(self._by_name)})",
                f"add it: --backend {self.name},{name}",
            )
        return found

    async def rentals(self) -> list[Rental]:
        """Ours at all of them by the journal, newest first."""
        found = [rental for each in self.all for rental in await each.rentals()]
        return sorted(found, key=lambda r: (r.requested_at, r.intent_id), reverse=True)

    async def offers(self, query: OfferQuery) -> list[Offer]:
        """Fresh offers of all that answer. Raises BackendError when none does."""
        check_backends(query.nodes, self.backends)
        found, away = await self.ask_all(lambda backend: backend.offers(query))
        self.away = {name: error.message for name, error in away.items()}
        if not found:
            raise next(iter(away.values()))
        return _merged(found)

    async def ask_all(
        self, ask: Callable[[Backend], Coroutine[Any, Any, T]]
    ) -> tuple[dict[str, T], dict[str, BackendError]]:
        """What each of them answers, and why others do not, by name. Once one has answered, the
        others are waited for as long as one ordinary request may take. Raises what is no
        BackendError."""
        tasks = {each.name: asyncio.ensure_future(ask(each.backend)) for each in self.all}
        try:
            pending = set(tasks.values())
            while pending and not any(_answered(task) for task in tasks.values()):
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if pending:
                await asyncio.wait(pending, timeout=self._answer_s)
            found: dict[str, T] = {}
            away: dict[str, BackendError] = {}
            for name, task in tasks.items():
                error = task.exception() if task.done() else self._silent()
                if error is None:
                    found[name] = task.result()
                elif isinstance(error, BackendError):
                    away[name] = error
                else:
                    raise error
            return found, away
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    def _silent(self) -> BackendUnreachable:
        return BackendUnreachable(
            f"no answer within {self._answer_s:g} s", "timeouts.http sets the waiting time"
        )

    async def aclose(self) -> None:
        for each in self.all:
            await each.releaser.aclose()
            await each.backend.aclose()


def _answered(task: asyncio.Future[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _merged(found: Mapping[str, Sequence[Offer]]) -> list[Offer]:
    """One list. What another backend lists of a market that is asked directly is not in it twice;
    of two offers with one id, which confirmations and pins go by, the first is."""
    if len(found) == 1:
        return [offer for offers in found.values() for offer in offers]
    offers = [offer for listed in found.values() for offer in listed]
    direct = {_plain(offer) for offer in offers if offer.asked_directly}
    return list(_once(o for o in offers if o.asked_directly or _plain(o) not in direct))


def _plain(offer: Offer) -> str:
    return squash(offer.provider).replace(".", "")


def _once(offers: Iterable[Offer]) -> Iterable[Offer]:
    seen: set[str] = set()
    for offer in offers:
        if offer.id not in seen:
            seen.add(offer.id)
            yield offer
