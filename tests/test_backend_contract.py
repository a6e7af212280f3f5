"""What holds for every registered backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gdl.backends import registry
from gdl.backends.base import Backend
from gdl.domain.errors import MachineError, OfferGone, SessionGone, UsageError
from gdl.domain.models import CostReport, Offer, OfferQuery, RentRequest, SessionStatus
from gdl.settings import Sandbox, Settings
from shopper_server import FakeShopper


@pytest.fixture(params=registry.BACKENDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    with FakeShopper() as shopper:
        settings = Settings(
            shopper_url=shopper.url,
            data_dir=tmp_path,
            sandbox=Sandbox(scenario="calm", speed=1000),
        )
        host = "root@127.0.0.1:2222" if request.param == "ssh" else None
        made = registry.create(request.param, settings, "me", host=host)
        yield made
        await made.aclose()
        assert not shopper.billing()


async def test_offers_rent_session_release(backend: Backend) -> None:
    offers = await backend.offers(OfferQuery())
    assert offers
    assert all(o.backend == backend.name for o in offers)
    assert len({o.id for o in offers}) == len(offers)

    lease = await backend.rent(RentRequest(offers[0], "me", 1, "org/model"))
    # Exactly one way in; a machine rented from strangers never sees the user's agent.
    ways = (lease.private_key is not None, lease.identity_file is not None, lease.agent_auth)
    assert sum(ways) == 1
    assert not (backend.rents and lease.agent_auth)
    ident = lease.session.id

    async with asyncio.timeout(20):
        while (session := await backend.session(ident)).status is SessionStatus.PROVISIONING:
            await asyncio.sleep(0.02)
    assert session.status is SessionStatus.RUNNING
    assert session.ssh is not None
    assert not session.terminal
    assert ident in [s.id for s in await backend.sessions()]
    end = await backend.extend(ident, 1)
    assert (end is not None) == backend.rents
    assert isinstance(await backend.costs(), CostReport)

    await backend.release(ident)
    await backend.release(ident)
    try:
        assert (await backend.session(ident)).status is SessionStatus.STOPPED
    except SessionGone:
        assert ident not in [s.id for s in await backend.sessions()]


async def test_unknown_things(backend: Backend) -> None:
    nobody = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(SessionGone) as caught:
        await backend.session(nobody)
    assert caught.value.hint
    await backend.release(nobody)
    gone = Offer("nowhere-1", backend.name, "nowhere", "GPU", 1, 24, 1.0)
    with pytest.raises(MachineError) as refused:
        await backend.rent(RentRequest(gone, "me", 1, "m"))
    assert isinstance(refused.value, OfferGone)
    assert await backend.sessions() in ([], ())


async def test_check_tells_something(backend: Backend) -> None:
    found = await backend.check()
    assert found
    assert all(f.status in ("ok", "warn", "fail", "info") and f.name and f.detail for f in found)


async def test_closing_twice(backend: Backend) -> None:
    await backend.aclose()


def test_unknown_backend(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown backend") as caught:
        registry.create("cloud\x1b[2J", Settings(data_dir=tmp_path), "me")
    assert all(name in caught.value.hint for name in registry.BACKENDS)
    assert caught.value.message.isprintable()
