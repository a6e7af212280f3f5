"""The vastai backend against a stand-in of the marketplace that speaks its protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import asyncssh
from pydantic import SecretStr

from gdl.backends.vastai.backend import VastaiBackend
from gdl.domain import clock
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.session import RentRequest
from gdl.settings import Settings, Timeouts, Vastai
from gdl.simulator.markets import MarketStandIn
from gdl.simulator.scenario import load
from gdl.simulator.vastai.api import VastApi
from gdl.simulator.vastai.api_keys import ApiKeys

LABEL = "gdl-0123456789abcdef0123456789abcdef"
PUBLIC_KEY = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
ON_DEMAND = OfferQuery()


def settings(url: str, key: str, folder: Path) -> Settings:
    return Settings(
        data_dir=folder / "data",
        vastai=Vastai(url=url, key=SecretStr(key)),
        timeouts=Timeouts(http=5, rent=5),
    )


@asynccontextmanager
async def market(
    folder: Path, *, offers: int = 0, credit: float = 25.0
) -> AsyncIterator[MarketStandIn]:
    """One in which time goes a thousand times faster."""
    stand_in = MarketStandIn(
        "vastai", load("calm"), root=folder / "machines", speed=1000, offers=offers, credit=credit
    )
    async with stand_in:
        yield stand_in


@asynccontextmanager
async def backend_of(
    stand_in: MarketStandIn,
    folder: Path,
    *,
    key: str = "",
    now: Callable[[], datetime] = clock.now,
) -> AsyncIterator[VastaiBackend]:
    made = VastaiBackend(
        settings(stand_in.url, key or stand_in.key, folder), now=now, pauses=(0.01, 0.01)
    )
    try:
        yield made
    finally:
        await made.aclose()


def request(offer: Offer, **more: object) -> RentRequest:
    told: dict[str, object] = {"label": LABEL, "public_key": PUBLIC_KEY, **more}
    return RentRequest(offer, "me", 1, "org/model", **told)  # type: ignore[arg-type]


def api(stand_in: MarketStandIn) -> VastApi:
    assert stand_in.vastai is not None
    return stand_in.vastai


def keys(stand_in: MarketStandIn) -> ApiKeys:
    """Of all accounts of the stand-in."""
    return api(stand_in)._keys
