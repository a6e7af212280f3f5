"""The whole program on a stand-in for a marketplace, with real SSH machines."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from deployment_support import deployed as deployed_by
from deployment_support import spec
from gdl.bootstrap import open_orchestrator
from gdl.domain import events as ev
from gdl.domain.offers import OfferQuery
from gdl.orchestrator.service import Orchestrator
from gdl.settings import load
from gdl.simulator.markets import MarketStandIn
from gdl.simulator.scenario import load as load_scenario

SPEED = 100.0
MODEL = "qwen3-0.6b"
QUERY = OfferQuery(model=MODEL, min_vram_gb=20)
_LIMITS = {"install": 30, "start": 30, "session": 30, "http": 5, "release": 40}


@contextlib.asynccontextmanager
async def market(
    name: str, folder: Path, *, timeouts: Mapping[str, float] | None = None, **flags: Any
) -> AsyncIterator[tuple[Orchestrator, MarketStandIn]]:
    """At the end nothing may be rented."""
    async with MarketStandIn(
        name, load_scenario("calm"), root=folder / "market", speed=SPEED
    ) as stand_in:
        account: dict[str, Any] = {name: {"url": stand_in.url, "key": stand_in.key}}
        settings = load(
            backend=name,
            data_dir=folder / "data",
            timeouts={**_LIMITS, **(timeouts or {})},
            **account,
            **flags,
        )
        async with open_orchestrator(settings) as orchestrator:
            yield orchestrator, stand_in
        assert stand_in.rented() == []


async def deployed(orchestrator: Orchestrator, name: str, **more: Any) -> list[ev.Recorded]:
    return await deployed_by(orchestrator, spec(name, model=MODEL, query=QUERY, **more))


def words(events: list[ev.Recorded]) -> str:
    """All that was told."""
    return "\n".join(str(recorded.event) for recorded in events)
