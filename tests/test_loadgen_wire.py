"""The load generator's wire: framing cut anywhere, and servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from time import perf_counter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gdl.domain.errors import UsageError, VerificationError
from gdl.domain.secret import Secret
from gdl.loadgen.decode import decode
from gdl.loadgen.exchange import Exchange
from gdl.loadgen.http_connection import HttpConnection
from gdl.loadgen.httpx_transport import HttpxTransport
from gdl.loadgen.load import LoadShape, Outcome, run_load, warm_up
from gdl.loadgen.request_template import RequestTemplate
from gdl.loadgen.socket_transport import SocketTransport
from gdl.loadgen.sse import EventParser
from gdl.loadgen.transport import Limits, shown
from gdl.loadgen.transport_factory import transport_for
from gdl.loadgen.workload import Conversation, Length, Workload
from vllm_support import FakeVllm

KEY = Secret("sk-secret")
REQUEST_TEMPLATE = RequestTemplate("tiny")
QUICK = Limits(request_s=0.6, stall_s=0.3, connect_s=0.5)
USUAL = Limits(request_s=20, stall_s=10, connect_s=5)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def questions(count: int, turns: int = 1) -> list[Conversation]:
    return Workload("random", Length(5, 5), Length(10, 10), turns=turns).conversations(count)


# -- events cut anywhere -----------------------------------------------------------------------

texts = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
events = st.lists(st.lists(texts, min_size=1, max_size=3), max_size=8)
breaks = st.sampled_from(["\n", "\r\n", "\r"])


def cuts_of(data: bytes, places: list[int]) -> Iterator[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    begin = 0
    for end in ends:
        yield data[begin:end]
        begin = end


@given(events, breaks, st.lists(st.integers(0, 10_000), max_size=30), st.booleans())
@example([["a"], ["b"]], "\n", [], False)
def test_events_are_the_same_however_they_are_cut(
    wanted: list[list[str]], end: str, places: list[int], noisy: bool
) -> None:
    stream = ""
    for lines in wanted:
        if noisy:
            stream += f": a comment{end}event: x{end}id: 7{end}"
        stream += "".join(f"data: {line}{end}" for line in lines) + end
    parser, got = EventParser(), []
    for piece in cuts_of(stream.encode(), places):
        got += parser.feed(piece)
    assert [data.decode() for data in got] == ["\n".join(lines) for lines in wanted]


def test_an_event_that_breaks_off_is_dropped() -> None:
    parser = EventParser()
    assert parser.feed(b"data: one\n\ndata: tw") == [b"one"]
    assert parser.feed(b"o") == []
    assert parser.feed(b"\n\n\xef") == [b"two"]
    assert EventParser().feed(b"\xef\xbb\xbfdata:x\n\n") == [b"x"]


class Pipe:
    """What a connection needs of a transport; requests go to a pipe."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.aborted = False

    def get_extra_info(self, name: str) -> Any:
        return self

    def fileno(self) -> int:
        return self.writing

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


def answered(pieces: Iterator[bytes]) -> tuple[list[Exchange], Pipe]:
    """The exchanges that a connection ends while it reads these pieces."""
    ended: list[Exchange] = []
    connection = HttpConnection(lambda _, exchange: ended.append(exchange), lambda _: None)
    pipe = Pipe()
    connection.connection_made(pipe)  # type: ignore[arg-type]
    connection.send(Exchange(), b"POST")
    for piece in pieces:
        if piece:
            connection.data_received(piece)
    pipe.close()
    return ended, pipe


def chunk(text: str) -> str:
    return f'{{"choices": [{{"index": 0, "delta": {{"content": "{text}"}}}}]}}'


def body(tokens: int) -> bytes:
    lines = [chunk(f"t{number}") for number in range(tokens)]
    counts = f'{{"prompt_tokens": 7, "completion_tokens": {tokens}}}'
    lines += [f'{{"choices": [], "usage": {counts}}}', "[DONE]"]
    return "".join(f"data: {line}\n\n" for line in lines).encode()


places = st.lists(st.integers(0, 100_000), max_size=40)


@given(places, places, st.integers(1, 6), st.booleans())
def test_an_answer_is_the_same_however_http_and_reads_cut_it(
    chunks: list[int], reads: list[int], tokens: int, interim: bool
) -> None:
    wire = b"HTTP/1.1 100 Continue\r\n\r\n" if interim else b""
    wire += b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
    for piece in cuts_of(body(tokens), chunks):
        if piece:
            wire += b"%x\r\n%s\r\n" % (len(piece), piece)
    wire += b"0\r\nTrailer: t\r\n\r\n"
    (exchange,), pipe = answered(cuts_of(wire, reads))
    sample = decode(exchange, KEY, with_text=True)
    assert sample.error == ""
    assert (sample.input_tokens, sample.output_tokens) == (7, tokens)
    assert sample.text == "".join(f"t{number}" for number in range(tokens))
    assert len(sample.itls) == tokens - 1 and all(gap >= 0 for gap in sample.itls)
    assert sample.ttft is not None and 0 <= sample.ttft <= sample.latency
    assert not pipe.aborted


HEADERS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize("at_once", [1, 2, 3, 99])
@pytest.mark.parametrize("last", ["apart", "together"])
@pytest.mark.parametrize("head", [True, False])
def test_answers_as_servers_write_them_follow_each_other(
    at_once: int, last: str, head: bool
) -> None:
    """An event is a chunk, a read is one or more of them; the end comes with the last or alone."""
    events = [framed(part + b"\n\n") for part in body(5).split(b"\n\n")[:-1]]
    reads = [b"".join(events[n : n + at_once]) for n in range(0, len(events), at_once)]
    reads = [HEADERS, *reads] if head else [HEADERS + reads[0], *reads[1:]]
    reads = [*reads, b"0\r\n\r\n"] if last == "apart" else [*reads[:-1], reads[-1] + b"0\r\n\r\n"]
    ended: list[Exchange] = []
    connection = HttpConnection(lambda _, exchange: ended.append(exchange), lambda _: None)
    pipe = Pipe()
    connection.connection_made(pipe)  # type: ignore[arg-type]
    for number in range(3):
        connection.send(Exchange(number), b"POST")
        for data in reads:
            assert len(ended) == number
            connection.data_received(data)
        assert len(ended) == number + 1 and connection.usable
    pipe.close()
    if len(reads) > 2:
        # The framing was not looked at while the clock ran.
        assert all(len(exchange.reads) == len(reads) for exchange in ended)
    for exchange in ended:
        sample = decode(exchange, KEY, with_text=True)
        assert (sample.error, sample.text, sample.output_tokens) == ("", "t0t1t2t3t4", 5)
        assert len(sample.itls) == 4 and len(exchange.counts) == len(exchange.times) == len(reads)


@given(st.binary(max_size=60), st.integers(1, 40), st.sampled_from([b"", b"0\r\n\r\n"]))
def test_what_is_left_for_later_may_be_anything(noise: bytes, size: int, end: bytes) -> None:
    ended: list[Exchange] = []
    connection = HttpConnection(lambda _, exchange: ended.append(exchange), lambda _: None)
    pipe = Pipe()
    connection.connection_made(pipe)  # type: ignore[arg-type]
    connection.send(Exchange(), b"POST")
    event = framed(f"data: {chunk('x')}\n\n".encode())
    done = framed(b"data: [DONE]\n\n")
    for data in (HEADERS + event, b"%x\r\n" % size, noise, event, done, end):
        if data and not ended:
            connection.data_received(data)
    connection.look(perf_counter() + 1, 0.05)
    if not ended:
        connection.connection_lost(None)
    pipe.close()
    (exchange,) = ended
    sample = decode(exchange, KEY)
    assert sample.kind in ("", "protocol", "truncated")
    assert len(exchange.counts) == len(exchange.times)


@given(st.binary(max_size=300), places)
def test_any_bytes_end_in_a_sample_or_are_waited_on(noise: bytes, reads: list[int]) -> None:
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n"
    for wire in (noise, start + noise):
        for exchange in answered(cuts_of(wire, reads))[0]:
            sample = decode(exchange, KEY)
            assert sample.kind in ("protocol", "truncated", "empty") or sample.kind[:4] == "http"


# -- servers that misbehave --------------------------------------------------------------------


@contextlib.asynccontextmanager
async def raw_server(handler: Handler) -> AsyncIterator[str]:
    """Answers every connection as `handler` does; the URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(params=["asyncio", "httpx"])
def transport_of(request: pytest.FixtureRequest) -> Callable[[str, Limits], Any]:
    """Both ways of travelling must count the same."""

    def made(url: str, limits: Limits) -> SocketTransport | HttpxTransport:
        if request.param == "httpx":
            return HttpxTransport(url, KEY, limits, "through httpx", trust_env=False)
        transport = transport_for(url, KEY, limits)
        assert isinstance(transport, SocketTransport)
        return transport

    return made


async def load(
    transport: Any, count: int = 3, concurrency: int = 2, limit_s: float | None = 10
) -> Outcome:
    async with asyncio.timeout(30), contextlib.aclosing(transport):
        return await run_load(
            transport,
            REQUEST_TEMPLATE,
            questions(count),
            LoadShape(concurrency),
            KEY,
            limit_s=limit_s,
        )


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        ({"fail_next": 9}, "http_500"),
        ({"truncate_after": 3}, "truncated"),
        ({"reset_after": 3}, "truncated"),
        ({"reset_after": 0}, "truncated"),
        ({"stall_after": 3}, "stalled"),
        ({"first_delay_s": 9.0}, "timeout"),
        ({"error_after": 3}, "stream"),
        ({"raw_events": ["{bad", "[DONE]"]}, "protocol"),
        ({"raw_events": ["[1]", "[DONE]"]}, "protocol"),
        ({"raw_events": ["[DONE]"]}, "empty"),
        ({"model": "another"}, "http_404"),
    ],
)
async def test_trouble_is_counted_by_kind(
    transport_of: Callable[[str, Limits], Any], trouble: dict[str, Any], kind: str
) -> None:
    async with FakeVllm(**{"model": "tiny", **trouble}) as server:
        outcome = await load(transport_of(server.url, QUICK))
    assert outcome.figures.errors == {kind: 3}
    assert (outcome.figures.completed, outcome.figures.failed) == (0, 3)
    assert outcome.figures.output_throughput == 0
    assert all(sample.latency < 5 for sample in outcome.samples)


async def never_ending(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    event = f"data: {chunk('x')}\n\n".encode()
    while True:
        writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(0.001)


def saying(wire: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire)
        await writer.drain()

    return handler


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (never_ending, "timeout"),
        (saying(b""), "truncated"),
        (saying(b"SSH-2.0-OpenSSH_9.6\r\n"), "protocol"),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\ndata: {}\n\n"), "truncated"),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), "protocol"),
        (saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "protocol"),
        (saying(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), "http_302"),
    ],
)
async def test_what_is_no_answer_is_counted_and_ends(handler: Handler, kind: str) -> None:
    async with raw_server(handler) as url:
        outcome = await load(transport_for(url, KEY, QUICK))
    assert outcome.figures.errors == {kind: 3}


async def test_nonsense_in_the_middle_of_an_answer_is_told_at_once() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        event = framed(f"data: {chunk('x')}\n\n".encode())
        for data in (HEADERS, event, event, b"not a length\r\n"):
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0.02)
        await asyncio.Event().wait()

    async with raw_server(handler) as url:
        outcome = await load(transport_for(url, KEY, Limits(60, 60, 1)))
    assert outcome.figures.errors == {"protocol": 3}
    assert all(sample.latency < 5 and len(sample.itls) == 1 for sample in outcome.samples)


async def test_an_answer_may_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdl.loadgen.http_connection.ANSWER_LIMIT", 20_000)
    async with raw_server(never_ending) as url:
        outcome = await load(transport_for(url, KEY, Limits(60, 60, 1)), count=2, limit_s=None)
    assert outcome.figures.errors == {"protocol": 2}


async def test_a_content_length_too_short_costs_the_connection_but_not_the_answer() -> None:
    answer = body(2)
    wire = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer)
    async with raw_server(saying(wire + b"garbage after the end")) as url:
        outcome = await load(transport_for(url, KEY, QUICK))
    assert (outcome.figures.completed, outcome.figures.output_tokens) == (3, 6)


async def test_an_answer_without_an_end_is_taken_when_it_said_done() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + body(2))
        await asyncio.Event().wait()

    async with raw_server(handler) as url:
        outcome = await load(transport_for(url, KEY, Limits(5, 5, 1)), 2)
    assert (outcome.figures.completed, outcome.figures.output_tokens) == (2, 4)


async def test_a_refused_connection_is_counted_and_told() -> None:
    async with FakeVllm() as server:
        url = server.url
    transport = transport_for(url, KEY, QUICK)
    with pytest.raises(VerificationError, match="refused"):
        await load(transport)


async def test_a_server_that_goes_away_in_between_is_counted_as_connect() -> None:
    server = FakeVllm()
    await server.start()
    transport = transport_for(server.url, KEY, QUICK)
    await transport.open(1)
    await server.aclose()
    outcome = await load_open(transport)
    assert set(outcome.figures.errors) <= {"connect", "truncated"}
    assert outcome.figures.failed == 3


async def load_open(transport: Any) -> Outcome:
    """On connections that were opened before: only what `send` does."""

    async def nothing(count: int) -> None:
        return None

    transport.open = nothing
    return await load(transport)


async def test_the_time_of_a_load_as_a_whole_is_limited(
    transport_of: Callable[[str, Limits], Any],
) -> None:
    async with FakeVllm(stall_after=2) as server:
        outcome = await load(transport_of(server.url, USUAL), 6, 2, limit_s=0.3)
    assert outcome.figures.errors == {"timeout": 2}


async def test_after_a_load_whose_time_was_up_the_next_one_runs(
    transport_of: Callable[[str, Limits], Any],
) -> None:
    async with (
        FakeVllm(stall_after=2) as server,
        contextlib.aclosing(transport_of(server.url, USUAL)) as transport,
    ):
        first = await run_load(
            transport, REQUEST_TEMPLATE, questions(2), LoadShape(2), KEY, limit_s=0.3
        )
        server.stall_after = None
        second = await run_load(
            transport, REQUEST_TEMPLATE, questions(4), LoadShape(4), KEY, limit_s=10
        )
    assert (first.figures.failed, second.figures.completed) == (2, 4)


async def test_a_connection_closed_while_it_rested_is_no_error() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = body(2)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(answer) + answer)  # and closes without having said so

    async with raw_server(once) as url:
        outcome = await load(transport_for(url, KEY, USUAL), 8, 2)
    assert (outcome.figures.completed, outcome.figures.failed) == (8, 0)


async def test_secrets_of_ours_that_a_server_repeats_are_not_shown() -> None:
    text = f'{{"error": "wrong key {KEY.reveal()}"}}'
    async with FakeVllm(
        statuses={"/v1/chat/completions": (401, text)}, api_key=KEY.reveal()
    ) as server:
        outcome = await load(transport_for(server.url, KEY, QUICK))
    assert outcome.figures.errors == {"http_401": 3}
    assert KEY.reveal() not in repr(outcome) and "***" in outcome.samples[0].error


# -- good servers ------------------------------------------------------------------------------


async def test_requests_as_a_server_reads_them(transport_of: Callable[[str, Limits], Any]) -> None:
    async with FakeVllm(api_key=KEY.reveal()) as server:
        outcome = await load(transport_of(server.url + "/v1", USUAL), 6, 3)
    assert (outcome.figures.completed, outcome.figures.output_tokens) == (6, 60)
    assert outcome.figures.input_tokens == 30
    assert [r.path for r in server.requests] == ["/v1/chat/completions"] * 6
    sent = server.requests[0].json
    assert sent["stream_options"] == {"include_usage": True} and sent["max_tokens"] == 10
    assert 1 < server.most_running <= 3


async def test_conversations_carry_what_was_said(
    transport_of: Callable[[str, Limits], Any],
) -> None:
    async with (
        FakeVllm(default_answer="so it is") as server,
        contextlib.aclosing(transport_of(server.url, USUAL)) as transport,
    ):
        outcome = await run_load(
            transport, REQUEST_TEMPLATE, questions(2, turns=3), LoadShape(2), KEY
        )
    assert outcome.figures.completed == 6
    longest = max(server.requests, key=lambda r: len(r.json["messages"])).json["messages"]
    assert [m["role"] for m in longest] == ["user", "assistant"] * 2 + ["user"]
    assert longest[1]["content"] == "so it is"


async def test_a_model_that_cannot_chat_is_asked_plainly() -> None:
    async with (
        FakeVllm(chat_template=False) as server,
        contextlib.aclosing(transport_for(server.url, KEY, USUAL)) as transport,
    ):
        request_template = await warm_up(transport, REQUEST_TEMPLATE, questions(1), KEY)
        outcome = await run_load(transport, request_template, questions(2), LoadShape(2), KEY)
    assert (request_template.mode, outcome.figures.completed) == ("completions", 2)


async def test_the_warm_up_tells_why_nothing_succeeded() -> None:
    async with (
        FakeVllm(model="another") as server,
        contextlib.aclosing(transport_for(server.url, KEY, USUAL)) as transport,
    ):
        with pytest.raises(VerificationError, match="does not exist"):
            await warm_up(transport, REQUEST_TEMPLATE, questions(2), KEY)


def test_proxies_go_through_httpx_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for url in ("http://example.org", "https://example.org/v1"):
        straight = transport_for(url, KEY, USUAL)
        assert (straight.name, straight.note) == ("asyncio", "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:3128")
    assert transport_for("http://example.org", KEY, USUAL).note.startswith("a proxy")
    assert transport_for("http://127.0.0.1:8000", KEY, USUAL).name == "asyncio"
    assert shown("https://me:pw@example.org/v1") == "https://example.org/v1"
    for wrong in ("example.org", "ftp://x", "http://", "http://x:99999", "http://x:0"):
        with pytest.raises(UsageError):
            transport_for(wrong, KEY, USUAL)


# -- the time of what comes while the loop is elsewhere ----------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when bytes came")
async def test_the_first_token_is_as_early_as_the_kernel_got_it() -> None:
    """Headers, then the first token, then the rest, while this process does something else."""
    loop, first = asyncio.get_running_loop(), threading.Event()
    written: list[float] = []

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(HEADERS)
            loop.call_soon_threadsafe(elsewhere)
            assert first.wait(20)
            event = framed(f"data: {chunk('x')}\n\n".encode())
            written.append(perf_counter())
            connection.sendall(event)
            time.sleep(0.3)
            connection.sendall(event + framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    def elsewhere() -> None:
        first.set()
        time.sleep(0.2)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        transport = transport_for(f"http://127.0.0.1:{listening.getsockname()[1]}", KEY, USUAL)
        outcome = await load(transport, 1, 1)
        thread.join(20)
    (sample,) = outcome.samples
    assert (sample.error, len(sample.itls)) == ("", 1) and sample.ttft is not None
    # Not when it was read, 0.2 s later.
    came = sample.start + sample.ttft - written[0]
    assert -0.01 < came < 0.1
