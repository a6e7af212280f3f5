"""A machine rented with an image that has the engine, where that costs less than to install it. The
marketplaces are the stand-ins, with real SSH machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployment_support import deployed as deployed_by
from deployment_support import last, of_type, spec
from failover_support import quick_orchestrator
from gdl.domain import events as ev
from gdl.domain.offers import OfferQuery
from gdl.orchestrator.service import Orchestrator
from gdl.simulator.fault_models import ContainerFails
from gdl.simulator.markets import MarketStandIn
from market_support import OFFERS
from marketplace_support import market, words
from sandbox_support import isolate
from shopper_support import FakeShopper

QUERY = OfferQuery(model="qwen3-0.6b", min_vram_gb=20, min_cuda=13.0)
"""With a driver that the newest images start on."""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


async def deployed(orchestrator: Orchestrator, name: str, **more: Any) -> list[ev.Recorded]:
    return await deployed_by(orchestrator, spec(name, model="qwen3-0.6b", query=QUERY, **more))


def images(stand_in: MarketStandIn) -> list[str]:
    """Of all machines that were rented, in order."""
    return [str(each.values.get("image")) for each in stand_in.contracts.values()]


def steps(events: list[ev.Recorded]) -> list[str]:
    return [each.name for each in of_type(events, ev.StepFinished)]


async def test_where_pulls_are_free_the_image_that_has_the_engine_is_taken(tmp_path: Path) -> None:
    async with market("vastai", tmp_path) as (orchestrator, vast):
        (first, *_) = await orchestrator.market.offers(QUERY)
        whole = first.session()
        assert whole is not None and whole.image is not None and whole.free_hours > 0
        events = await deployed(orchestrator, "vastai")
        assert last(events).outcome == "released", words(events)
        (image,) = images(vast)
        assert image == whole.image.name and image.startswith("vllm/vllm-openai:v")
        assert steps(events) == ["image"], "nothing is installed"
        (started,) = of_type(events, ev.AttemptStarted)
        assert started.image == image
        preflight = next(e.event for e in events if isinstance(e.event, ev.HostInspected))
        assert dict(preflight.facts.engine.told)["own"].endswith(image.rpartition(":v")[2])


async def test_the_user_may_want_the_usual_image(tmp_path: Path) -> None:
    async with market("vastai", tmp_path, install={"image": "none"}) as (orchestrator, vast):
        events = await deployed(orchestrator, "vastai")
        assert last(events).outcome == "released", words(events)
        (image,) = images(vast)
        assert not image.startswith("vllm/") and "install" in steps(events)


@pytest.mark.parametrize("name", ["vastai", "runpod"])
async def test_an_image_that_the_user_names_is_started(tmp_path: Path, name: str) -> None:
    own = "registry.example/me/cuda:12.8"
    async with market(name, tmp_path, install={"image": own}) as (orchestrator, stand_in):
        events = await deployed(orchestrator, name)
        assert last(events).outcome == "released", words(events)
        # There is no engine in it, so that it is installed as usual.
        assert images(stand_in) == [own] and "install" in steps(events)


async def test_the_engine_of_a_named_image_is_used(tmp_path: Path) -> None:
    own = "vllm/vllm-openai:v0.30.0"  # with CUDA 13.0, which the machine's driver must support
    async with market("runpod", tmp_path, install={"image": own}) as (orchestrator, runpod):
        events = await deployed(orchestrator, "runpod")
        assert last(events).outcome == "released", words(events)
        assert images(runpod) == [own] and steps(events) == ["image"]
        assert "vllm 0.30.0" in words(events)


async def test_after_an_image_that_did_not_start_the_engine_is_installed(tmp_path: Path) -> None:
    async with market("vastai", tmp_path) as (orchestrator, vast):
        vast.draws.inject(ContainerFails(), 1)
        events = await deployed(orchestrator, "vastai", max_attempts=3)
        assert last(events).outcome == "released", words(events)
        first, second = images(vast)
        assert first.startswith("vllm/") and not second.startswith("vllm/")


async def test_an_image_is_not_used_where_nobody_may_choose(tmp_path: Path) -> None:
    async with FakeShopper(offers=OFFERS, ssh=("203.0.113.9", 22, "root")) as shopper:
        image = {"image": "registry.example/me/cuda:12.8"}
        async with quick_orchestrator(tmp_path, shopper.url, install=image) as orchestrator:
            events = await deployed_by(orchestrator, spec("shopper", model="tinyllama"))
    assert last(events).outcome == "released"
    told = [each.text for each in of_type(events, ev.Noted) if each.level == "warning"]
    assert any("is not used: this market does not let you choose one" in text for text in told)
