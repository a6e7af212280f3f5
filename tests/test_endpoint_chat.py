"""A conversation over a real HTTP server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx
import pytest

from gdl.domain.chat import ChatDone, ChatMessage, ChatOptions, ChatPiece
from gdl.domain.secret import Secret
from gdl.endpoint.client import EndpointClient
from gdl.orchestrator.endpoint.chat import talk
from vllm_support import FakeVllm

KEY = "sk-very-secret-key"
TALK = (
    ChatMessage("user", "My name is Ann."),
    ChatMessage("assistant", "Hello Ann."),
    ChatMessage("user", "What is my name?"),
)


@pytest.fixture
async def server() -> AsyncIterator[FakeVllm]:
    async with FakeVllm(model="tiny", api_key=KEY) as running:
        yield running


@pytest.fixture
async def client(server: FakeVllm) -> AsyncIterator[EndpointClient]:
    opened = EndpointClient(server.url, Secret(KEY), timeout_s=5)
    yield opened
    await opened.aclose()


async def said(client: EndpointClient) -> tuple[str, ChatDone]:
    parts = [part async for part in talk(client, "tiny", TALK)]
    assert isinstance(parts[-1], ChatDone)
    return "".join(p.text for p in parts if isinstance(p, ChatPiece)), parts[-1]


async def test_the_whole_conversation_is_sent_and_the_answer_streams(
    server: FakeVllm, client: EndpointClient
) -> None:
    server.answers["my name"] = "Your name is Ann."
    server.first_delay_s = 0.05
    text, done = await said(client)
    assert text == "Your name is Ann."
    assert done.error == ""
    assert done.output_tokens == 4
    assert done.ttft_ms is not None and 50 <= done.ttft_ms < 5000
    sent = server.requests[-1].json["messages"]
    assert sent == [{"role": m.role, "content": m.content} for m in TALK]


async def test_a_model_without_a_chat_template_gets_a_script(
    server: FakeVllm, client: EndpointClient
) -> None:
    server.chat_template = False
    text, done = await said(client)
    assert text and not done.error
    prompt = server.requests[-1].json["prompt"]
    assert prompt.startswith("User: My name is Ann.\nAssistant: Hello Ann.\nUser:")
    assert prompt.endswith("\nAssistant:")


@pytest.mark.parametrize("fault", ["reset_after", "truncate_after", "error_after"])
async def test_what_had_come_is_told_before_the_error(
    server: FakeVllm, client: EndpointClient, fault: str
) -> None:
    setattr(server, fault, 3)
    text, done = await said(client)
    assert text.split() == ["one", "two", "three"]
    assert done.error and KEY not in done.error


async def test_a_refused_key_is_an_error_without_the_key(server: FakeVllm) -> None:
    client = EndpointClient(server.url, Secret("sk-wrong"), timeout_s=5)
    _text, done = await said(client)
    assert "401" in done.error and "sk-wrong" not in done.error
    await client.aclose()


async def test_leaving_early_ends_the_request(server: FakeVllm, client: EndpointClient) -> None:
    server.stall_after = 2
    async with aclosing(talk(client, "tiny", TALK)) as parts:
        async with asyncio.timeout(30):
            assert isinstance(await anext(parts), ChatPiece)
    others = [t for t in asyncio.all_tasks() if t.get_name() == "chat"]
    assert others == []


async def test_no_limit_is_sent_unless_it_is_asked_for(
    server: FakeVllm, client: EndpointClient
) -> None:
    await said(client)
    assert {"max_tokens", "temperature"}.isdisjoint(server.requests[-1].json)
    options = ChatOptions("not sent by this", 0.5, 0.9, 3, 7)
    parts = [part async for part in talk(client, "tiny", TALK, options)]
    sent = server.requests[-1].json
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"], sent["seed"]) == (
        0.5,
        0.9,
        3,
        7,
    )
    assert isinstance(parts[-1], ChatDone) and parts[-1].finish_reason == "length"


async def test_a_slow_answer_is_waited_for_and_a_silent_server_is_not(server: FakeVllm) -> None:
    client = EndpointClient(server.url, Secret(KEY), timeout_s=0.8)
    server.token_delay_s = 0.2
    text, done = await said(client)
    assert text.split()[-1] == "ten" and not done.error, "2 s in all, 0.2 s each"
    server.stall_after = 2
    text, done = await said(client)
    assert text.split() == ["one", "two"] and "0.8 s" in done.error
    await client.aclose()


async def test_an_answer_without_end_is_stopped(
    server: FakeVllm, client: EndpointClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gdl.orchestrator.endpoint.chat.TEXT_LIMIT", 20)
    server.token_delay_s = 0.01
    server.default_answer = "word " * 5000
    text, done = await said(client)
    assert 20 <= len(text) < 5000 and done.error.startswith("stopped at ")


@pytest.mark.parametrize("engine", ["vllm", "llamacpp"])
async def test_paths_that_are_there_and_the_context_are_known_of_each_engine(engine: str) -> None:
    """vLLM knows its paths by any method; llama.cpp answers a GET of what wants a POST with 404."""
    told = {"max_model_len": 4096} if engine == "vllm" else {"meta": {"n_ctx": 4096}}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "tiny", **told}]})
        if request.url.path != "/v1/chat/completions":
            return httpx.Response(404)
        if request.method == "POST":
            return httpx.Response(400)
        return httpx.Response(405 if engine == "vllm" else 404)

    opened = EndpointClient("http://x", Secret(KEY), transport=httpx.MockTransport(answer))
    async with aclosing(opened) as client:
        assert await client.models() == {"tiny": 4096}
        assert await client.has("/v1/chat/completions")
        assert not await client.has("/v1/messages")
