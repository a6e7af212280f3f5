"""Stand-ins for the marketplaces that are spoken to directly, each with machines of its own.

async with MarketStandIn("vastai", load("calm"), root=folder, seed=7, speed=50) as market:
    market.url, market.key      # speaks the marketplace's protocol to whoever has the key
    market.rented()             # ids of machines that exist and bill, whatever is said of them
    market.bills(ident)         # what of it bills: GPU and disk
    market.draws.inject(Stale())            # what goes wrong next; see fault_models.py
    market.received             # what was asked
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from gdl.domain.errors import UsageError
from gdl.domain.text import one_line
from gdl.simulator.contracts import Account, Contract
from gdl.simulator.fault_draws import Draws
from gdl.simulator.hosting import Hosting
from gdl.simulator.listings import Listing
from gdl.simulator.machines import HostElsewhere, RentedMachine
from gdl.simulator.market_server import MarketServer
from gdl.simulator.runpod.api import RunpodApi
from gdl.simulator.runpod.catalog import Catalog
from gdl.simulator.runpod.market import RunpodMarket
from gdl.simulator.scenario import Scenario
from gdl.simulator.scripted_answers import Received
from gdl.simulator.simulated_machine import Machine
from gdl.simulator.vastai import hosts as vast_hosts
from gdl.simulator.vastai.api import VastApi
from gdl.simulator.vastai.api_keys import ApiKeys
from gdl.simulator.vastai.market import VastMarket
from gdl.simulator.vastai.volumes import Volumes

NAMES = ("vastai", "runpod")
KEY_VARIABLES = {"vastai": "VAST_API_KEY", "runpod": "RUNPOD_API_KEY"}
"""Where the marketplaces' own clients look for a key."""
_CREDIT = 25.0
_WITH_VLLM = "vllm/vllm-openai:v"
"""Images that bring the release that is named after it."""


class Bills(NamedTuple):
    gpu: bool
    disk: bool


class MarketStandIn:
    """Runs in the event loop that starts it. Closing it ends every machine, process and file.

    root: the folder in which simulated markets have theirs, for machines of its own; in place of
    them, host: the one that all who rent get. speed: how many times faster than the scenario's
    seconds. offers: how many hosts Vast.ai has, 0: those of the fixed list; or `listed`, the
    offers themselves. vastai, runpod: what speaks the one protocol or the other, and can be told
    more, such as `vastai.search_quota`.
    key: of the account, which has `credit` dollars.
    """

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        *,
        root: Path | None = None,
        host: HostElsewhere | None = None,
        seed: int = 0,
        speed: float = 1.0,
        offers: int = 0,
        listed: Sequence[Listing] = (),
        key: str = "",
        credit: float = _CREDIT,
    ) -> None:
        if name not in NAMES:
            raise UsageError(
                f"no stand-in for {one_line(name, 40)}", f"there are {', '.join(NAMES)}"
            )
        self.name = name
        self.scenario = scenario
        self.seed = seed
        self._speed = speed
        self.key = key or secrets.token_hex(32)
        self.account = Account(self.key, 1 + secrets.randbelow(900_000), credit)
        self._host = host
        self._server = MarketServer(root)
        self.vastai: VastApi | None = None
        self.runpod: RunpodApi | None = None
        if name == "vastai":
            self.vastai = self._vastai(offers, listed)
            self._http, self._app = self.vastai.http, self.vastai.app
        else:
            self.runpod = self._runpod()
            self._http, self._app = self.runpod.http, self.runpod.app

    def _vastai(self, offers: int, listed: Sequence[Listing]) -> VastApi:
        hosts = (
            tuple(vast_hosts.of_listing(one, self.seed) for one in listed)
            if listed
            else vast_hosts.hosts(offers, self.seed)
        )
        self._begin([one.listing for one in hosts])
        market = VastMarket(hosts, self.draws, self.hosting)
        volumes = Volumes(hosts, self.hosting)
        keys = ApiKeys(self.account)
        return VastApi(market, keys, volumes, self.draws, self._server.cut, self._hang_s)

    def _runpod(self) -> RunpodApi:
        catalog = Catalog(self.seed)
        self._begin(catalog.listed)
        market = RunpodMarket(catalog, self.draws, self.hosting)
        return RunpodApi(market, [self.account], self.draws, self._server.cut, self._hang_s)

    @property
    def _hang_s(self) -> float:
        return self.scenario.timing.hang / self._speed

    def _begin(self, listed: Sequence[Listing]) -> None:
        self.draws = Draws(self.scenario, self.seed, listed)
        self.hosting = Hosting(
            self.scenario, self.draws, self._machine, self._variables, speed=self._speed
        )

    # -- for those who watch ---------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def received(self) -> Sequence[Received]:
        return self._http.received

    @property
    def contracts(self) -> Mapping[str, Contract]:
        """All that was ever rented, by id."""
        return self.hosting.contracts

    def rented(self) -> list[str]:
        return self.hosting.rented()

    def bills(self, ident: str) -> Bills:
        contract = self.hosting.contracts[ident]
        return Bills(contract.gpu.on, contract.disk.on)

    def arrived(self, told: Callable[[Received], Awaitable[None]] | None) -> None:
        """Be told of each request before it is acted upon."""
        self._http.arrived = told

    def answered(self, told: Callable[[Received], Awaitable[None]] | None) -> None:
        """Be told of each request that was acted upon, before its answer is sent."""
        self._http.answered = told

    # -- running ---------------------------------------------------------------------------------

    async def start(self, port: int = 0, *, listener: socket.socket | None = None) -> str:
        """Listen, at a socket that has its address already or at this port, and say where. Raises
        BackendError when the port or the folder cannot be had."""
        return await self._server.start(self._app(), port, listener)

    async def aclose(self) -> None:
        """End everything. Idempotent."""
        self._http.close()
        await self.hosting.aclose()
        await self._server.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def _machine(self, contract: Contract, variables: Mapping[str, str]) -> RentedMachine:
        offer, faults, disk_gb = contract.offer, contract.faults, contract.disk_gb
        if self._host is not None:
            return self._host.make(offer, faults, disk_gb)
        return Machine(
            self._server.workspace,
            offer,
            faults,
            self.scenario.timing,
            speed=self._speed,
            disk_gb=disk_gb,
            rng=self.draws.random("machine", offer.id),
            variables=variables,
            onstart=str(contract.values.get("onstart") or ""),
        )

    def _variables(self, contract: Contract) -> Mapping[str, str]:
        """What the marketplace sets on a machine, and for its curl the way to the marketplace."""
        port = self.url.rpartition(":")[2]
        if self.name == "vastai":
            own = {"CONTAINER_ID": contract.id, "CONTAINER_API_KEY": contract.own_key}
        else:
            own = {"RUNPOD_POD_ID": contract.id, "RUNPOD_API_KEY": contract.own_key}
        image = str(contract.values.get("image") or "")
        if image.startswith(_WITH_VLLM):
            own["SIM_IMAGE_VLLM"] = image.removeprefix(_WITH_VLLM)
        return {**own, **self._mount(contract), "SIM_MARKET_PORT": port}

    def _mount(self, contract: Contract) -> Mapping[str, str]:
        """Where the machine has its volume: in a folder that outlives it. No process of ours can
        mount anything at /workspace, as the marketplace does."""
        asked: Mapping[str, Any] = contract.values
        network = (asked.get("mounts") or {}).get("network") or [{}]
        info = asked.get("volume_info") or {}
        ident = info.get("volume_id") or network[0].get("volumeId")
        if not ident or self._host is not None:
            return {}
        folder = self._server.workspace.path / "volumes" / str(ident)
        folder.mkdir(parents=True, exist_ok=True)
        return {"GDL_VOLUME": str(folder)}
