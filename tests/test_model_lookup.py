"""From what the user typed to a machine that is rented, or not: with a hub in between."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployment_support import deployed, last, of_type
from deployment_support import spec as any_spec
from failover_support import quick_orchestrator
from gdl.domain import events as ev
from gdl.domain.errors import ModelRefused, UnknownModel, UsageError
from gdl.domain.offers import OfferQuery
from gdl.domain.spec import DeploymentSpec
from hub_server import (
    LLAMA_HEADER,
    QWEN_CONFIG,
    Repository,
    Running,
    SimulatedHub,
    gguf,
    running_hub,
    table,
    text_model,
    weights,
)
from shopper_support import FakeShopper, listing

OWN = "acme/turbine-chat"
"""Its name tells no size, and no catalogue has it."""
BIG = "acme/turbine-big"
ADAPTER = "acme/turbine-lora"


@pytest.fixture
async def shopper() -> AsyncIterator[FakeShopper]:
    offers = [listing("vastai-101", price=0.2, machine=1)]
    async with FakeShopper(offers=offers, ssh=("203.0.113.9", 22, "root")) as fake:
        yield fake


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    adapter = {
        "adapter_config.json": table({"base_model_name_or_path": OWN}),
        "adapter_model.safetensors": weights(1_000_000),
    }
    simulated = SimulatedHub.of(
        [
            text_model(OWN),
            text_model(BIG, size=500_000_000_000),
            Repository(ADAPTER, adapter),
            text_model("acme/odd", config=QWEN_CONFIG | {"architectures": ["OddForCausalLM"]}),
            text_model("acme/closed", gated="manual"),
            Repository("acme/files-GGUF", {"a-Q4_K_M.gguf": gguf(LLAMA_HEADER, 10**8)}),
            Repository("acme/older-name", moved_to=OWN),
        ]
    )
    async with running_hub(simulated, tmp_path / "hub") as running:
        yield running


def spec(model: str) -> DeploymentSpec:
    return any_spec("shopper", model=model)


async def test_what_is_deployed_is_sized_by_its_files(
    tmp_path: Path, shopper: FakeShopper, hub: Running
) -> None:
    async with quick_orchestrator(
        tmp_path, shopper.url, hub={"endpoint": hub.url, "offline": False}
    ) as orchestrator:
        events = await deployed(orchestrator, spec(OWN))
        (planned,) = of_type(events, ev.DeploymentPlanned)
        assert planned.needed_vram_gb is not None
        assert 1.2 < planned.needed_vram_gb < 12
        assert last(events).outcome == "released"
        # It does not fit on what is listed, by its files: the name tells nothing.
        (offer,) = await orchestrator.market.offers(OfferQuery(model=BIG))
        assert offer.excluded is not None
        (offer,) = await orchestrator.market.offers(OfferQuery(model=OWN))
        assert offer.excluded is None
        assert orchestrator.market.size(OfferQuery(model=OWN)).need is not None


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (ADAPTER, f"is an adapter \\(LoRA\\) for {OWN}"),
        ("acme/odd", "an architecture that the engine does not know: OddForCausalLM"),
        ("acme/closed", "acme/closed is gated"),
        ("acme/nothing-like-it", "no model acme/nothing-like-it on the hub"),
        ("https://huggingface.co/datasets/acme/rows", "is a dataset of the hub, not a model"),
    ],
)
async def test_what_cannot_be_served_rents_nothing(
    tmp_path: Path, shopper: FakeShopper, hub: Running, model: str, told: str
) -> None:
    async with quick_orchestrator(
        tmp_path, shopper.url, hub={"endpoint": hub.url, "offline": False}
    ) as orchestrator:
        with pytest.raises(UsageError, match=told) as caught:
            await orchestrator.deployments.deploy(spec(model))
        assert caught.value.hint
        assert shopper.sessions == {}
        assert await orchestrator.support.past_deployments() == []


async def test_a_typo_names_what_was_meant(
    tmp_path: Path, shopper: FakeShopper, hub: Running
) -> None:
    async with quick_orchestrator(
        tmp_path, shopper.url, hub={"endpoint": hub.url, "offline": False}
    ) as orchestrator:
        with pytest.raises(UnknownModel, match=OWN[:-1]) as caught:
            await orchestrator.market.offers(OfferQuery(model=OWN[:-1]))
        assert caught.value.suggestions[0] == OWN
        with pytest.raises(ModelRefused):
            await orchestrator.market.offers(OfferQuery(model=ADAPTER))
        # A licence can still be accepted: what it would cost may be looked at.
        assert len(await orchestrator.market.offers(OfferQuery(model="acme/closed"))) == 1


async def test_a_renamed_model_is_deployed_by_its_new_name(
    tmp_path: Path, shopper: FakeShopper, hub: Running
) -> None:
    async with quick_orchestrator(
        tmp_path, shopper.url, hub={"endpoint": hub.url, "offline": False}
    ) as orchestrator:
        events = await deployed(orchestrator, spec("https://huggingface.co/acme/older-name"))
    (planned,) = of_type(events, ev.DeploymentPlanned)
    assert planned.model_id == OWN


async def test_with_the_hub_away_a_model_is_guessed_and_that_is_said(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with quick_orchestrator(
            tmp_path, shopper.url, hub={"endpoint": endpoint, "offline": False}
        ) as orchestrator:
            async with asyncio.timeout(20):
                assert await orchestrator.market.offers(OfferQuery(model="org/some-7B"))
            events = await deployed(orchestrator, spec("org/some-7B"))
    notes = [each.text for each in of_type(events, ev.Noted)]
    assert any("guessed from the name: the model hub" in note for note in notes), notes


@pytest.mark.parametrize("model", ["qwen3-8b:gguf", "unsloth/Qwen3-8B-GGUF", "org/some-7B-GGUF"])
async def test_with_the_hub_away_no_machine_is_rented_for_a_gguf_file_that_is_not_named(
    tmp_path: Path, shopper: FakeShopper, model: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with quick_orchestrator(
            tmp_path, shopper.url, hub={"endpoint": endpoint, "offline": False}
        ) as orchestrator:
            with pytest.raises(ModelRefused, match="no file of it is named") as caught:
                await orchestrator.deployments.deploy(spec(model))
            assert caught.value.hint.endswith("-GGUF:Q4_K_M")
            assert shopper.sessions == {}
            assert await orchestrator.market.offers(OfferQuery(model="qwen3-8b:Q4_K_M"))


async def test_what_was_kept_serves_when_the_hub_goes_away(
    tmp_path: Path, shopper: FakeShopper, hub: Running
) -> None:
    settings = {"endpoint": hub.url, "offline": False, "fresh_hours": 0}
    async with quick_orchestrator(tmp_path, shopper.url, hub=settings) as orchestrator:
        await orchestrator.market.offers(OfferQuery(model=OWN))
    settings["offline"] = True
    before = len(hub.paths)
    async with quick_orchestrator(tmp_path, shopper.url, hub=settings) as orchestrator:
        assert orchestrator.market.size(OfferQuery(model=OWN)).need is not None
        assert last(await deployed(orchestrator, spec(OWN))).outcome == "released"
    assert len(hub.paths) == before


async def test_a_need_that_is_guessed_says_of_what(
    tmp_path: Path, shopper: FakeShopper, hub: Running
) -> None:
    settings = {"endpoint": hub.url, "offline": False}
    async with quick_orchestrator(tmp_path, shopper.url, hub=settings) as orchestrator:
        market = orchestrator.market
        for model in (OWN, "acme/closed", "acme/files-GGUF:Q4_K_M"):
            await market.offers(OfferQuery(model=model))
        others = ("org/x-7B", "org/x", "phi-4")
        guesses = {
            model: market.size(OfferQuery(model=model)).guess
            for model in (OWN, "acme/closed", "acme/files-GGUF:Q4_K_M", *others)
        }
    assert guesses == {
        OWN: "",
        "acme/closed": "the size of its files",
        "acme/files-GGUF:Q4_K_M": "",
        "org/x-7B": "its name",
        "org/x": "",
        "phi-4": "",
    }


async def test_with_the_hub_away_and_no_size_in_the_name_nothing_is_rented(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        settings = {
            "endpoint": f"http://127.0.0.1:{taken.getsockname()[1]}",
            "offline": False,
        }
        async with quick_orchestrator(tmp_path, shopper.url, hub=settings) as orchestrator:
            with pytest.raises(UsageError, match="the size of some/Thing is not known") as caught:
                await orchestrator.deployments.deploy(spec("some/Thing"))
            assert "cannot be reached, and its name tells no size" in caught.value.message
            assert "--min-vram" in caught.value.hint
            assert shopper.sessions == {}
            size = orchestrator.market.size(OfferQuery(model="some/Thing"))
            assert (size.need, size.guess) == (None, "") and size.untold

            # The user says it, and that nothing else did is told.
            said = replace(spec("some/Thing"), query=OfferQuery(min_vram_gb=20.0))
            events = await deployed(orchestrator, said)
            notes = [each.text for each in of_type(events, ev.Noted)]
            assert any("is not known: the model hub" in each for each in notes)
            assert last(await deployed(orchestrator, spec("/models/x"))).outcome == "released"
