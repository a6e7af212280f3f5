"""What holds for every backend that the registry knows: built-in ones, those installed beside, and
one of another package."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gdl.backends import base, registry
from gdl.backends.base import Backend, BackendContext
from gdl.backends.shopper import benchmark_upload
from gdl.domain.benchmark import BenchReport, Measurement, Percentiles, Publication
from gdl.domain.errors import MachineError, OfferGone, SessionGone, UsageError
from gdl.domain.host import Gpu, HostFacts
from gdl.domain.money import CostReport
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.session import RentRequest, Session, SessionStatus
from gdl.keyring import ssh_keys
from gdl.settings import Sandbox, Settings
from gdl.simulator import markets
from gdl.simulator.benchmark_fields import wrong_field
from gdl.simulator.scenario import load
from shopper_support import FakeShopper
from waiting import wait_until


@asynccontextmanager
async def market(name: str, folder: Path) -> AsyncIterator[dict[str, Any]]:
    """The settings for a backend, and what it asks; nothing of it is left rented."""
    if name not in markets.NAMES:
        async with FakeShopper() as shopper:
            yield {"shopper_url": shopper.url}
            assert not shopper.billing()
        return
    async with markets.MarketStandIn(name, load("calm"), root=folder, speed=1000) as asked:
        yield {name: {"url": asked.url, "key": asked.key}}
        await wait_until(lambda: not asked.rented())


@pytest.fixture(params=registry.names())
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    async with market(request.param, tmp_path / "market") as named:
        settings = Settings(
            data_dir=tmp_path / "data", sandbox=Sandbox(scenario="calm", speed=1000), **named
        )
        # Whoever takes a host is given one.
        context = BackendContext(settings, "me", {"host": "root@127.0.0.1:2222"})
        made = registry.create(request.param, context)
        yield made
        await made.aclose()


async def test_offers_rent_session_release(backend: Backend, tmp_path: Path) -> None:
    offers = await backend.offers(OfferQuery())
    assert offers
    assert all(o.backend == backend.name for o in offers)
    assert len({o.id for o in offers}) == len(offers)

    key = _public_key(tmp_path) if backend.traits.takes_key else ""
    offer = next(offer for offer in offers if offer.available)
    rented = await backend.rent(
        RentRequest(offer, "me", 1, "org/model", label="gdl-1", public_key=key)
    )
    # Exactly one way in; a machine rented from strangers never sees the user's agent.
    ways = (rented.private_key is not None, rented.identity_file is not None, rented.agent_auth)
    assert sum(ways) == (0 if backend.traits.takes_key else 1)
    assert not (backend.traits.bills and rented.agent_auth)
    ident = rented.session.id

    async def ready() -> Session | None:
        found = await backend.session(ident)
        return None if found.status is SessionStatus.PROVISIONING else found

    session = await wait_until(ready)
    assert session is not None
    assert session.status is SessionStatus.RUNNING
    assert session.ssh is not None
    assert not session.terminal
    assert ident in [s.id for s in await backend.sessions()]
    if isinstance(backend, base.Extends):
        assert await base.extend(backend, ident, 1) is not None
    elif backend.traits.bills:
        with pytest.raises(UsageError, match="no reserved hours"):
            await base.extend(backend, ident, 1)
    else:
        assert await base.extend(backend, ident, 1) is None
    assert isinstance(await base.costs(backend), CostReport)

    await backend.release(ident)
    await backend.release(ident)
    if isinstance(backend, base.ProvesAbsence):
        # A machine that its marketplace still lists is not gone, whatever its state.
        await wait_until(lambda: backend.absent(ident, "gdl-1"))
    try:
        assert (await backend.session(ident)).status is SessionStatus.STOPPED
    except SessionGone:
        assert ident not in [s.id for s in await backend.sessions()]


def _public_key(folder: Path) -> str:
    path = folder / "id"
    path.write_text(ssh_keys.new_key("test").reveal())
    return ssh_keys.public_part(path)


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


REPORT = BenchReport(
    *("tiny", 9, 1, 4.0, 90, 900, 2.25, 225.0),
    Percentiles(20.0, 18.0, 40.0, 44.0),
    Percentiles(9.0, 8.0, 12.0, 13.0),
    Percentiles(500.0, 480.0, 610.0, 640.0),
    concurrency=4,
)
MEASURED = Measurement(
    *(datetime(2026, 1, 1, 12, tzinfo=UTC), "d1", "s1", "shopper", "tiny", "RTX 3090", 2),
    *("vastai", 0.9, "builtin", REPORT),
)
HOST = HostFacts(
    *("Linux", "x86_64", 16, 62.7, 100.0),
    gpus=(Gpu("NVIDIA GeForce RTX 3090", 24576), Gpu("NVIDIA GeForce RTX 3090", 24576)),
    driver="580.65.06",
    cuda="13.0",
)


async def test_benchmarks_are_published_or_refused(backend: Backend) -> None:
    if not isinstance(backend, base.Publishes):
        with pytest.raises(UsageError, match="cannot publish benchmarks"):
            await base.publish(backend, Publication(MEASURED))
        return
    first = await base.publish(backend, Publication(MEASURED))
    second = await base.publish(backend, Publication(MEASURED, HOST))
    assert first and second and first != second
    if not isinstance(backend, base.TellsBenchmarks):
        assert backend.traits.simulated, "its figures are for nobody"
        return
    # Others find there how fast the whole machine was.
    rate = REPORT.output_tokens / REPORT.duration_s
    found = await backend.benchmarks("tiny")
    assert [(each.machine.gpus, each.tokens_per_s) for each in found] == [(2, rate)] * 2
    assert not any(each.own for each in found)
    assert await backend.benchmarks("another") == []


def test_a_benchmark_in_the_words_of_the_service() -> None:
    body = benchmark_upload.body(Publication(MEASURED, HOST))
    assert body == {
        "timestamp": "2026-01-01T12:00:00+00:00",
        "hardware": {
            "gpu_name": "NVIDIA GeForce RTX 3090",
            "gpu_count": 2,
            "gpu_memory_mib": 24576,
            "driver_version": "580.65.06",
            "cuda_version": "13.0",
            "cpu_cores": 16,
            "ram_gib": 63,
        },
        "model": {"name": "tiny", "runtime": "vllm"},
        "test_config": {"duration_minutes": 1, "prompt_types": ["builtin"], "concurrent_reqs": 4},
        "provider": "vastai",
        "price_per_hour": 0.9,
        "results": {
            "total_requests": 10,
            "total_tokens": 900,
            "total_prompt_tokens": 90,
            "total_errors": 1,
            "duration_seconds": 4.0,
            "avg_tokens_per_second": 225.0,
            "avg_latency_ms": 500.0,
            "p50_latency_ms": 480.0,
            "p95_latency_ms": 610.0,
            "p99_latency_ms": 640.0,
            "requests_per_minute": 135.0,
            "avg_tokens_per_request": 100.0,
            "error_rate": 0.1,
            "avg_ttft_ms": 20.0,
            "p50_ttft_ms": 18.0,
            "p95_ttft_ms": 40.0,
        },
    }
    assert wrong_field(body) == ""
    alone = benchmark_upload.body(Publication(MEASURED))
    assert alone["hardware"] == {"gpu_name": "RTX 3090", "gpu_count": 2}


async def test_closing_twice_leaves_nothing_open(backend: Backend) -> None:
    before = asyncio.all_tasks()
    assert await backend.offers(OfferQuery()) and await backend.check()
    await backend.aclose()
    await backend.aclose()
    # The connections that the other side has seen to close are its tasks, too.
    await wait_until(lambda: asyncio.all_tasks() <= before)


def test_unknown_backend(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown backend") as caught:
        registry.create("cloud\x1b[2J", BackendContext(Settings(data_dir=tmp_path), "me"))
    assert all(name in caught.value.hint for name in registry.names())
    assert caught.value.message.isprintable()
