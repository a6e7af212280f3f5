"""The simulated market has a model hub of its own: a demonstration asks no network."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest

from gdl.backends.sandbox.simulated_hub import transport
from gdl.domain.errors import HubAway
from gdl.domain.model_facts import FactsSource
from gdl.domain.model_names import HubName
from gdl.domain.servability import ModelKind, judge
from gdl.hub import catalogue
from gdl.hub.lookup import Hub
from gdl.orchestrator.leasing.open_hub import open_hub
from gdl.settings import Hub as HubSettings
from gdl.settings import Settings


@pytest.fixture
async def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    def refused(*_: object) -> NoReturn:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    settings = Settings(data_dir=tmp_path, hub=HubSettings(offline=False))
    opened = Hub(settings, lambda: datetime.now(UTC), simulated=transport)
    yield opened
    await opened.aclose()


async def test_it_tells_what_the_catalogue_knows_as_the_real_hub_would(hub: Hub) -> None:
    told = [e for e in catalogue.entries() if e.config and e.size_gb]
    assert len(told) > 60
    for entry in told[:: len(told) // 12]:
        facts = await hub.facts(HubName(entry.id))
        assert facts.source is FactsSource.HUB
        assert facts.config == entry.config or entry.gated
        assert facts.weights_bytes == entry.facts().weights_bytes
        assert facts.gated == bool(facts.withheld) == entry.gated
        assert facts.license == entry.license


async def test_a_gated_model_asks_for_a_token_there_too(hub: Hub) -> None:
    gated = next(e for e in catalogue.entries() if e.gated and e.config and e.size_gb)
    assert judge(await hub.facts(HubName(gated.id))).kind is ModelKind.GATED


async def test_it_has_gguf_files_and_a_search(hub: Hub) -> None:
    entry = next(e for e in catalogue.entries() if e.variant("gguf"))
    variant = entry.variant("gguf")
    assert variant is not None
    facts = await hub.facts(HubName(variant.id, "Q4_K_M"))
    assert facts.gguf is not None
    assert facts.gguf.metadata["llama.block_count"] == entry.layers
    assert judge(await hub.facts(HubName(variant.id))).kind is ModelKind.CHOICE
    found = await hub.search(entry.id.partition("/")[2][:6])
    assert entry.id in {each.id for each in found}


async def test_other_models_are_not_known_there_and_that_is_no_verdict(hub: Hub) -> None:
    with pytest.raises(HubAway, match="the simulated hub has only the catalogue's models"):
        await hub.facts(HubName("acme/private-7b"))
    assert (await hub.facts(HubName(catalogue.entries()[0].id))).source is FactsSource.HUB


async def test_a_simulated_market_takes_it_unless_a_hub_is_named(tmp_path: Path) -> None:
    mirror = HubSettings(endpoint="https://mirror.example")
    opened = [
        open_hub(settings).endpoint
        for settings in (
            Settings(backend="sandbox", data_dir=tmp_path),
            Settings(backend="sandbox", data_dir=tmp_path, hub=mirror),
            Settings(backend="shopper", data_dir=tmp_path),
        )
    ]
    assert opened == ["http://hub.sandbox", "https://mirror.example", "https://huggingface.co"]
