"""The simulated service as a whole: folder, market, and the HTTP server on loopback."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from gdl.domain.errors import UsageError
from gdl.domain.text import one_line
from gdl.simulator.fault_draws import Draws, OfferFaults
from gdl.simulator.http_api import Api
from gdl.simulator.key_pool import KeyPool, Keys
from gdl.simulator.listings import Listing, listings, read_rows
from gdl.simulator.machines import HostElsewhere, MakeMachine, RentedMachine
from gdl.simulator.market import Market
from gdl.simulator.market_server import MarketServer
from gdl.simulator.scenario import Scenario


class Service:
    """Runs in the event loop that starts it. Closing it ends every session, process and file.

    root: the folder in which simulated markets have theirs, for machines of its own; in place of
    them, host: the one that every session gets. speed: how many times faster than the scenario's
    seconds. offers: how many to list, 0: the fixed list; or `listed`, the offers themselves.
    `draws` takes faults while it runs; `api` knows what was asked, and gives canned answers.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        root: Path | None = None,
        host: HostElsewhere | None = None,
        seed: int = 0,
        speed: float = 1.0,
        offers: int = 0,
        listed: Sequence[Listing] = (),
    ) -> None:
        self._scenario = scenario
        self._speed = speed
        self.listed = listed or _offers_of(scenario) or listings(offers, seed)
        self.draws = Draws(scenario, seed, self.listed)
        keys: Keys = host or KeyPool()
        make: MakeMachine = host.make if host is not None else self._machine
        self.market = Market(scenario, self.listed, self.draws, keys, make, speed=speed)
        self.id = secrets.token_hex(4)
        self._about = {
            "simulated": True,
            "id": self.id,
            "scenario": scenario.name,
            "title": scenario.title,
            "seed": seed,
            "speed": speed,
            "offers": len(self.listed),
        }
        self._server = MarketServer(root)
        self.api = Api(
            self.market, self.draws, self._about, self._server.cut, scenario.timing.hang / speed
        )
        self._warming: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return self._server.url

    async def start(self, port: int = 0, *, warm: bool = True) -> str:
        """Listen, and say where. warm: make a key before one is asked for. Raises BackendError when
        the port or the folder cannot be had."""
        await self._server.start(self.api.app(), port)
        if warm:
            self.warm()
        return self.url

    def warm(self) -> None:
        """Make a key before one is asked for. Idempotent."""
        if self._warming is None:
            self._warming = asyncio.create_task(self.market.keys.warm())

    async def aclose(self) -> None:
        """End everything. Idempotent."""
        self.api.close()
        if self._warming is not None:
            await asyncio.wait({self._warming})
        await self.market.aclose()
        await self._server.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def _machine(self, offer: Listing, faults: OfferFaults, disk_gb: int | None) -> RentedMachine:
        from gdl.simulator.simulated_machine import Machine

        return Machine(
            self._server.workspace,
            offer,
            faults,
            self._scenario.timing,
            speed=self._speed,
            disk_gb=disk_gb,
            rng=self.draws.random("machine", offer.id),
        )


def _offers_of(scenario: Scenario) -> tuple[Listing, ...]:
    try:
        return read_rows([list(row) for row in scenario.offers])
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"scenario {scenario.name}: its offers cannot be read: {one_line(error)}",
            "write rows as in the standard list",
        ) from None
