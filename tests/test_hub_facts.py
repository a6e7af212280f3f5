"""What the hub says of a model, and who is asked for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gdl.domain.errors import HubAway, ModelRefused, UnknownModel, UsageError
from gdl.domain.model_facts import FactsSource
from gdl.domain.model_names import HubName
from gdl.domain.servability import ModelKind, judge
from hub_server import (
    QWEN_CONFIG,
    TOKEN,
    Repository,
    Running,
    SimulatedHub,
    running_hub,
    table,
    text,
    text_model,
    weights,
)

QWEN = "Qwen/Qwen3-0.6B"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    gated = text_model(LLAMA, gated="manual")
    private = text_model("acme/secret-7b", private=True)
    simulated = SimulatedHub.of(
        [
            text_model(QWEN),
            gated,
            private,
            text_model("Qwen/Qwen3-8B-Instruct-2507", info={"downloads": 5}),
            Repository("facebook/old-name", moved_to="Qwen/Qwen3-0.6B"),
        ]
    )
    simulated.tokens = {TOKEN: frozenset({LLAMA, "acme/secret-7b"}), "hf_stranger": frozenset()}
    async with running_hub(simulated, tmp_path) as running:
        yield running


async def test_a_model_is_known_after_two_round_trips(hub: Running) -> None:
    facts = await hub.facts(QWEN)
    assert facts.source is FactsSource.HUB
    assert facts.config == QWEN_CONFIG
    assert facts.source_words == f"from the hub, revision {facts.revision[:7]}"
    assert facts.chat_template == "{{ messages }}"
    assert facts.generation_config["temperature"] == 0.6
    assert facts.tokenizer_config["tokenizer_class"] == "Qwen2Tokenizer"
    assert (facts.license, facts.gated, facts.downloads) == ("apache-2.0", False, 29_646_527)
    assert facts.weights_bytes == 1_192_000_000
    assert facts.weights_bytes < facts.download_bytes < 1_204_000_000
    assert facts.last_modified == datetime(2026, 10, 5, 8, tzinfo=UTC)
    # One question, then the four files that are there, each sent on once by the hub.
    assert len([path for path in hub.paths if path.startswith("/api/models/")]) == 1
    assert len([path for path in hub.paths if "/resolve/" in path]) == 4
    assert len(hub.paths) == 9


async def test_what_is_known_is_not_asked_for_again(hub: Running) -> None:
    asked = await hub.facts(QWEN)
    before = len(hub.paths)
    kept = await hub.facts("qwen/qwen3-0.6b")
    assert len(hub.paths) == before
    assert kept == replace(asked, source=FactsSource.CACHED)
    assert kept.told_at is not None
    assert kept.source_words.startswith(f"the last answer from the hub, of {kept.told_at.day} ")


async def test_an_old_answer_is_renewed_by_one_request(hub: Running) -> None:
    now = datetime.now(UTC)
    client = hub.client(clock=lambda: now)
    first = await client.facts(HubName(QWEN))
    before = len(hub.paths)
    now += timedelta(hours=25)
    renewed = await client.facts(HubName(QWEN))
    assert hub.paths[before:] == [f"/api/models/{QWEN}"], "the revision is the same"
    assert renewed.told_at == now
    assert renewed == replace(first, told_at=now)

    hub.hub.add(text_model(QWEN, config=QWEN_CONFIG | {"num_hidden_layers": 30}))
    now += timedelta(hours=25)
    assert (await client.facts(HubName(QWEN))).config["num_hidden_layers"] == 30


async def test_offline_the_last_answer_is_told_with_its_date(hub: Running) -> None:
    await hub.facts(QWEN)
    before = len(hub.paths)
    years_later = datetime.now(UTC) + timedelta(days=900)
    client = hub.client(offline=True, clock=lambda: years_later)
    kept = await client.facts(HubName(QWEN))
    assert (kept.source, kept.trouble) == (FactsSource.CACHED, "offline: the hub was not asked")
    assert client.kept(HubName(QWEN)) == kept
    with pytest.raises(HubAway, match="offline"):
        await client.facts(HubName("Qwen/Qwen3-8B-Instruct-2507"))
    assert len(hub.paths) == before


async def test_a_renamed_model_goes_by_its_new_name(hub: Running) -> None:
    facts = await hub.facts("facebook/old-name")
    assert (facts.id, facts.asked) == (QWEN, "facebook/old-name")
    before = len(hub.paths)
    assert (await hub.facts("facebook/old-name")).id == QWEN
    assert len(hub.paths) == before, "it is kept by both"


async def test_a_gated_model_without_a_token_tells_what_is_open(hub: Running) -> None:
    facts = await hub.facts(LLAMA)
    assert facts.gated
    assert facts.weights_bytes == 1_192_000_000
    assert facts.architectures == ("Qwen3ForCausalLM",)
    assert "config.json" in facts.withheld
    refused = judge(facts)
    assert refused.kind is ModelKind.GATED
    assert refused.what == f"{LLAMA} is gated: its licence must be accepted, and no HF_TOKEN is set"
    assert refused.helps == f"accept it at https://huggingface.co/{LLAMA}, then set HF_TOKEN"

    stranger = await hub.facts(LLAMA, token="hf_stranger")
    assert "HF_TOKEN's account has no access" in judge(stranger, token=True).what

    # What was withheld is asked for again as soon as there is a token.
    mine = await hub.facts(LLAMA, token=TOKEN)
    assert mine.withheld == ()
    assert mine.config == QWEN_CONFIG
    assert judge(mine, token=True).servable


async def test_a_private_model_needs_its_owners_token(hub: Running) -> None:
    with pytest.raises(UnknownModel, match="no model acme/secret-7b on the hub, or it is private"):
        await hub.facts("acme/secret-7b")
    with pytest.raises(UnknownModel, match="HF_TOKEN's account may not see it"):
        await hub.facts("acme/secret-7b", token="hf_stranger")
    facts = await hub.facts("acme/secret-7b", token=TOKEN)
    assert facts.private
    assert judge(facts, token=True).servable


async def test_a_token_that_is_not_valid_is_said(hub: Running) -> None:
    with pytest.raises(UsageError, match="the model hub does not accept HF_TOKEN") as caught:
        await hub.facts(QWEN, token="hf_expired")
    assert "hf_expired" not in caught.value.message + caught.value.hint


async def test_the_token_goes_to_the_hub_alone(hub: Running) -> None:
    hub.hub.add(text_model("acme/big-files", more={"params.json": weights(2)}))
    await hub.facts("acme/big-files", token=TOKEN)
    elsewhere = [each for each in hub.hub.asked if each.host.startswith("localhost")]
    assert [each.path.rpartition("/")[2] for each in elsewhere] == ["params.json"]
    assert {each.token for each in elsewhere} == {""}
    assert {each.token for each in hub.hub.asked if each not in elsewhere} == {TOKEN}
    assert TOKEN not in repr(hub.client(token=TOKEN).__dict__)


async def test_a_deleted_model_is_forgotten(hub: Running) -> None:
    await hub.facts(QWEN)
    del hub.hub.repositories[QWEN.casefold()]
    client = hub.client(fresh_hours=0)
    with pytest.raises(UnknownModel, match="no longer on the hub"):
        await client.facts(HubName(QWEN))
    with pytest.raises(UnknownModel, match="no model"):
        await client.facts(HubName(QWEN))


async def test_a_typo_is_answered_with_what_was_meant(hub: Running) -> None:
    hub.hub.add(text_model("acme/turbine-13b-instruct"))
    with pytest.raises(UnknownModel) as caught:
        await hub.facts("acme/turbine-13b-instrct")
    assert caught.value.suggestions == ("acme/turbine-13b-instruct",)
    assert caught.value.hint == (
        "did you mean acme/turbine-13b-instruct? A private one needs HF_TOKEN"
    )
    # Of the program's own list, too.
    with pytest.raises(UnknownModel) as caught:
        await hub.facts("openai/gpt-oss-20")
    assert caught.value.suggestions[0] == "openai/gpt-oss-20b"


async def test_the_search_is_asked_once_for_the_same_words(hub: Running) -> None:
    client = hub.client()
    found = await client.search("qwen3")
    assert [each.id for each in found] == [QWEN, "Qwen/Qwen3-8B-Instruct-2507"]
    assert (found[0].stored_bytes, found[0].license) == (1_192_000_000, "apache-2.0")
    before = len(hub.paths)
    assert await client.search("  qwen3 ") == found
    assert len(hub.paths) == before


async def test_a_config_without_measure_is_refused_before_it_is_read(hub: Running) -> None:
    huge = weights(200_000_000)
    hub.hub.add(text_model("acme/huge-config", more={"config.json": huge}))
    with pytest.raises(ModelRefused, match=r"config\.json of acme/huge-config has 200 MB"):
        await hub.facts("acme/huge-config")
    assert not any("resolve" in path for path in hub.paths)


NO_CONFIGS = {
    "a list": "[]",
    "cut off": "{",
    "empty": "",
    "nested": "[" * 100_000,
    "a page": "<html></html>",
    "zeros": "\x00",
}


@pytest.mark.parametrize("content", NO_CONFIGS.values(), ids=NO_CONFIGS)
async def test_a_config_that_is_none_is_said(hub: Running, content: str) -> None:
    hub.hub.add(text_model("acme/broken", more={"config.json": text(content)}))
    with pytest.raises(ModelRefused, match=r"config\.json of acme/broken cannot be read"):
        await hub.facts("acme/broken")


async def test_a_config_may_be_odd_without_doing_harm(hub: Running) -> None:
    """Nested deeply, with more names than a vocabulary has, with numbers that are none."""
    odd = QWEN_CONFIG | {"quantization_config": {"ignore": [f"layer.{n}" for n in range(50_000)]}}
    text_of = json.dumps(odd)[:-1] + ', "deep": ' + '{"a":' * 400 + "NaN" + "}" * 400
    file = text(text_of + ', "lone": "\\ud800", "big": 1' + "0" * 4000 + "}")
    hub.hub.add(text_model("acme/odd", more={"config.json": file}))
    facts = await hub.facts("acme/odd")
    kept = await hub.facts("acme/odd")
    assert len(facts.quantization_config["ignore"]) == 50_000
    assert kept.source is FactsSource.CACHED
    assert kept.config.keys() == facts.config.keys()


async def test_other_files_that_are_broken_tell_nothing(hub: Running) -> None:
    broken = {"generation_config.json": text("]"), "tokenizer_config.json": table([1])}
    hub.hub.add(text_model("acme/half", more=broken))
    facts = await hub.facts("acme/half")
    assert (facts.generation_config, facts.tokenizer_config) == ({}, {})
    assert facts.config == QWEN_CONFIG


async def test_a_template_is_found_wherever_it_is(hub: Running) -> None:
    several = [
        {"name": "default", "template": "plain"},
        {"name": "tool_use", "template": "with tools"},
    ]
    files = {"tokenizer_config.json": table({"chat_template": several})}
    repository = text_model("acme/templates", more=files)
    without = {p: f for p, f in repository.files.items() if p != "chat_template.jinja"}
    hub.hub.add(replace(repository, files=without))
    facts = await hub.facts("acme/templates")
    assert facts.chat_template == "with tools"
    assert "chat_template" not in facts.tokenizer_config
