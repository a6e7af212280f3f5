"""The endpoint client against a real HTTP server on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from gdl.domain.errors import VerificationError
from gdl.domain.secret import Secret
from gdl.endpoint.client import EndpointClient
from gdl.endpoint.tls import no_trust_context
from local_ports import free_port
from vllm_support import FakeVllm

KEY = "sk-very-secret-key"


@pytest.fixture
async def server() -> AsyncIterator[FakeVllm]:
    async with FakeVllm(model="tiny", api_key=KEY) as running:
        yield running


@pytest.fixture
async def client(server: FakeVllm) -> AsyncIterator[EndpointClient]:
    opened = EndpointClient(server.url, Secret(KEY), timeout_s=5)
    yield opened
    await opened.aclose()


async def test_health_and_models(server: FakeVllm, client: EndpointClient) -> None:
    assert await client.health() == 200
    server.health_status = 503
    assert await client.health() == 503
    assert await client.models() == {"tiny": 2**20}


async def test_a_streamed_answer_with_its_counts(server: FakeVllm, client: EndpointClient) -> None:
    server.answers["France"] = "The capital of France is Paris."
    pieces: list[str] = []
    result = await client.chat_stream(
        "tiny", "What is the capital of France?", max_tokens=20, on_text=pieces.append
    )
    assert result.ok and result.error == ""
    assert result.text == "The capital of France is Paris." == "".join(pieces)
    assert len(pieces) == 6
    assert (result.input_tokens, result.output_tokens) == (6, 6)
    assert result.finish_reason == "stop"
    # The chunk with the role comes before the first token's, as from the real one.
    assert len(result.itls_ms) == 6
    sent = server.requests[-1].json
    assert sent["stream_options"] == {"include_usage": True}
    assert sent["max_tokens"] == 20 and sent["temperature"] == 0.0


async def test_times_count_from_sending_to_the_last_token_chunk(
    server: FakeVllm, client: EndpointClient
) -> None:
    server.first_delay_s, server.token_delay_s = 0.08, 0.02
    result = await client.chat_stream("tiny", "go", max_tokens=4)
    assert result.finish_reason == "length" and result.output_tokens == 4
    assert result.ttft_ms is not None
    # No upper limits: how long a busy machine keeps us waiting is not ours to say.
    assert result.ttft_ms >= 80
    assert len(result.itls_ms) == 4 and sum(result.itls_ms) > 15
    assert result.e2el_ms == pytest.approx(result.ttft_ms + sum(result.itls_ms))


async def test_a_model_without_chat_template_is_asked_as_completion(
    server: FakeVllm, client: EndpointClient
) -> None:
    server.chat_template = False
    assert client.mode == "chat"
    for _ in range(2):
        result = await client.chat_stream("tiny", "Once upon a time", max_tokens=3)
        assert result.text == "one two three" and result.ok
    assert client.mode == "completions"
    paths = [request.path for request in server.requests]
    assert paths == ["/v1/chat/completions", "/v1/completions", "/v1/completions"]
    assert server.requests[-1].json["prompt"] == "Once upon a time"


async def test_the_connection_is_used_again(server: FakeVllm, client: EndpointClient) -> None:
    for _ in range(3):
        assert (await client.chat_stream("tiny", "go", max_tokens=2)).ok
    assert server.connections == 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, '{"error":"Unauthorized"}', "HTTP 401: Unauthorized"),
        (404, '{"error":{"message":"The model `x` does not exist."}}', "HTTP 404: The model `x`"),
        (500, "<html>oops</html>", "HTTP 500: Internal Server Error"),
        (400, '{"object":"error","message":"too \\u001b[31mlong"}', "HTTP 400: too long"),
        (418, "\x1b]0;evil\x07plain\r\nwords", "HTTP 418: plain words"),
        (302, "", "HTTP 302: Found"),
        (599, "[" * 100_000, "HTTP 599: [["),
    ],
    ids=["key", "model", "page", "vllm", "escapes", "redirect", "deep"],
)
async def test_http_errors_are_one_clean_line(
    server: FakeVllm, client: EndpointClient, status: int, body: str, expected: str
) -> None:
    server.statuses["/v1/chat/completions"] = (status, body)
    result = await client.chat_stream("tiny", "go", max_tokens=2)
    assert result.error.startswith(expected) and result.kind == f"http_{status}"
    assert len(result.error) <= 200 and result.error.isprintable()
    assert result.ttft_ms is None and not result.ok


async def test_a_stream_that_breaks_off_keeps_its_text(
    server: FakeVllm, client: EndpointClient
) -> None:
    server.truncate_after = 3
    result = await client.chat_stream("tiny", "go", max_tokens=8)
    assert result.text == "one two three"
    assert result.kind == "truncated" and "[DONE]" in result.error


async def test_a_cut_connection(server: FakeVllm, client: EndpointClient) -> None:
    server.reset_after = 2
    result = await client.chat_stream("tiny", "go", max_tokens=8)
    assert result.kind == "closed" and result.text == "one two"
    assert result.error == "the connection was closed in the middle"


async def test_an_error_object_in_the_stream(server: FakeVllm, client: EndpointClient) -> None:
    server.error_after = 1
    result = await client.chat_stream("tiny", "go", max_tokens=8)
    assert result.kind == "stream" and "EngineCore encountered an issue" in result.error


async def test_a_stalled_stream_ends_at_the_time_limit(server: FakeVllm) -> None:
    server.stall_after = 1
    client = EndpointClient(server.url, Secret(KEY), timeout_s=0.2)
    started = time.perf_counter()
    result = await client.chat_stream("tiny", "go", max_tokens=8)
    assert 0.15 < time.perf_counter() - started < 10
    assert result.kind == "timeout" and "0.2 s" in result.error and result.text == "one"
    await client.aclose()


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        (["[DONE]"], "empty"),
        (["not json"], "protocol"),
        (["[1, 2]"], "protocol"),
        (['{"choices": {"a": 1}}'], "protocol"),
        (['{"choices": ["x"]}'], "protocol"),
        (["[" * 100_000], "protocol"),
    ],
    ids=["nothing", "text", "list", "choices", "choice", "deep"],
)
async def test_nonsense_in_the_stream(
    server: FakeVllm, client: EndpointClient, events: list[str], kind: str
) -> None:
    server.raw_events = events
    result = await client.chat_stream("tiny", "go", max_tokens=8)
    assert result.kind == kind and result.error


async def test_hostile_text_is_cleaned(server: FakeVllm, client: EndpointClient) -> None:
    server.raw_events = [
        '{"choices":[{"delta":{"content":"a\\u001b[2Jb\\u0000\\n\\ud800c"},'
        '"finish_reason":"\\u001b[31mstop"}],"usage":{"completion_tokens":-1,"prompt_tokens":true}}',
        "[DONE]",
    ]
    pieces: list[str] = []
    result = await client.chat_stream("tiny", "go", max_tokens=8, on_text=pieces.append)
    assert result.text == "ab\nc"
    assert "\x1b" not in pieces[0] and "\x00" not in pieces[0]
    assert result.finish_reason == "stop"
    assert result.output_tokens is None and result.input_tokens is None


async def test_reasoning_counts_as_answer_when_there_is_no_text(
    server: FakeVllm, client: EndpointClient
) -> None:
    server.raw_events = ['{"choices":[{"delta":{"reasoning_content":"Hmm, Paris"}}]}', "[DONE]"]
    result = await client.chat_stream("tiny", "go", max_tokens=8)
    assert result.ok and result.text == "" and result.answer == "Hmm, Paris"


async def test_a_page_instead_of_a_stream(server: FakeVllm, client: EndpointClient) -> None:
    server.content_type = "text/html"
    result = await client.chat_stream("tiny", "go", max_tokens=2)
    assert result.kind == "protocol" and "text/html" in result.error


async def test_an_endless_line_is_ended() -> None:
    class Flood(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 2**20

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Flood())

    client = EndpointClient("http://t", Secret(KEY), transport=httpx.MockTransport(answer))
    result = await client.chat_stream("tiny", "go", max_tokens=2)
    assert result.kind == "protocol" and "16 MiB" in result.error
    with pytest.raises(VerificationError, match="16 MiB"):
        await client.models()
    await client.aclose()


async def test_nobody_listens() -> None:
    client = EndpointClient(f"http://127.0.0.1:{free_port()}", Secret(KEY), timeout_s=2)
    result = await client.chat_stream("tiny", "go", max_tokens=2)
    assert result.error == "connection refused" and result.kind == "refused"
    with pytest.raises(VerificationError, match="connection refused") as caught:
        await client.health()
    assert "tunnel" in caught.value.hint
    await client.aclose()


async def test_a_tls_handshake_that_nobody_answers_leaves_no_connection_behind() -> None:
    closed = asyncio.Event()

    async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()
        writer.close()

    async with await asyncio.start_server(says_nothing, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = EndpointClient(url, Secret(KEY), context=no_trust_context(checks=False))
        with pytest.raises(VerificationError, match=r"no TLS handshake within 2 s") as caught:
            await client.health(limit_s=5)
        assert "http://" in caught.value.hint
        await asyncio.wait_for(closed.wait(), 30)
        await client.aclose()


@pytest.mark.parametrize(
    "first", [b"\x16\x03\x01 two three\n", b"GET / HTTP/9\n", b"a b\n", b"GET / gopher\n"]
)
async def test_what_is_no_http_is_refused_as_by_the_real_server(
    server: FakeVllm, first: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(first)
    answer = await asyncio.wait_for(reader.read(), 30)
    assert answer.startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_a_tunnel_to_a_closed_port_is_no_traceback() -> None:
    # This is how an SSH forward to a port where nothing listens looks from our end.
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    tunnel = await asyncio.start_server(close, "127.0.0.1", 0)
    port = tunnel.sockets[0].getsockname()[1]
    client = EndpointClient(f"http://127.0.0.1:{port}", Secret(KEY), timeout_s=2)
    with pytest.raises(VerificationError, match="nothing answers: the connection was closed"):
        await client.health()
    result = await client.chat_stream("tiny", "go", max_tokens=2)
    assert result.kind == "closed" and result.error.startswith("nothing answers")
    await client.aclose()
    tunnel.close()
    await tunnel.wait_closed()


async def test_a_wrong_key_and_a_server_that_repeats_it(server: FakeVllm) -> None:
    client = EndpointClient(server.url, Secret("sk-wrong-key"), timeout_s=2)
    with pytest.raises(VerificationError, match="HTTP 401: Unauthorized") as caught:
        await client.models()
    assert "key" in caught.value.hint
    server.statuses["/v1/chat/completions"] = (400, "you sent Bearer sk-wrong-key")
    result = await client.chat_stream("tiny", "go", max_tokens=2)
    assert result.error == "HTTP 400: you sent Bearer ***"
    server.statuses["/v1/models"] = (200, "sk-wrong-key")
    with pytest.raises(VerificationError, match="no list of models") as caught:
        await client.models()
    assert "sk-wrong-key" not in str(caught.value)
    await client.aclose()


@pytest.mark.parametrize("body", ["", "[]", '{"data": 1}', '{"data": [{"id": 7}]}', '{"data":[1]}'])
async def test_models_that_are_none(server: FakeVllm, client: EndpointClient, body: str) -> None:
    server.statuses["/v1/models"] = (200, body)
    with pytest.raises(VerificationError, match="no list of models"):
        await client.models()


async def test_proxies_of_the_environment_are_ignored(
    server: FakeVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    client = EndpointClient(server.url, Secret(KEY))
    assert await client.health() == 200
    await client.aclose()


async def test_a_cancelled_request_ends_at_once(server: FakeVllm, client: EndpointClient) -> None:
    server.stall_after = 1
    arrived = asyncio.Event()
    request = asyncio.create_task(
        client.chat_stream("tiny", "go", max_tokens=4, on_text=lambda _: arrived.set())
    )
    await asyncio.wait_for(arrived.wait(), 2)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(request, 30)
