"""The load generator over TLS: a real TLS server whose certificate a private CA has signed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdl.domain.errors import UsageError, VerificationError
from gdl.domain.secret import Secret
from gdl.endpoint.tls import TlsOptions, tls_context
from gdl.loadgen.bench_session import LoadOptions, connected
from gdl.loadgen.decode import decode
from gdl.loadgen.exchange import Exchange
from gdl.loadgen.load import LoadShape, Outcome
from gdl.loadgen.request_template import RequestTemplate
from gdl.loadgen.tls_connection import TlsConnection
from gdl.loadgen.transport import Limits
from gdl.loadgen.workload import Length, Workload
from private_ca import PrivateCa
from test_cli_bench import gdl
from test_loadgen_wire import HEADERS, body, cuts_of, framed, places
from vllm_support import FakeVllm

KEY = Secret("sk-secret")
WORK = LoadOptions(Workload("random", Length(5, 5), Length(10, 10)), requests=6, warmup=1)
LIMITS = Limits(20, 10, 5)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> PrivateCa:
    return PrivateCa.made(tmp_path_factory.mktemp("ca"))


@pytest.fixture(autouse=True)
def _no_certificates_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


async def measured(url: str, tls: TlsOptions, model: str = "") -> Outcome:
    async with (
        asyncio.timeout(60),
        connected(url, KEY, RequestTemplate(model), WORK, LIMITS, tls) as bench,
    ):
        return await bench.load(LoadShape(3))


# -- whom to trust -----------------------------------------------------------------------------


async def test_a_private_ca_is_trusted_by_option_or_environment(
    ca: PrivateCa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeVllm(tls=ca.server(), api_key="sk-secret") as server:
        options = ("--url", server.url, "--api-key-env", "BENCH_KEY", "--requests", "6", "--json")
        code, out, err = await gdl(tmp_path, *options, "--cacert", str(ca.file))
        assert code == 0, err
        result = json.loads(out)
        # By the exact way, and with nothing to be said against it.
        assert (result["completed"], result["total_output_tokens"]) == (6, 60)
        assert (result["gdl"]["carrier"], result["gdl"]["note"]) == ("asyncio", None)

        code, out, err = await gdl(tmp_path, *options, "--insecure")
        assert code == 0, err
        assert "not checked" in json.loads(out)["gdl"]["note"]

        monkeypatch.setenv("SSL_CERT_FILE", str(ca.file))
        code, out, err = await gdl(tmp_path, *options)
        assert (code, json.loads(out)["completed"]) == (0, 6), err


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_either_version_of_tls(ca: PrivateCa, version: ssl.TLSVersion) -> None:
    async with FakeVllm(tls=ca.server(at_most=version)) as server:
        outcome = await measured(server.url, TlsOptions(ca.file))
    assert (outcome.figures.completed, outcome.figures.failed) == (6, 0)
    assert all(s.ttft is not None and 0 < s.ttft <= s.latency for s in outcome.samples)
    # One for the list of models, the others stay open: the warm-up's and the load's.
    assert server.connections == 4


def test_certificates_that_cannot_be_read_are_named(ca: PrivateCa, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for wrong in (tmp_path / "nowhere.pem", empty, tmp_path):
        with pytest.raises(UsageError, match=f"--cacert: {wrong}"):
            tls_context(TlsOptions(wrong))
        with pytest.raises(UsageError, match="SSL_CERT_FILE"):
            tls_context(environ={"SSL_CERT_FILE": str(wrong)})
    with pytest.raises(UsageError, match="SSL_CERT_DIR"):
        tls_context(environ={"SSL_CERT_DIR": str(empty)})
    # The option counts more than the environment.
    context = tls_context(TlsOptions(ca.file), {"SSL_CERT_FILE": "/nowhere"})
    assert len(context.get_ca_certs()) == 1
    assert len(tls_context(environ={}).get_ca_certs()) > 50


# -- what goes wrong ---------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "untrusted": ({}, "is from an authority that is not trusted here", "--cacert FILE"),
    "self-signed": ({"by_itself": True}, "is self-signed", "--cacert FILE"),
    "expired": ({"begins": -2 * DAY, "ends": -DAY}, "has expired", "renew it"),
    "not yet valid": ({"begins": DAY, "ends": 2 * DAY}, "is not valid yet", "clock"),
    "another name": ({"hosts": ("model.example",)}, "is for another", "use the name"),
}


@pytest.mark.parametrize("model", ["", "tiny"])
@pytest.mark.parametrize("trouble", WRONG)
async def test_a_certificate_that_is_refused_is_told_in_its_own_words(
    ca: PrivateCa, trouble: str, model: str
) -> None:
    """Whoever meets it first: the question for the models or the load's own connections."""
    how, told, hint = WRONG[trouble]
    names = how.get("hosts", ())
    context = ca.server(*names, **{name: how[name] for name in how if name != "hosts"})
    trusted = trouble in ("expired", "not yet valid", "another name")
    async with FakeVllm(tls=context) as server:
        with pytest.raises(VerificationError) as caught:
            await measured(server.url, TlsOptions(ca.file if trusted else None), model)
        where = f"127.0.0.1:{server.port}"
        assert caught.value.message == f"the certificate of {where} {told}" or (
            told == "is for another" and f"{where} {told} address" in caught.value.message
        )
        assert hint in caught.value.hint and "--model" not in caught.value.hint
        outcome = await measured(server.url, TlsOptions(insecure=True), model)
    assert outcome.figures.completed == 6


@pytest.mark.parametrize("model", ["", "tiny"])
async def test_tls_asked_of_a_server_of_plain_http(model: str) -> None:
    async with FakeVllm() as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(VerificationError, match="TLS") as caught:
            await measured(url, TlsOptions(), model)
    assert "http://" in caught.value.hint


@pytest.mark.parametrize("model", ["", "tiny"])
async def test_plain_http_asked_of_a_server_of_tls(ca: PrivateCa, model: str) -> None:
    async with FakeVllm(tls=ca.server()) as server:
        url = server.url.replace("https:", "http:")
        with pytest.raises(VerificationError, match="speaks TLS") as caught:
            await measured(url, TlsOptions(), model)
    assert caught.value.hint == "use https:// instead of http://"


@contextlib.asynccontextmanager
async def deaf_server(*, closes: bool) -> AsyncIterator[str]:
    """Takes connections and says nothing."""
    held: list[asyncio.StreamWriter] = []

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        if closes:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in held:
            writer.close()


@pytest.mark.parametrize("closes", [True, False])
async def test_a_handshake_that_nobody_answers_ends(closes: bool) -> None:
    async with deaf_server(closes=closes) as url:
        with pytest.raises(VerificationError, match="TLS handshake"):
            async with connected(
                url, KEY, RequestTemplate("tiny"), WORK, Limits(connect_s=0.5), TlsOptions()
            ):
                pass


@contextlib.contextmanager
def blocking_server(context: ssl.SSLContext) -> Iterator[str]:
    """TLS as OpenSSL speaks it on a socket, alerts and all: asyncio's servers send none."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), context.wrap_socket(accepted, server_side=True) as c:
                c.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


async def test_a_certificate_of_the_client_that_is_missing_is_told(ca: PrivateCa) -> None:
    # With TLS 1.3 it is refused after the handshake, in a race with the first request.
    context = ca.server(at_most=ssl.TLSVersion.TLSv1_2)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca.file)
    with blocking_server(context) as url, pytest.raises(VerificationError) as caught:
        await measured(url, TlsOptions(ca.file), "tiny")
    assert "refuses the TLS connection" in caught.value.message and "log" in caught.value.hint


# -- records cut anywhere ----------------------------------------------------------------------


class Peer:
    """The server's side of TLS, without a socket. What the client writes goes in, what it is to
    read comes out."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def get_extra_info(self, _: str) -> Any:
        return self

    def fileno(self) -> int:
        return -1

    def get_write_buffer_size(self) -> int:
        return 1  # so that requests come by `write`

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None: ...

    def write(self, data: bytes) -> None:
        self._incoming.write(data)

    def shake(self) -> bytes:
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._outgoing.read()

    def request(self) -> bytes:
        return self._tls.read()

    def records(self, pieces: Iterator[bytes]) -> bytes:
        for piece in pieces:
            if piece:
                self._tls.write(piece)
        return self._outgoing.read()


@settings(deadline=None, max_examples=60)
@given(records=places, reads=places, tokens=st.integers(1, 400))
async def test_an_answer_is_the_same_however_records_and_reads_cut_it(
    ca: PrivateCa, records: list[int], reads: list[int], tokens: int
) -> None:
    ended: list[Exchange] = []
    connection = TlsConnection(
        lambda _, exchange: ended.append(exchange),
        lambda _: None,
        tls_context(TlsOptions(ca.file)),
        "localhost",
    )
    peer = Peer(ca.server())
    connection.connection_made(peer)  # type: ignore[arg-type]
    while not connection.usable:
        connection.data_received(peer.shake())
    connection.data_received(peer.shake() or peer.records(iter(())) or b"")
    await connection.secured()
    connection.send(Exchange(), b"POST /v1")
    assert peer.request() == b"POST /v1"
    events = [framed(part + b"\n\n") for part in body(tokens).split(b"\n\n")[:-1]]
    wire = HEADERS + b"".join(events) + b"0\r\n\r\n"
    for data in cuts_of(peer.records(cuts_of(wire, records)), reads):
        if data:
            connection.data_received(data)
    (exchange,) = ended
    sample = decode(exchange, KEY, with_text=True)
    assert (sample.error, sample.output_tokens) == ("", tokens)
    assert sample.text == "".join(f"t{number}" for number in range(tokens))
    assert connection.usable
