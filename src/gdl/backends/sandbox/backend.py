"""The `sandbox` backend: the shopper backend, on a simulated service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import httpx

from gdl.backends.shopper.backend import ShopperBackend
from gdl.domain.backend import BackendTraits
from gdl.domain.benchmark import Publication
from gdl.domain.errors import GdlError
from gdl.domain.findings import Finding
from gdl.domain.money import CostReport
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.session import RentAnswer, RentRequest, Session
from gdl.domain.text import one_line
from gdl.settings import Settings
from gdl.simulator.scenario import load

if TYPE_CHECKING:
    from gdl.simulator.service import Service

NAME = "sandbox"
LABEL = "(simulated)"
_ASK_S = 5.0


class SandboxBackend:
    """Starts a simulated service in this process at its first use, or asks the one that
    `sandbox.url` names. Everything goes through the same code as for the real service; what is
    shown is labelled.

    Raises UsageError for an unknown scenario.
    """

    name = NAME

    def __init__(self, settings: Settings, consumer_id: str) -> None:
        self._settings = settings
        self.service_url = settings.sandbox.url or ""
        self._consumer_id = consumer_id
        self._scenario = load(settings.sandbox.scenario)
        self.traits = BackendTraits(
            outlives_program=bool(settings.sandbox.url),
            serves_ssh=not settings.sandbox.url,
            simulated=True,
            gives_up_s=self._scenario.timing.verified_within(settings.sandbox.speed),
        )
        self._starting = asyncio.Lock()
        self._shopper: ShopperBackend | None = None
        self._service: Service | None = None
        self._market = ""

    @property
    def service(self) -> Service | None:
        """The simulated service, where it runs in this process and was asked for something."""
        return self._service

    async def _ready(self) -> ShopperBackend:
        async with self._starting:
            if self._shopper is None:
                url = self._settings.sandbox.url
                if url:
                    self._market = await _id_of(url)
                else:
                    url = await self._start()
                settings = self._settings.model_copy(update={"shopper_url": url})
                self._shopper = ShopperBackend(settings, self._consumer_id)
            return self._shopper

    async def _start(self) -> str:
        # In a thread: the HTTP server's libraries take a moment to import.
        service = await asyncio.to_thread(_service_class)
        sandbox = self._settings.sandbox
        self._service = service(
            self._scenario,
            root=self._settings.data_dir / NAME,
            seed=sandbox.seed,
            speed=sandbox.speed,
            offers=sandbox.offers,
        )
        self._market = self._service.id
        return await self._service.start(warm=False)

    # -- the protocol ----------------------------------------------------------------------------

    async def offers(self, query: OfferQuery) -> Sequence[Offer]:
        shopper = await self._ready()
        found = tuple(self._labelled(offer) for offer in await shopper.offers(query))
        if self._service is not None:
            # Not before there is something to look at: it takes a second of processor time.
            self._service.warm()
        return found

    def _labelled(self, offer: Offer) -> Offer:
        # A simulated machine is remembered as one of this market alone: never for a real one.
        machine = offer.machine_id and f"simulated-{self._market}-{offer.machine_id}"
        location = f"{offer.location} {LABEL}".strip()
        return replace(offer, backend=self.name, location=location, machine_id=machine)

    async def rent(self, request: RentRequest) -> RentAnswer:
        rented = await (await self._ready()).rent(request)
        # In the work folder: the usual place would be this computer's own /tmp.
        return replace(rented, session=self._ours(rented.session), engine_log=request.log_title)

    def _ours(self, session: Session) -> Session:
        return replace(session, backend=self.name)

    async def session(self, session_id: str) -> Session:
        return self._ours(await (await self._ready()).session(session_id))

    async def sessions(self) -> Sequence[Session]:
        return tuple(self._ours(s) for s in await (await self._ready()).sessions())

    async def release(self, session_id: str) -> None:
        await (await self._ready()).release(session_id)

    async def extend(self, session_id: str, hours: int) -> datetime | None:
        return await (await self._ready()).extend(session_id, hours)

    async def costs(self) -> CostReport:
        report = await (await self._ready()).costs()
        return replace(report, note=f"simulated: nothing was spent; {report.note}")

    async def publish(self, one: Publication) -> str:
        return await (await self._ready()).publish(one)

    async def check(self) -> Sequence[Finding]:
        sandbox = self._settings.sandbox
        where = sandbox.url or "in this process"
        said = f"simulated machines {where}, scenario {self._scenario.name}: nothing is rented"
        try:
            found = await (await self._ready()).check()
        except GdlError as error:
            found = (Finding("sandbox", "fail", error.message, error.hint),)
        return (Finding("sandbox", "info", said), *found)

    async def aclose(self) -> None:
        """Close the connections, and a service of our own with all its sessions."""
        async with self._starting:
            if self._shopper is not None:
                await self._shopper.aclose()
            if self._service is not None:
                await self._service.aclose()


def _service_class() -> type[Service]:
    from gdl.simulator.service import Service

    return Service


async def _id_of(url: str) -> str:
    """The id of a market that runs elsewhere; "elsewhere" when it tells none."""
    try:
        async with httpx.AsyncClient(timeout=_ASK_S, trust_env=False) as client:
            found = (await client.get(f"{url}/sandbox")).json()["id"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return "elsewhere"
    return one_line(found, 20)
