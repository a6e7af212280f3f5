"""A hub that answers badly, or not at all: one line what, one line what helps, no long wait."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse, PlainTextResponse, Response

from gdl.domain.errors import GdlError, HubAway, ModelRefused, UnknownModel, UsageError
from gdl.domain.model_facts import FactsSource
from gdl.domain.model_names import HubName
from gdl.domain.servability import ModelKind, judge
from gdl.hub import answers
from gdl.hub.http import HubHttp, TooLarge
from gdl.hub.lookup import Hub
from gdl.settings import Hub as HubSettings
from gdl.settings import Settings, Timeouts, load
from hub_server import TOKEN, Running, SimulatedHub, running_hub, text_model

QWEN = "Qwen/Qwen3-0.6B"
RATE = {"ratelimit": '"api";r=0;t=55', "ratelimit-policy": '"fixed window";"api";q=500;w=300'}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(SimulatedHub.of([text_model(QWEN)]), tmp_path) as running:
        yield running


def always(response: Callable[[], Response]) -> Callable[[str], Response]:
    return lambda path: response()


TROUBLE = {
    "busy": (
        lambda: JSONResponse({"error": "rate limited"}, 429, RATE),
        "takes no more requests for now",
        "try again in 55 s; with HF_TOKEN set it allows more",
    ),
    "broken": (lambda: PlainTextResponse("oops", 500), r"trouble of its own \(HTTP 500\)", "later"),
    "forbidden": (
        lambda: Response("no", 403, {"x-error-message": "Not from here"}),
        r"refuses to answer \(HTTP 403: Not from here\)",
        "check HF_ENDPOINT, HF_TOKEN's permissions",
    ),
    "a page": (
        lambda: Response("<html>log in</html>", 200, media_type="text/html"),
        "answers with an HTML page",
        "a proxy or a login page is in between",
    ),
    "nothing": (lambda: Response(b"", 200), "answers with nothing", "check HF_ENDPOINT"),
    "cut JSON": (
        lambda: Response(b'{"id": "Qwen', 200, media_type="application/json"),
        "answers with what is not JSON",
        "check HF_ENDPOINT",
    ),
    "another service": (
        lambda: JSONResponse({"ok": True}),
        "does not answer as one",
        "HF_ENDPOINT",
    ),
    "no route": (
        lambda: PlainTextResponse("404 page not found", 404),
        r"refuses to answer \(HTTP 404\)",
        "check HF_ENDPOINT",
    ),
    "a circle": (
        lambda: Response("", 307, {"location": f"/api/models/{QWEN}"}),
        "sends from one address to the next without end",
        "check the network",
    ),
    "another protocol": (
        lambda: Response("", 307, {"location": "file:///etc/passwd"}),
        "cannot be reached",
        "check the network",
    ),
}


@pytest.mark.parametrize(("answer", "what", "helps"), TROUBLE.values(), ids=TROUBLE)
async def test_a_bad_answer_is_told_and_the_last_good_one_used(
    hub: Running, answer: Callable[[], Response], what: str, helps: str
) -> None:
    hub.hub.wrong = always(answer)
    with pytest.raises(HubAway, match=what) as caught:
        await hub.facts(QWEN)
    assert helps in caught.value.hint
    assert caught.value.message.isprintable()

    hub.hub.wrong = lambda path: None
    good = await hub.facts(QWEN)
    hub.hub.wrong = always(answer)
    kept = await hub.client(fresh_hours=0).facts(HubName(QWEN))
    assert (kept.source, kept.config) == (FactsSource.CACHED, good.config)
    assert kept.trouble == caught.value.message


@pytest.mark.parametrize(("status", "headers"), [(429, {"retry-after": "0.01"}), (503, {})])
async def test_a_short_trouble_is_waited_for(
    hub: Running, status: int, headers: dict[str, str]
) -> None:
    answers = [JSONResponse({}, status, headers)]
    hub.hub.wrong = lambda path: answers.pop() if answers else None
    assert (await hub.facts(QWEN)).source is FactsSource.HUB


async def test_a_hub_that_is_away_is_not_asked_again_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        now = datetime.now(UTC)
        settings = Settings(data_dir=tmp_path, hub=HubSettings(endpoint=endpoint))
        client = Hub(settings, lambda: now)
        with pytest.raises(HubAway, match="cannot be reached"):
            await client.facts(HubName(QWEN))
        sent = client.requests
        for _ in range(3):
            with pytest.raises(HubAway):
                await client.facts(HubName("acme/other"))
            with pytest.raises(HubAway):
                await client.search("qwen")
        assert client.requests == sent
        now += timedelta(minutes=1)
        with pytest.raises(HubAway):
            await client.facts(HubName(QWEN))
        assert client.requests > sent
        await client.aclose()


async def test_a_silent_hub_costs_no_more_than_its_time_out(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = Settings(
            data_dir=tmp_path, hub=HubSettings(endpoint=endpoint), timeouts=Timeouts(hub=0.2)
        )
        client = Hub(settings, lambda: datetime.now(UTC))
        with pytest.raises(HubAway, match="does not answer within"):
            async with asyncio.timeout(30):
                await client.facts(HubName(QWEN))
        await client.aclose()


async def test_an_answer_without_measure_is_not_read(hub: Running) -> None:
    hub.hub.wrong = lambda path: Response(b"[" + b" " * 100_000 + b"]")
    http = HubHttp(hub.url)
    try:
        with pytest.raises(TooLarge):
            await http.get("/api/models", limit=1000)
    finally:
        await http.aclose()


async def test_a_search_without_measure_counts_as_no_answer(hub: Running, tmp_path: Path) -> None:
    hub.hub.wrong = lambda path: Response(b"[" + b" " * 5_000_000 + b"]")
    settings = Settings(data_dir=tmp_path, hub=HubSettings(endpoint=hub.url))
    client = Hub(settings, lambda: datetime.now(UTC))
    try:
        with pytest.raises(HubAway, match="too large"):
            await client.search("qwen3")
    finally:
        await client.aclose()


async def test_sizes_that_the_hub_does_not_tell_are_bounded_all_the_same(hub: Running) -> None:
    """As of a mirror that knows no `blobs`."""
    repository = text_model("acme/liar", config={"x": "y" * 9_000_000})
    described = repository.described(sizes=False)
    hub.hub.add(repository)
    hub.hub.wrong = lambda path: (
        JSONResponse(described) if path.startswith("/api/models/") else None
    )
    with pytest.raises(ModelRefused, match=r"config\.json of acme/liar is too long"):
        await hub.facts("acme/liar")


@pytest.mark.parametrize(
    "data",
    [
        {"id": "a/b"},
        {"id": "a/b", "siblings": "none", "tags": 7, "cardData": [], "config": 3, "gguf": "x"},
        {"id": "a/b", "siblings": [None, 1, {"rfilename": 2}, {"rfilename": "x", "size": "big"}]},
        {"id": "a/b", "siblings": [{"rfilename": "m.safetensors", "size": -5, "lfs": None}]},
        {"id": "a/b\n\x1b[31m", "lastModified": "yesterday", "downloads": True, "gated": {}},
        {"id": "a/b", "safetensors": {"parameters": {"BF16": 1e400, "I8": -1}}, "sha": 7},
        {"id": "a/b", "tags": ["base_model:", "base_model:quantized:", None, {}]},
        {"id": "--config/x", "sha": "../..", "cardData": {"base_model": ["--a/b", "c/../d"]}},
    ],
)
async def test_fields_of_another_form_are_passed_over(hub: Running, data: object) -> None:
    # Not as JSONResponse writes it, which knows no infinity.
    hub.hub.wrong = lambda path: Response(json.dumps(data), media_type="application/json")
    facts = await hub.facts(QWEN)
    assert facts.weights_bytes == 0
    assert facts.id in ("a/b", QWEN)
    assert (facts.revision, facts.base_models) == ("", ())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
FIELDS = [
    *("id", "modelId", "siblings", "tags", "cardData", "config", "gguf", "safetensors", "sha"),
    *("downloads", "gated", "private", "lastModified", "pipeline_tag", "library_name"),
]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), JSON)
def test_no_json_breaks_the_reading(data: dict[str, Any], rows: object) -> None:
    now = datetime.now(UTC)
    facts = answers.model_facts(data, QWEN, now)
    assert judge(facts).kind is not ModelKind.TEXT, "nothing was given to be served"
    with contextlib.suppress(HubAway):
        answers.found_models(rows)
    with contextlib.suppress(HubAway):
        answers.found_models([data])
    nested = {"siblings": [data], "config": data, "cardData": data, "safetensors": data}
    answers.model_facts(nested, QWEN, now)


async def test_no_error_names_the_token(hub: Running) -> None:
    hub.hub.wrong = lambda path: PlainTextResponse(f"bad {TOKEN}", 418)
    with pytest.raises(GdlError) as caught:
        await hub.facts(QWEN, token=TOKEN)
    assert TOKEN not in f"{caught.value!r} {caught.value.hint} {caught.value.__context__!r}"


@pytest.mark.parametrize("endpoint", ["http://[::1", "http://127.0.0.1:99999", "hub.example"])
def test_an_address_that_cannot_be_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(UsageError, match="HF_ENDPOINT must look like"):
        load()


@pytest.mark.parametrize("token", ["hf_s\u00e9cret", "hf_se cret", "hf_se\ncret"])
def test_a_token_that_cannot_be_is_told_without_it(
    monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UsageError, match="characters that no token has") as caught:
        load()
    assert token not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("shape", [{}, [1, None], "models"])
async def test_a_search_answered_with_another_shape_is_told(hub: Running, shape: Any) -> None:
    hub.hub.wrong = always(lambda: JSONResponse(shape))
    with pytest.raises(HubAway, match="does not answer as one"):
        await hub.client().search("qwen")


async def test_all_requests_for_one_answer_share_one_limit(tmp_path: Path) -> None:
    """Each page alone would come in time; suggestions are waited for no longer than the rest."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        slow = SimulatedHub.of([text_model(QWEN)])
        async with running_hub(slow, tmp_path) as running:

            def wrong(path: str) -> Response | None:
                there = f"http://127.0.0.1:{silent.getsockname()[1]}/"
                away = path == "/api/models" or path.endswith("config.json")
                return Response("", 307, {"location": there}) if away else None

            slow.wrong = wrong
            loop = asyncio.get_running_loop()
            settings = running.settings().model_copy(update={"timeouts": Timeouts(hub=2)})
            client = Hub(settings, lambda: datetime.now(UTC))
            running.clients.append(client)
            began = loop.time()
            with pytest.raises(UnknownModel):
                await client.facts(HubName("acme/nothing-like-it"))
            assert loop.time() - began < 10
            client = Hub(settings, lambda: datetime.now(UTC))
            running.clients.append(client)
            with pytest.raises(HubAway, match=r"does not answer within 2 s"):
                await client.facts(HubName(QWEN))
