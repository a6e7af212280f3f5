"""A marketplace in memory, as those spoken to directly are: labels, keys of our own, no ended rows.

It keeps what it has rented whatever is said of it: `rented` is the truth that tests compare with.
Its faults are injected by the name of a request.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count

from gdl.domain.backend import BackendTraits
from gdl.domain.errors import BackendUnreachable, GdlError, OfferGone, RentAmbiguous, SessionGone
from gdl.domain.findings import Finding
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.session import RentAnswer, RentRequest, Session, SessionStatus, SshAddress


@dataclass
class Fault:
    """What the next requests of one name end with. times: how many of them. acted: whether the
    market does what it was asked for all the same."""

    error: Callable[[], GdlError]
    times: int = 1
    acted: bool = False


def offer(
    ident: str, market: str, price: float = 0.3, *, host: str = "", machine: str = ""
) -> Offer:
    plain = Offer(ident, market, market, "RTX 4090", 1, 24.0, price)
    return replace(plain, host_id=host or None, machine_id=machine or None)


class FakeMarket:
    """A Backend, and FindsByLabel, and ProvesAbsence."""

    service_url = ""

    def __init__(self, name: str, *offers: Offer) -> None:
        self.name = name
        self.traits = BackendTraits(takes_key=True)
        self.listed = list(offers)
        self.rented: dict[str, Session] = {}
        self.ever: list[Session] = []
        self.requests: list[RentRequest] = []
        self.asked: list[str] = []
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.away = False
        self.answers = asyncio.Event()
        """Offers are told once it is set."""
        self.answers.set()
        self.before_rent: Callable[[RentRequest], Awaitable[None]] | None = None
        self._numbers = count(1)

    def fails(
        self, request: str, error: Callable[[], GdlError], times: int = 1, *, acted: bool = False
    ) -> None:
        self.faults[request].append(Fault(error, times, acted))

    def loses_answer(self, times: int = 1, *, acted: bool = True) -> None:
        self.fails("rent", lambda: RentAmbiguous("no answer within 5 s"), times, acted=acted)

    def make(self, request: RentRequest) -> Session:
        """A machine, as this request makes it."""
        chosen = request.offer
        session = Session(
            f"{self.name}-{next(self._numbers)}",
            self.name,
            chosen.provider,
            SessionStatus.RUNNING,
            chosen.gpu_name,
            chosen.gpu_count,
            chosen.price_per_hour,
            SshAddress("203.0.113.7", 22, "root"),
            created_at=datetime.now(UTC),
            label=request.label,
            host_known=True,
        )
        self.rented[session.id] = session
        self.ever.append(session)
        return session

    def _asked(self, request: str) -> Fault | None:
        """Raises what the request ends with, unless it acts before that."""
        self.asked.append(request)
        if self.away:
            raise BackendUnreachable(f"nothing answers at {self.name}", "try again later")
        queue = self.faults[request]
        if not queue:
            return None
        fault = queue[0]
        fault.times -= 1
        if fault.times == 0:
            queue.pop(0)
        if not fault.acted:
            raise fault.error()
        return fault

    # -- what every backend can do -----------------------------------------------------------------

    async def offers(self, query: OfferQuery) -> Sequence[Offer]:
        await self.answers.wait()
        self._asked("offers")
        return list(self.listed)

    async def rent(self, request: RentRequest) -> RentAnswer:
        self.requests.append(request)
        if self.before_rent is not None:
            await self.before_rent(request)
        fault = self._asked("rent")
        if request.offer.id not in [o.id for o in self.listed]:
            raise OfferGone(f"offer {request.offer.id} is gone", "take another")
        session = self.make(request)
        if fault is not None:
            raise fault.error()
        return RentAnswer(session)

    async def session(self, session_id: str) -> Session:
        self._asked("session")
        found = self.rented.get(session_id)
        if found is None:
            raise SessionGone(f"no machine {session_id}", "`gdl-tui sessions` lists them")
        return found

    async def sessions(self) -> Sequence[Session]:
        self._asked("sessions")
        return list(reversed(self.rented.values()))

    async def release(self, session_id: str) -> None:
        fault = self._asked("release")
        self.rented.pop(session_id, None)
        if fault is not None:
            raise fault.error()

    async def check(self) -> Sequence[Finding]:
        if self.away:
            return [Finding(self.name, "fail", f"nothing answers at {self.name}")]
        return [Finding(self.name, "ok", "answers")]

    async def aclose(self) -> None:
        await asyncio.sleep(0)

    # -- labels and proofs -------------------------------------------------------------------------

    async def labelled(self, label: str) -> Sequence[Session]:
        self._asked("labelled")
        return [s for s in self.rented.values() if s.label == label]

    async def absent(self, session_id: str, label: str = "") -> bool:
        self._asked("absent")
        there = self.rented.values()
        return not any(s.id == session_id or (label and s.label == label) for s in there)
