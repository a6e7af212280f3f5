"""The stand-ins for Vast.ai and RunPod, and whoever speaks to them by hand."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import asyncssh
import httpx

from gdl.simulator.fault_models import Fault
from gdl.simulator.machines import HostElsewhere
from gdl.simulator.markets import MarketStandIn
from gdl.simulator.scenario import Scenario

MARKETS = ("vastai", "runpod")


@cache
def key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


def public_key() -> str:
    return key().export_public_key().decode().strip()


@contextlib.asynccontextmanager
async def stand_in(
    name: str, *faults: Fault, speed: float = 100.0, **more: Any
) -> AsyncIterator[tuple[MarketStandIn, httpx.AsyncClient]]:
    """A marketplace, and a client that has its key. Unless `root` is given, there is nothing on its
    machines."""
    if "root" not in more:
        pem = key().export_private_key("pkcs8-pem").decode()
        more["host"] = HostElsewhere("127.0.0.1", 9, "root", pem)
    scenario = Scenario(name="test", title="test", fault=faults)
    async with MarketStandIn(name, scenario, speed=speed, **more) as market:
        headers = {"Authorization": f"Bearer {market.key}"}
        async with httpx.AsyncClient(base_url=market.url, headers=headers) as client:
            yield market, client
