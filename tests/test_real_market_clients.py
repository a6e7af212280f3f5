"""Vast.ai's and RunPod's own clients on the same stand-ins as our backends: what we rent they see
and end, and what they rent we do."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gdl.backends import registry
from gdl.backends.base import Backend, BackendContext, FindsByLabel, ProvesAbsence
from gdl.domain.offers import OfferQuery
from gdl.domain.session import RentRequest, SessionStatus
from gdl.settings import load
from gdl.simulator.markets import MarketStandIn
from market_stand_in import public_key, stand_in
from waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.long]

OFFICIAL = {"vastai": "vastai==1.9.1", "runpod": "runpod==1.12.0"}


async def run(*words: str, variables: Mapping[str, str] | None = None) -> str:
    child = await asyncio.create_subprocess_exec(
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(variables or {})},
    )
    async with asyncio.timeout(300):
        out, err = await child.communicate()
    assert child.returncode == 0, (out + err).decode()
    return out.decode()


@pytest.fixture(scope="module", params=sorted(OFFICIAL))
def official(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment that has a marketplace's own client, named as the market."""
    folder = tmp_path_factory.mktemp("official") / str(request.param)

    async def install() -> None:
        await run(sys.executable, "-m", "venv", str(folder))
        pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "-q")
        await run(*pip, OFFICIAL[request.param])

    asyncio.run(install())
    return folder


class Vastai:
    """The command `vastai`, which exits with 0 on every refusal: only what it prints counts."""

    def __init__(self, folder: Path, market: MarketStandIn, home: Path) -> None:
        self._program = str(folder / "bin" / "vastai")
        self._more = ("--url", market.url, "--api-key", market.key, "--raw")
        self._home = home

    async def _said(self, *words: str) -> Any:
        return json.loads(
            await run(self._program, *words, *self._more, variables={"HOME": str(self._home)})
        )

    async def listed(self) -> dict[str, str]:
        """Ids, and their labels."""
        return {str(row["id"]): row["label"] for row in await self._said("show", "instances")}

    async def shown(self, ident: str) -> dict[str, Any]:
        row: dict[str, Any] = await self._said("show", "instance", ident)
        return row

    async def rent(self, label: str) -> str:
        found = await self._said("search", "offers", "num_gpus=1 rentable=true", "-o", "dph+")
        offer = str(found[0]["id"])
        words = ("--image", "vastai/base-image", "--disk", "20", "--ssh", "--direct")
        made = await self._said("create", "instance", offer, *words, "--label", label)
        return str(made["new_contract"])

    async def destroy(self, ident: str) -> None:
        words = ("destroy", "instance", ident, "--yes")
        await run(self._program, *words, *self._more, variables={"HOME": str(self._home)})


class Runpod:
    """RunPod's own package, which speaks GraphQL."""

    def __init__(self, folder: Path, market: MarketStandIn, home: Path) -> None:
        self._python = str(folder / "bin" / "python")
        self._variables = {
            "RUNPOD_API_BASE_URL": market.url,
            "RUNPOD_API_KEY": market.key,
            "HOME": str(home),
        }

    async def _said(self, expression: str) -> Any:
        program = "import json, os, runpod; runpod.api_key = os.environ['RUNPOD_API_KEY']\n"
        program += f"print(json.dumps({expression}))"
        return json.loads(await run(self._python, "-c", program, variables=self._variables))

    async def listed(self) -> dict[str, str]:
        return {row["id"]: row["name"] for row in await self._said("runpod.get_pods()")}

    async def shown(self, ident: str) -> dict[str, Any]:
        row: dict[str, Any] = await self._said(f"runpod.get_pod({ident!r})")
        return {**row, "label": row["name"]}

    async def rent(self, label: str) -> str:
        kinds = await self._said("runpod.get_gpus()")
        for kind in kinds:
            words = f"{label!r}, 'runpod/base:0.7.0', {kind['id']!r}, cloud_type='COMMUNITY'"
            try:
                made = await self._said(f"runpod.create_pod({words})")
            except AssertionError as refused:
                assert "no longer any instances" in str(refused)
                continue
            return str(made["id"])
        raise AssertionError("nothing can be had")

    async def destroy(self, ident: str) -> None:
        await self._said(f"runpod.terminate_pod({ident!r})")


def backend_on(market: MarketStandIn, folder: Path) -> Backend:
    own: dict[str, Any] = {market.name: {"url": market.url, "key": SecretStr(market.key)}}
    settings = load(data_dir=folder, backend=market.name, **own)
    return registry.create(market.name, BackendContext(settings, "tester"))


async def rented(backend: Backend, label: str) -> str:
    for offer in await backend.offers(OfferQuery(gpu_count=1)):
        if offer.available:
            request = RentRequest(
                offer, "tester", 1, "tinyllama", 40, label=label, public_key=public_key()
            )
            return (await backend.rent(request)).session.id
    raise AssertionError("nothing can be had")


async def test_what_one_rents_the_other_sees_and_ends(official: Path, tmp_path: Path) -> None:
    name = official.name
    async with stand_in(name, speed=50) as (market, _):
        kind: type[Vastai | Runpod] = Vastai if name == "vastai" else Runpod
        theirs = kind(official, market, tmp_path)
        backend = backend_on(market, tmp_path)
        try:
            ours = await rented(backend, "gdl-ours")

            async def runs() -> bool:
                session = await backend.session(ours)
                return session.status is SessionStatus.RUNNING

            await wait_until(runs)
            assert await theirs.listed() == {ours: "gdl-ours"}
            assert (await theirs.shown(ours))["label"] == "gdl-ours"
            await theirs.destroy(ours)
            await wait_until(lambda: market.rented() == [])
            assert isinstance(backend, ProvesAbsence)
            assert await backend.absent(ours, "gdl-ours")

            other = await theirs.rent("somebody-s")
            assert isinstance(backend, FindsByLabel)
            assert [s.id for s in await backend.labelled("somebody-s")] == [other]
            assert other in [s.id for s in await backend.sessions()]
            assert not await backend.absent(other)
            await backend.release(other)
            await wait_until(lambda: market.rented() == [])
            assert await theirs.listed() == {}
        finally:
            await backend.aclose()
