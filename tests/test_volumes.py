"""Volumes: made, found again after a lost answer, mounted by a deployment, and deleted. On the
stand-ins of both marketplaces, whose machines have real shells."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli_support import SCENARIOS, Scripted, offer, opener_of
from deployment_support import deployed, last, of_type, spec, told, until
from gdl.bootstrap import open_orchestrator
from gdl.cli.app import run
from gdl.domain import events as ev
from gdl.domain.errors import BackendError, UsageError
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.phase import Billing
from gdl.domain.ranking import rank, why_none
from gdl.domain.volumes import Volume, VolumeRecord
from gdl.engines.vllm.engine import VllmEngine
from gdl.hub.lookup import Hub
from gdl.journal import volumes as journaled
from gdl.journal.store import Journal
from gdl.orchestrator.api.volumes import VolumeList, VolumeRow
from gdl.orchestrator.deployment.engine_habits import cache_exports
from gdl.orchestrator.leasing.model_lookup import ModelLookup
from gdl.orchestrator.leasing.requirements import resolved, session_needs
from gdl.orchestrator.service import Orchestrator
from gdl.settings import load
from gdl.simulator.fault_models import Http
from gdl.simulator.markets import MarketStandIn
from gdl.simulator.scenario import load as load_scenario
from gdl.simulator.scripted_answers import Received
from sandbox_support import isolate
from waiting import wait_until

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
MODEL = "qwen3-0.6b"
MARKETS = ("vastai", "runpod")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@dataclass
class Place:
    """A stand-in marketplace and an orchestrator on it."""

    market: MarketStandIn
    orchestrator: Orchestrator
    data: Path

    async def offer(self) -> Offer:
        """The cheapest that suits the model and can have a volume."""
        query = OfferQuery(model=MODEL, min_vram_gb=20)
        ranked = await self.orchestrator.market.offers(query)
        suits = (r.offer for r in ranked if r.excluded is None)
        return next(o for o in suits if "community" not in o.location)

    async def records(self) -> list[VolumeRecord]:
        journal = await Journal.open(self.data / "journal.sqlite")
        try:
            return await journaled.known(journal)
        finally:
            await journal.aclose()

    async def held(self) -> int:
        """How many volumes there are, by the marketplace's own word."""
        headers = {"Authorization": f"Bearer {self.market.key}"}
        async with httpx.AsyncClient(base_url=self.market.url, headers=headers) as client:
            if self.market.name == "vastai":
                wanted = {"owner": "me", "type": "local_volume"}
                answer = await client.get("/api/v0/volumes/", params=wanted)
                return len(answer.json()["volumes"])
            answer = await client.get("/v2/network-volumes")
            return len(answer.json()["networkVolumes"])


@contextlib.asynccontextmanager
async def place(folder: Path, name: str) -> AsyncIterator[Place]:
    async with MarketStandIn(
        name, load_scenario("calm"), root=folder / "market", speed=100.0
    ) as market:
        settings = load(
            backend=name,
            data_dir=folder / "data",
            timeouts={"install": 30, "start": 30, "session": 30, "http": 5, "release": 40},
            vastai={"url": market.url, "key": market.key},
            runpod={"url": market.url, "key": market.key},
        )
        async with open_orchestrator(settings) as orchestrator:
            yield Place(market, orchestrator, folder / "data")
        assert market.rented() == []


def on(volume: Volume, **more: Any) -> Any:
    query = OfferQuery(model=MODEL, min_vram_gb=20, volume=volume)
    return spec(volume.backend, model=MODEL, query=query, **more)


@pytest.mark.parametrize("name", MARKETS)
async def test_weights_and_caches_of_a_deployment_stay_on_its_volume(
    tmp_path: Path, name: str
) -> None:
    async with place(tmp_path, name) as at:
        offer = await at.offer()
        volume = await at.orchestrator.volumes.make(offer.id, "cache", 50)
        assert volume.price_per_hour > 0 and volume.place
        (record,) = await at.records()
        assert (record.name, record.volume_id) == ("cache", volume.id)

        ident = await at.orchestrator.deployments.deploy(on(volume, after="hold"))
        await until(
            at.orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text
        )
        (row,) = (await at.orchestrator.volumes.list()).rows
        session = at.orchestrator.deployments.state(ident).attempt
        assert session is not None and row.used_by == (session.session_id,) and row.ours
        with pytest.raises(UsageError, match="has the volume cache mounted"):
            await at.orchestrator.volumes.delete("cache")
        await at.orchestrator.deployments.cancel(ident)
        events = await told(at.orchestrator, ident)
        assert last(events).billing is Billing.RELEASED

        noted = " ".join(e.text for e in of_type(events, ev.Noted))
        assert "weights and caches are kept on the volume cache" in noted
        (kept,) = (tmp_path / "market").glob("market-*/volumes/*")
        assert kept.name == volume.id and (kept / "gdl-tui").is_dir()

        (idle,) = (await at.orchestrator.volumes.list()).rows
        assert idle.used_by == () and idle.cost is not None and idle.cost >= 0
        await at.orchestrator.volumes.delete(volume.id)
        assert (await at.orchestrator.volumes.list()).rows == () and await at.held() == 0
        assert (await at.records())[0].gone_at is not None


async def test_only_machines_that_can_mount_it_are_taken(tmp_path: Path) -> None:
    async with place(tmp_path, "vastai") as at:
        volume = await at.orchestrator.volumes.make((await at.offer()).id, "cache", 50)
        events = await deployed(at.orchestrator, on(replace(volume, place="1")))
        end = last(events)
        assert (end.outcome, end.kind) == ("failed", "no_suitable_offer")
        assert at.market.contracts == {}
        await at.orchestrator.volumes.delete("cache")


@pytest.mark.parametrize("name", MARKETS)
@pytest.mark.parametrize("answer", ["cut", "garbage", "500"])
async def test_a_volume_whose_answer_did_not_arrive_is_found_by_its_name(
    tmp_path: Path, name: str, answer: Any
) -> None:
    made = 0
    async with place(tmp_path, name) as at:
        offer = await at.offer()
        # The lists before it, the search, the request itself: each has its turn.
        for skip in range(4):
            at.market.draws.inject(Http(on="volumes", answer=answer, made=True, skip=skip))
            with contextlib.suppress(BackendError):
                await at.orchestrator.volumes.make(offer.id, f"cache-{skip}", 50)
            found = (await at.orchestrator.volumes.list()).rows
            assert len(found) == await at.held() <= 1
            assert all(row.ours for row in found)
            made += len(found)
            for row in found:
                await at.orchestrator.volumes.delete(row.volume.id)
            assert await at.held() == 0
    assert made >= 2


@pytest.mark.parametrize("name", MARKETS)
async def test_one_that_was_asked_for_before_a_kill_is_ours(tmp_path: Path, name: str) -> None:
    async with place(tmp_path, name) as at:
        volume = await at.orchestrator.volumes.make((await at.offer()).id, "cache", 50)
        (record,) = await at.records()
        journal = await Journal.open(at.data / "journal.sqlite")
        # As the journal was when the process was killed, with another that was never made.
        await journaled.save(journal, replace(record, volume_id=None, price_per_hour=0.0))
        long_ago = record.requested_at - timedelta(hours=1)
        never = replace(record, intent_id="2", name="never", volume_id=None, requested_at=long_ago)
        fresh = replace(record, intent_id="3", name="fresh", volume_id=None)
        await journaled.save(journal, never)
        await journaled.save(journal, fresh)
        await journal.aclose()
        listed = await at.orchestrator.volumes.list()
        (row,) = listed.rows
        assert row.ours and row.volume.id == volume.id
        assert [r.name for r in listed.in_doubt] == ["fresh"]
        states = {r.name: (r.volume_id, r.open) for r in await at.records()}
        assert states == {
            "cache": (volume.id, True),
            "never": (None, False),
            "fresh": (None, True),
        }
        with pytest.raises(UsageError, match="or may exist"):
            await at.orchestrator.volumes.make((await at.offer()).id, "fresh", 50)
        await at.orchestrator.volumes.delete("cache")


async def test_a_volume_that_is_not_mounted_ends_the_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MarketStandIn, "_mount", lambda *_: {})
    async with place(tmp_path, "vastai") as at:
        volume = await at.orchestrator.volumes.make((await at.offer()).id, "cache", 50)
        events = await deployed(at.orchestrator, on(volume, max_attempts=1))
        end = last(events)
        assert (end.outcome, end.billing) == ("failed", Billing.RELEASED)
        assert "the volume cache is not mounted at /workspace" in end.attempts[0].reason
        await at.orchestrator.volumes.delete("cache")


@pytest.mark.parametrize("mounted", [True, False])
async def test_the_engine_keeps_its_files_on_the_volume_where_it_is_mounted(
    tmp_path: Path, mounted: bool
) -> None:
    exports = cache_exports(VllmEngine.info, Volume("7", "vastai", "cache", 50, 0.01, "11"))
    script = exports + 'printf "%s\n" "${HF_HOME-}" "${VLLM_CACHE_ROOT-}" "${HF_HUB_CACHE-}"'
    environment = {"PATH": os.environ["PATH"], "HF_HUB_CACHE": "/elsewhere"}
    if mounted:
        environment["GDL_VOLUME"] = str(tmp_path)
    shell = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", script, env=environment, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await shell.communicate()
    ours = [str(tmp_path / "gdl-tui/huggingface"), str(tmp_path / "gdl-tui/vllm"), ""]
    assert out.decode().splitlines() == (ours if mounted else ["", "", "/elsewhere"])


def test_an_offer_elsewhere_is_excluded_with_that_reason() -> None:
    volume = Volume("7", "vastai", "cache", 50, 0.01, "11")
    offers = [
        Offer("a", "vastai", "vastai", "RTX 4090", 1, 24, 0.4, machine_id="11"),
        Offer("b", "vastai", "vastai", "RTX 4090", 1, 24, 0.3, machine_id="12"),
        Offer("c", "runpod", "runpod", "RTX 4090", 1, 24, 0.2, location="11"),
    ]
    first, *others = rank(offers, OfferQuery(volume=volume))
    assert first.offer.id == "a" and first.excluded is None
    assert {r.exclusion for r in others} == {"volume"}
    assert others[0].excluded == "cannot mount the volume cache (vastai, 11)"
    what, helps = why_none(others, OfferQuery(volume=volume))
    assert "2 cannot mount the volume" in what and "omit --volume" in helps


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    monkeypatch.setenv("GDL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    rows = (
        VolumeRow(Volume("7", "vastai", "cache", 50, 0.01, "11"), True, ("s-1",), 0.24),
        VolumeRow(Volume("v\u202e8", "runpod", "other", 100, 0.0096, "US-KS-2"), False),
    )
    doubt = (VolumeRecord("i", "vastai", "maybe", 50, NOW),)
    return Scripted(SCENARIOS["destroy"], kept_volumes=VolumeList(rows, doubt, {"runpod": "away"}))


def test_they_are_listed_with_what_they_cost(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["volumes"], opener=opener_of(scripted)) == 0
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()][1:] == [
        ["cache", "7", "vastai", "11", "50", "GB", "$0.010/h", "$7.30", "$0.24", "s-1"],
        ["other", "v8", "runpod", "US-KS-2", "100", "GB", "$0.0096/h", "$7.01", "nobody"],
    ]
    assert "it is not known whether the volume maybe was made at vastai" in err
    assert "runpod does not list its volumes: away" in err
    assert run(["volumes", "--json"], opener=opener_of(scripted)) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first == {
        "id": "7", "backend": "vastai", "name": "cache", "size_gb": 50, "price_per_hour": 0.01,
        "place": "11", "ours": True, "used_by": ["s-1"], "cost": 0.24,
    }  # fmt: skip


def test_they_are_made_deleted_and_deployed_on_by_name(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    opener = opener_of(scripted)
    assert run(["volumes", "make", "new", "--size", "80", "--offer", "o-1"], opener=opener) == 0
    assert "$0.010/h, $7.30 a month until it is deleted" in capsys.readouterr().out
    assert run(["volumes", "delete", "cache", "--yes"], opener=opener) == 0
    assert {"make new 80 o-1", "delete cache"} <= set(scripted.calls)
    assert run(["deploy", "m", "--destroy", "--volume", "cache"], opener=opener) == 0
    assert scripted.spec is not None and scripted.spec.query.volume is not None
    assert scripted.spec.query.volume.id == "7"
    assert run(["deploy", "m", "--destroy", "--volume", "none"], opener=opener) == 2
    for words in (["make", "x", "--size", "9", "--offer", "o"], ["delete", "cache"]):
        assert run(["--read-only", "volumes", *words], opener=opener) == 2


def test_offers_that_cannot_mount_it_are_listed_with_that_reason(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    there = replace(offer("dear", 2.0), backend="vastai", machine_id="11")
    scripted.offered = (there, offer("cheap", 0.3))
    assert run(["offers", "--volume", "cache"], opener=opener_of(scripted)) == 0
    first, second = capsys.readouterr().out.splitlines()[1:]
    assert "dear" in first and "cannot mount" not in first
    assert "cheap" in second and "cannot mount the volume cache (vastai, 11)" in second
    for words in (["prices"], ["plan"], ["deploy", "--dry-run", "--volume-size", "9"]):
        assert run([*words, "qwen3-8b", "--volume", "cache"], opener=opener_of(scripted)) == 0
        out = capsys.readouterr().out
        assert "dear" in out and "cheap" not in out, words
    words = ["deploy", "qwen3-8b", "--dry-run", "--volume", "none", "--volume-size", "9"]
    assert run(words, opener=opener_of(scripted)) == 0
    assert "cheap" in capsys.readouterr().out and not any("make" in c for c in scripted.calls)


def test_one_is_made_for_a_deployment_where_the_cheapest_machine_is(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.offered = (offer("dear", 2.0), offer("cheap", 0.3))
    words = ["deploy", "m", "--destroy", "--volume", "none", "--volume-size", "60"]
    assert run(words, opener=opener_of(scripted)) == 0
    assert "make none 60 cheap" in scripted.calls
    assert "volume none is made at vastai, 11: $0.010/h" in capsys.readouterr().err
    assert scripted.spec is not None and scripted.spec.query.volume is not None
    assert scripted.spec.query.volume.name == "none"


def test_a_machine_whose_model_is_on_a_volume_needs_less_disk(tmp_path: Path) -> None:
    engine = VllmEngine()
    lookup = ModelLookup(Hub(load(data_dir=tmp_path, hub={"offline": True}), lambda: NOW))
    model = resolved(engine, lookup.kept(engine, "qwen3-32b"), OfferQuery())
    volume = Volume("7", "vastai", "cache", 100, 0.01, "11")
    plain = session_needs(engine, model, OfferQuery(), load())
    mounted = session_needs(engine, model, OfferQuery(volume=volume), load())
    assert mounted.disk_gb < 25 < 60 < plain.disk_gb
    assert mounted.download_gb == plain.download_gb  # the first time, all of it is fetched


@pytest.mark.parametrize("name", MARKETS)
async def test_one_whose_maker_is_killed_while_it_is_made_is_found_and_ours(
    tmp_path: Path, name: str
) -> None:
    async with place(tmp_path, name) as at:
        offer = await at.offer()
        words = ("volumes", "make", "cache", "--size", "50", "--offer", offer.id, "-y")
        environment = {
            **os.environ,
            "GDL_DATA_DIR": str(at.data),
            f"GDL_{name.upper()}__URL": at.market.url,
            f"GDL_{name.upper()}__KEY": at.market.key,
        }
        maker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gdl", "--backend", name, *words), env=environment
        )

        async def kill(request: Received) -> None:
            if request.method in ("PUT", "POST") and request.path.rstrip("/").endswith("volumes"):
                maker.kill()

        at.market.arrived(kill)
        assert await maker.wait() == -9
        at.market.arrived(None)

        async def there() -> bool:
            return await at.held() == 1

        await wait_until(there)
        (row,) = (await at.orchestrator.volumes.list()).rows
        assert row.ours and row.volume.name == "cache"
        await at.orchestrator.volumes.delete("cache")
        assert await at.held() == 0
