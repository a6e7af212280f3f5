"""Fleets whose machines are a word each, behind a router that only keeps the list."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from failover_support import QuickAttempt
from fake_market import FakeMarket, offer
from gdl.backends.base import Backend
from gdl.domain import clock
from gdl.domain import events as ev
from gdl.domain.errors import DeployError, VerificationError
from gdl.domain.event import Event
from gdl.domain.events import Recorded
from gdl.domain.fleet_events import FleetFinished, RouterEnded, RouterStarted
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.health import HealthSample
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.phase import Phase
from gdl.domain.secret import Secret
from gdl.domain.session import Session
from gdl.domain.spec import DeploymentSpec
from gdl.engines import registry as engines
from gdl.hub.lookup import Hub
from gdl.journal.consumer_id import consumer_id_of
from gdl.journal.store import Journal
from gdl.orchestrator.fleet.router import Told
from gdl.orchestrator.service import Orchestrator
from gdl.settings import load

E = TypeVar("E", bound=Event)
MODEL = "tinyllama"
ENDPOINT = "http://127.0.0.1:4000/v1"


class ListRouter:
    """Keeps the list of replicas, and what was asked of it. missing: there is no such program."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.asked: list[str] = []
        self.missing = False
        self.begun = 0
        self._told: Told | None = None

    async def prepare(self, tell: Callable[[str], Awaitable[None]]) -> None:
        if self.missing:
            raise DeployError("the router cannot be installed: no index", "name your own")

    async def begin(self, port: int, told: Told) -> None:
        self.begun += 1
        self._told = told
        await told(RouterStarted("vllm-router", "0", ENDPOINT, 1))

    async def dies(self) -> None:
        assert self._told is not None
        await self._told(RouterEnded("the router has ended (signal 9)"))
        await self._told(RouterStarted("vllm-router", "0", ENDPOINT, 2))

    async def add(self, url: str) -> None:
        self.asked.append(f"add {url}")
        self.urls.append(url)

    async def remove(self, url: str) -> None:
        self.asked.append(f"remove {url}")
        if url in self.urls:
            self.urls.remove(url)

    async def aclose(self) -> None:
        self.urls.clear()


class Servers:
    """What the replicas' servers say of themselves: the first one that is asked `first`, which is
    an error if it is a text, each other one that it serves the model with 2048 tokens."""

    def __init__(
        self, first: Mapping[str, int | None] | str | None = None, model: str = MODEL
    ) -> None:
        self.first = first
        self.model = model
        self.asked: list[str] = []

    async def ask(self, url: str, key: Secret) -> Mapping[str, int | None]:
        self.asked.append(url)
        if url != self.asked[0] or self.first is None:
            return {self.model: 2048}
        if isinstance(self.first, str):
            raise VerificationError(self.first, "")
        return self.first


_PORTS = count(20_000)


class FleetAttempt(QuickAttempt):
    """Serves at an address of its own until `dies` is set."""

    async def set_up(self, session: Session) -> None:
        await self.machine.make_api_key()
        self.dies = asyncio.Event()
        await super().set_up(session)

    async def served(self) -> None:
        """Before SERVING: the tunnel."""

    async def _serves(self) -> None:
        dep = self._deployment
        url = f"http://127.0.0.1:{next(_PORTS)}/v1"
        await dep.emit(ev.TunnelOpened(dep.attempt, url, "forward"))

    async def _go_wrong(self, phase: Phase, fate: str) -> None:
        await super()._go_wrong(phase, fate)
        if phase is Phase.STARTING:
            await self._serves()

    async def _watch_health(self) -> None:
        """What a test says of its health stays."""

    def is_seen(self, sample: HealthSample) -> None:
        self._deployment.readings.health = sample

    async def revive(self) -> None:
        raise DeployError("the server ended while serving", "its log says why")


@contextlib.asynccontextmanager
async def fleet_orchestrator(
    folder: Path,
    *markets: Backend,
    router: ListRouter | None = None,
    servers: Servers | None = None,
    attempt: type[QuickAttempt] | None = None,
    fate: Callable[[str], str] = lambda _: "",
    **flags: Any,
) -> AsyncIterator[Orchestrator]:
    names = ",".join(market.name for market in markets)
    values: dict[str, Any] = {
        "backend": "shopper",
        "data_dir": folder,
        "consumer_id": "tester",
        "timeouts": {"http": 3, "rent": 5, "session": 10, "release": 3},
        **flags,
    }
    settings = load(**values).model_copy(update={"backend": names})
    kind = type("Quick", (attempt or FleetAttempt,), {"fate": staticmethod(fate)})
    spread = router or ListRouter()
    orchestrator = Orchestrator(
        settings=settings,
        backends=markets,
        engines=engines.get,
        journal=await Journal.open(folder / "journal.sqlite"),
        hub=Hub(settings, clock.now),
        consumer_id=consumer_id_of(settings),
        attempt=kind,
        router=lambda spec, key_file, folder: spread,
        served_models=(servers or Servers()).ask,
    )
    try:
        yield orchestrator
    finally:
        await orchestrator.aclose()


def machines(market: str, *prices: float) -> list[Offer]:
    """One offer for each price, each on a machine and of a host of its own."""
    return [
        offer(f"{market}-{n}", market, price, host=f"h{n}", machine=f"m{n}")
        for n, price in enumerate(prices)
    ]


def market(name: str = "vastai", *prices: float) -> FakeMarket:
    return FakeMarket(name, *machines(name, *(prices or (0.1, 0.2, 0.3, 0.4, 0.5, 0.6))))


def fleet(
    replicas: int = 3,
    *,
    max_price: float | None = None,
    after: str = "hold",
    backend: str = "vastai",
    context: int | None = None,
    spread_markets: bool = False,
    if_short: str = "keep",
    **more: Any,
) -> FleetSpec:
    query = OfferQuery(model=MODEL, max_price=max_price, context=context)
    replica = DeploymentSpec(MODEL, backend, query, bench=False, after=after, **more)
    return FleetSpec(replica, replicas, spread_markets=spread_markets, if_short=if_short)


async def until(
    orchestrator: Orchestrator, fleet_id: str, holds: Callable[[Event], bool]
) -> Recorded:
    """The first event for which `holds`."""
    async with asyncio.timeout(30):
        async for recorded in orchestrator.fleets.events(fleet_id):
            if holds(recorded.event):
                return recorded
    raise AssertionError("its events ended without it")


async def told(orchestrator: Orchestrator, fleet_id: str) -> list[Event]:
    """All of its events, once it has ended."""
    async with asyncio.timeout(60):
        return [r.event async for r in orchestrator.fleets.events(fleet_id)]


def last(events: Sequence[Event]) -> FleetFinished:
    assert isinstance(events[-1], FleetFinished)
    return events[-1]


def of_type(events: Sequence[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]
