"""The shopper backend against a service that lives, breaks and lies."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from gdl.backends.service_clock import ServiceClock
from gdl.backends.shopper.backend import ShopperBackend
from gdl.domain.errors import (
    BackendError,
    BackendRefused,
    BackendUnreachable,
    GdlError,
    InsufficientDisk,
    MachineError,
    OfferGone,
    RentAmbiguous,
    SessionExists,
    SessionGone,
)
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.session import RentRequest, SessionStatus, SshAddress
from gdl.settings import Settings, Timeouts
from gdl.simulator.fault_models import Http
from gdl.simulator.scenario import load
from gdl.simulator.scripted_answers import Canned
from gdl.simulator.service import Service
from local_ports import free_port
from shopper_support import FakeShopper, default_key, default_offers, offer_row

ANY = OfferQuery()
UNKNOWN = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
async def shopper() -> AsyncIterator[FakeShopper]:
    async with FakeShopper(ssh=("203.0.113.7", 2201, "root")) as server:
        yield server


def settings(url: str, folder: Path, **seconds: float) -> Settings:
    return Settings(shopper_url=url, data_dir=folder, timeouts=Timeouts(**seconds))


@pytest.fixture
async def backend(shopper: FakeShopper, tmp_path: Path) -> AsyncIterator[ShopperBackend]:
    made = ShopperBackend(settings(shopper.url, tmp_path), "me")
    yield made
    await made.aclose()


async def request_for(backend: ShopperBackend, ident: str = "vastai-101") -> RentRequest:
    offer = next(o for o in await backend.offers(ANY) if o.id == ident)
    return RentRequest(offer, "me", 2, "org/model")


# -- a whole life


async def test_a_session_from_rent_to_release(
    shopper: FakeShopper, backend: ShopperBackend
) -> None:
    rented = await backend.rent(await request_for(backend))
    assert rented.private_key is not None
    assert rented.private_key.reveal() == default_key()
    ident = rented.session.id
    sent = shopper.seen("POST", "/api/v1/sessions")[0].body
    assert sent == {
        "consumer_id": "me",
        "offer_id": "vastai-101",
        "workload_type": "llm_vllm",
        "reservation_hours": 2,
        "model_id": "org/model",
        "ssh_timeout_minutes": 12,
    }

    running = await backend.session(ident)
    assert running.status is SessionStatus.RUNNING
    assert running.ssh == SshAddress("203.0.113.7", 2201, "root")
    assert [s.id for s in await backend.sessions()] == [ident]
    assert shopper.billing() == [ident]

    await backend.release(ident)
    await backend.release(ident)
    assert (await backend.session(ident)).status is SessionStatus.STOPPED
    assert shopper.billing() == []


@pytest.mark.parametrize(
    ("session", "minutes"), [(600.0, 12), (90.0, 2), (1200.0, 24), (3600.0, 30)]
)
async def test_the_service_waits_longer_for_a_machine_than_we_do(
    session: float, minutes: int, shopper: FakeShopper, tmp_path: Path
) -> None:
    """It does not look whether a machine is gone that it gives up itself; we do."""
    backend = ShopperBackend(settings(shopper.url, tmp_path, session=session), "me")
    await backend.rent(await request_for(backend))
    sent = shopper.seen("POST", "/api/v1/sessions")[0].body
    assert sent["ssh_timeout_minutes"] == minutes
    # However long it waits for SSH, it fails a session that does not run after ten minutes.
    assert backend.traits.gives_up_s == min(minutes, 10) * 60
    await backend.aclose()


async def test_disk_and_patience_are_sent_when_they_differ(
    shopper: FakeShopper, tmp_path: Path
) -> None:
    backend = ShopperBackend(settings(shopper.url, tmp_path, session=90), "me")
    await backend.rent(replace(await request_for(backend), disk_gb=120))
    sent = shopper.seen("POST", "/api/v1/sessions")[0].body
    assert (sent["disk_gb"], sent["ssh_timeout_minutes"]) == (120, 2)
    assert "auto_retry" not in sent
    await backend.aclose()


async def test_the_list_is_asked_wide(shopper: FakeShopper, backend: ShopperBackend) -> None:
    await backend.offers(OfferQuery(provider="vastai", gpu="H100", max_price=1.0, gpu_count=2))
    # A page, and nothing that would narrow the list.
    assert shopper.seen("GET", "/api/v1/inventory")[0].query == {"limit": "10000", "offset": "0"}


async def test_a_list_of_thirty_thousand_offers_is_read_page_by_page(tmp_path: Path) -> None:
    scenario = load("calm")
    async with Service(scenario, root=tmp_path / "market", offers=30_000) as service:
        backend = ShopperBackend(settings(service.url, tmp_path), "me")
        found = await backend.offers(OfferQuery())
        await backend.aclose()
        asked = [each for each in service.api.received if each.path == "/api/v1/inventory"]
    assert len(found) == len({offer.id for offer in found}) == 30_000
    assert [each.query["offset"] for each in asked] == [f"{n * 10_000}" for n in range(3)]


@pytest.mark.parametrize("told", [{}, {"total": 10**9}])
async def test_a_service_that_never_comes_to_an_end_is_not_read_for_ever(
    told: dict[str, int], tmp_path: Path
) -> None:
    row = {"provider": "vastai", "gpu_type": "H100", "gpu_count": 1, "price_per_hour": 1.0}
    same = [{**row, "id": f"vastai-{n}"} for n in range(10_000)]
    requests: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request.url.params["offset"])
        return httpx.Response(200, json={"offers": same, **told})

    backend = ShopperBackend(
        settings("http://shopper.test", tmp_path), "me", transport=httpx.MockTransport(answer)
    )
    found = await backend.offers(OfferQuery())
    await backend.aclose()
    assert len(found) == len(same)
    # The second page has nothing new: the service does not know of pages.
    assert requests == ["0", "10000"]


async def test_only_our_own_sessions(shopper: FakeShopper, backend: ShopperBackend) -> None:
    rented = await backend.rent(await request_for(backend))
    ours = shopper.sessions[rented.session.id].wire()
    foreign = {**ours, "id": UNKNOWN, "consumer_id": "other"}
    body = json.dumps({"sessions": [foreign, ours]}).encode()
    shopper.answer_with(Canned(200, body))
    assert [s.id for s in await backend.sessions()] == [rented.session.id]


async def test_extend_tells_the_real_end(shopper: FakeShopper, backend: ShopperBackend) -> None:
    rented = await backend.rent(await request_for(backend))
    created = rented.session.created_at
    assert created is not None
    assert await backend.extend(rented.session.id, 3) == created + timedelta(hours=5)
    # 5 h + 11 h is what the service then writes down; twelve hours in all is what it grants.
    assert await backend.extend(rented.session.id, 11) == created + timedelta(hours=12)


@pytest.mark.parametrize("wrong", [timedelta(minutes=30), timedelta(hours=-3)])
async def test_times_are_told_by_our_clock_however_wrong_it_is(
    wrong: timedelta, shopper: FakeShopper, tmp_path: Path
) -> None:
    def now() -> datetime:
        return datetime.now(UTC) + wrong

    backend = ShopperBackend(settings(shopper.url, tmp_path), "me", now=now)
    try:
        before = now()
        rented = (await backend.rent(await request_for(backend))).session
        listed = (await backend.sessions())[0]
        asked = await backend.session(rented.id)
        ends = await backend.extend(rented.id, 1)
        for session in (rented, listed, asked):
            assert session.created_at is not None and session.expires_at is not None
            assert abs(session.created_at - before) < timedelta(seconds=5)
            assert abs(session.expires_at - before - timedelta(hours=2)) < timedelta(seconds=5)
        assert ends is not None and abs(ends - before - timedelta(hours=3)) < timedelta(seconds=5)
        told = {finding.name: finding for finding in await backend.check()}
        word = "ahead of" if wrong > timedelta() else "behind"
        assert told["clock"].status == "warn" and word in told["clock"].detail
    finally:
        await backend.aclose()


def test_a_long_answer_leaves_the_clock_as_short_ones_told_it() -> None:
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    date = format_datetime(at + timedelta(minutes=30), usegmt=True)
    clock = ServiceClock(lambda: at)
    clock.answered(date, 0.1)
    known = clock.offset
    # A rent takes minutes, and nobody knows when its header was written.
    clock.answered(date, 200.0)
    assert clock.offset == known
    clock.answered(format_datetime(at, usegmt=True), 0.1)
    assert clock.offset == timedelta()


async def test_a_clock_that_is_right_is_no_finding(
    shopper: FakeShopper, backend: ShopperBackend
) -> None:
    session = (await backend.rent(await request_for(backend))).session
    assert session.created_at is not None
    # As it was told, to the microsecond.
    told = shopper.sessions[session.id].created
    assert session.created_at == told
    assert "clock" not in [finding.name for finding in await backend.check()]


async def test_failed_machine(shopper: FakeShopper, backend: ShopperBackend) -> None:
    shopper.never_ready("vastai-101", "SSH verification timeout")
    rented = await backend.rent(await request_for(backend))
    failed = await backend.session(rented.session.id)
    assert (failed.status, failed.error) == (SessionStatus.FAILED, "SSH verification timeout")
    # A minute later the service calls it stopped and keeps the error.
    shopper.sessions[rented.session.id].status = "stopped"
    assert (await backend.session(rented.session.id)).status is SessionStatus.FAILED


# -- renting goes wrong


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("stale", OfferGone),
        ("gone500", OfferGone),
        ("no_nodes", OfferGone),
        ("provision_failed", MachineError),
        ("ssh_timeout", MachineError),
        ("500", BackendRefused),
        ("503", BackendRefused),
        ("plain404", BackendRefused),
    ],
)
async def test_rent_refused(
    fault: str, error: type[GdlError], shopper: FakeShopper, backend: ShopperBackend
) -> None:
    request = await request_for(backend)
    shopper.inject("create", fault)
    with pytest.raises(GdlError) as caught:
        await backend.rent(request)
    assert type(caught.value) is error
    assert caught.value.hint
    assert shopper.billing() == []
    assert len(shopper.seen("POST", "/api/v1/sessions")) == 1


async def test_rent_refused_by_a_rate_limit(shopper: FakeShopper, backend: ShopperBackend) -> None:
    request = await request_for(backend)
    shopper.inject("create", "429")
    with pytest.raises(BackendRefused) as caught:
        await backend.rent(request)
    assert (caught.value.status, caught.value.retry_after) == (429, 1.0)
    assert len(shopper.seen("POST", "/api/v1/sessions")) == 1


@pytest.mark.parametrize(
    ("fault", "made"),
    [
        ("cut", 1),
        ("made_502", 1),
        ("made_truncated", 1),
        ("no_key", 1),
        ("no_id", 1),
        ("drop", 0),
        ("html", 0),
        ("empty", 0),
        ("short", 0),
        ("504", 0),
    ],
)
async def test_rent_answer_lost(
    fault: str, made: int, shopper: FakeShopper, backend: ShopperBackend
) -> None:
    request = await request_for(backend)
    shopper.inject("create", fault)
    with pytest.raises(RentAmbiguous) as caught:
        await backend.rent(request)
    assert caught.value.sent_at is not None
    assert caught.value.sent_at.tzinfo is not None
    assert len(shopper.billing()) == made
    # Never sent twice: the second would rent a second machine.
    assert len(shopper.seen("POST", "/api/v1/sessions")) == 1
    if fault == "no_key":
        assert shopper.billing()[0] in caught.value.message


async def test_rent_without_answer_in_time(shopper: FakeShopper, tmp_path: Path) -> None:
    backend = ShopperBackend(settings(shopper.url, tmp_path, rent=0.1), "me")
    request = await request_for(backend)
    shopper.inject("create", "hang")
    with pytest.raises(RentAmbiguous, match="no answer within"):
        await backend.rent(request)
    await backend.aclose()


async def test_rent_that_never_left(tmp_path: Path) -> None:
    backend = ShopperBackend(settings(f"http://127.0.0.1:{free_port()}", tmp_path), "me")
    offer = Offer("vastai-1", "shopper", "vastai", "GPU", 1, 24, 1.0)
    with pytest.raises(BackendUnreachable):
        await backend.rent(RentRequest(offer, "me", 1, "m"))
    await backend.aclose()


async def test_duplicate_names_the_session(shopper: FakeShopper, backend: ShopperBackend) -> None:
    request = await request_for(backend)
    rented = await backend.rent(request)
    with pytest.raises(SessionExists) as caught:
        await backend.rent(request)
    assert caught.value.session_id == rented.session.id


async def test_conflict_without_a_believable_id(
    shopper: FakeShopper, backend: ShopperBackend
) -> None:
    text = "consumer me already has active session ../../etc for offer x (status: running)"
    shopper.answer_with(Canned(409, json.dumps({"error": text}).encode()))
    with pytest.raises(BackendRefused):
        await backend.rent(RentRequest(an_offer(), "me", 1, "m"))


async def test_disk_too_small(shopper: FakeShopper, backend: ShopperBackend) -> None:
    request = replace(await request_for(backend), disk_gb=5)
    shopper.inject("create", "insufficient_disk")
    with pytest.raises(InsufficientDisk) as caught:
        await backend.rent(request)
    assert (caught.value.requested_gb, caught.value.recommended_gb) == (5, 100)
    # The pending row blocks the corrected request; it can be found and deleted.
    with pytest.raises(SessionExists) as taken:
        await backend.rent(replace(request, disk_gb=100))
    await backend.release(taken.value.session_id)
    assert (await backend.rent(replace(request, disk_gb=100))).private_key


@pytest.mark.parametrize(
    "key", [None, "", 7, "ssh-rsa AAAA", "-----BEGIN " + "A" * 100_000, "\x1b"]
)
async def test_unusable_keys(key: Any, shopper: FakeShopper, backend: ShopperBackend) -> None:
    answer = {"session": {"id": UNKNOWN, "status": "provisioning"}, "ssh_private_key": key}
    shopper.answer_with(Canned(201, json.dumps(answer).encode()))
    with pytest.raises(RentAmbiguous) as caught:
        await backend.rent(RentRequest(an_offer(), "me", 1, "m"))
    assert UNKNOWN in caught.value.message


async def test_the_key_shows_nowhere(shopper: FakeShopper, backend: ShopperBackend) -> None:
    rented = await backend.rent(await request_for(backend))
    assert "PRIVATE" not in repr(rented)
    # An answer that carries a key and is broken elsewhere must not quote it either.
    body = json.dumps({"session": {"id": 5}, "ssh_private_key": default_key()}).encode()
    for broken in (body, body[:-1]):
        shopper.answer_with(Canned(201, broken))
        with pytest.raises(RentAmbiguous) as caught:
            await backend.rent(RentRequest(an_offer(), "me", 1, "m"))
        assert "PRIVATE" not in caught.value.message + repr(caught.value)


# -- releasing goes wrong


async def test_release_that_cannot_be_verified(
    shopper: FakeShopper, backend: ShopperBackend
) -> None:
    ident = (await backend.rent(await request_for(backend))).session.id
    shopper.inject("delete", "unverified")
    with pytest.raises(BackendRefused, match="failed to verify destruction"):
        await backend.release(ident)
    assert shopper.billing() == [ident]
    await backend.release(ident)
    assert shopper.billing() == []


async def test_release_that_lies_shows_in_the_session(
    shopper: FakeShopper, backend: ShopperBackend
) -> None:
    ident = (await backend.rent(await request_for(backend))).session.id
    shopper.inject("delete", "lies")
    await backend.release(ident)
    assert not (await backend.session(ident)).terminal


@pytest.mark.parametrize("fault", ["plain404", "502", "html", "drop", "short"])
async def test_release_is_not_believed_from_anybody_else(
    fault: str, shopper: FakeShopper, backend: ShopperBackend
) -> None:
    ident = (await backend.rent(await request_for(backend))).session.id
    shopper.inject("delete", fault)
    with pytest.raises(BackendError):
        await backend.release(ident)


async def test_a_proxys_404_does_not_mean_gone(
    shopper: FakeShopper, backend: ShopperBackend
) -> None:
    shopper.inject("session", "plain404")
    with pytest.raises(BackendRefused):
        await backend.session(UNKNOWN)
    with pytest.raises(SessionGone):
        await backend.session(UNKNOWN)


@pytest.mark.parametrize("ident", ["", "..", "../inventory", "a b", "x" * 200, "a/b", "é"])
async def test_odd_session_ids_are_never_sent(
    ident: str, shopper: FakeShopper, backend: ShopperBackend
) -> None:
    await backend.release(ident)
    with pytest.raises(SessionGone):
        await backend.session(ident)
    with pytest.raises(SessionGone):
        await backend.extend(ident, 1)
    assert shopper.requests == []


# -- reading


@pytest.mark.parametrize("fault", ["502", "503", "504", "429", "drop", "short"])
async def test_reads_are_tried_again(
    fault: str, shopper: FakeShopper, backend: ShopperBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gdl.backends.http._PAUSES", (0.01, 0.01))
    soon = Http(on="inventory", answer="429", retry_after=0.01)
    wrong = soon if fault == "429" else fault
    shopper.inject("inventory", wrong, times=2)
    assert await backend.offers(ANY)
    shopper.inject("inventory", wrong, times=3)
    with pytest.raises(BackendError):
        await backend.offers(ANY)


async def test_a_long_retry_after_is_passed_on(
    shopper: FakeShopper, backend: ShopperBackend
) -> None:
    shopper.answer_with(Canned(429, b'{"error": "slow down"}', headers=(("Retry-After", "120"),)))
    started = time.monotonic()
    with pytest.raises(BackendRefused) as caught:
        await backend.offers(ANY)
    assert caught.value.retry_after == 120
    assert "120 s" in caught.value.hint
    assert time.monotonic() - started < 60


async def test_a_retry_after_that_is_a_date_counts_by_the_services_clock(
    shopper: FakeShopper, tmp_path: Path
) -> None:
    backend = ShopperBackend(
        settings(shopper.url, tmp_path), "me", now=lambda: datetime.now(UTC) - timedelta(hours=3)
    )
    theirs = datetime.now(UTC)
    dates = [format_datetime(theirs + timedelta(seconds=s), usegmt=True) for s in (0, 120)]
    headers = tuple(zip(("Date", "Retry-After"), dates, strict=True))
    shopper.answer_with(Canned(429, b'{"error": "slow down"}', headers=headers))
    try:
        with pytest.raises(BackendRefused) as caught:
            await backend.offers(ANY)
    finally:
        await backend.aclose()
    assert caught.value.retry_after == pytest.approx(120, abs=10)


@pytest.mark.parametrize(
    ("body", "content_type", "says"),
    [
        (b"<!doctype html><p>login", "text/html", "HTML page"),
        (b"  <html>", "application/json", "HTML page"),
        (b"", "application/json", "empty body"),
        (b'{"offers": [', "application/json", "cut off"),
        (b"hello", "text/plain", "text"),
        (b"[1, 2]", "application/json", "list"),
        (b"null", "application/json", "NoneType"),
        (b'{"offers": {"a": 1}}', "application/json", "offer list"),
        (b'{"sessions": []}', "application/json", "offer list"),
        (b"[" * 100_000, "application/json", "JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "application/json", "JSON"),
        (b'\xff\xfe{"offers": []}', "application/json", "JSON"),
    ],
)
async def test_answers_that_are_not_the_services(
    body: bytes, content_type: str, says: str, shopper: FakeShopper, backend: ShopperBackend
) -> None:
    shopper.answer_with(Canned(200, body, content_type))
    with pytest.raises(BackendError) as caught:
        await backend.offers(ANY)
    assert says in caught.value.message
    assert caught.value.hint


async def test_a_redirect_is_not_followed(shopper: FakeShopper, backend: ShopperBackend) -> None:
    shopper.answer_with(Canned(302, b"", headers=(("Location", "/elsewhere"),)))
    with pytest.raises(BackendRefused) as caught:
        await backend.offers(ANY)
    assert caught.value.status == 302
    assert len(shopper.requests) == 1


async def test_bad_rows_are_left_out(shopper: FakeShopper, backend: ShopperBackend) -> None:
    good = offer_row("good-1")
    wrong: list[dict[str, Any]] = [
        {"price_per_hour": float("nan")},
        {"price_per_hour": float("inf")},
        {"price_per_hour": -1},
        {"price_per_hour": 0},
        {"price_per_hour": 99_999},
        {"price_per_hour": None},
        {"price_per_hour": True},
        {"price_per_hour": "cheap"},
        {"price_per_hour": 10**400},
        {"gpu_count": -1},
        {"gpu_count": 1.5},
        {"vram_gb": float("nan")},
        {"id": ""},
        {"id": None},
        {"id": "a\nb"},
        {"id": "\x1b[31mred"},
        {"id": "x" * 5000},
    ]
    rows: list[Any] = [good, dict(good), "text", None, 5, {}]
    rows += [offer_row(f"bad-{number}") | changes for number, changes in enumerate(wrong)]
    rows.append({k: v for k, v in offer_row("bad").items() if k != "price_per_hour"})
    shopper.answer_with(listed(*rows))
    assert [o.id for o in await backend.offers(ANY)] == ["good-1"]
    assert backend.dropped_offers == len(rows) - 1


async def test_odd_but_usable_rows(shopper: FakeShopper, backend: ShopperBackend) -> None:
    rows = [
        {"id": "bare", "price_per_hour": "0.25"},
        offer_row(
            "odd",
            gpu_count="2",
            vram_gb="79",
            reliability=None,
            availability_confidence=7,
            cuda_version="?",
            fetched_at="yesterday",
            machine_id=None,
            available=None,
            max_duration_hours="48",
            new_field={"x": 1},
        ),
        offer_row("gone", available=False, interruptible=True, fetched_at="0001-01-01T00:00:00Z"),
    ]
    shopper.answer_with(listed(*rows))
    bare, odd, gone = await backend.offers(ANY)
    assert (bare.price_per_hour, bare.provider, bare.gpu_count, bare.vram_gb) == (
        0.25, "unknown", 1, 0.0,
    )  # fmt: skip
    assert (odd.gpu_count, odd.vram_gb, odd.total_vram_gb) == (2, 79.0, 158.0)
    assert (odd.reliability, odd.confidence, odd.cuda_version, odd.machine_id) == (None,) * 4
    assert (odd.available, odd.max_duration_hours, odd.fetched_at) == (True, 48.0, None)
    assert (gone.available, gone.interruptible, gone.fetched_at) == (False, True, None)


async def test_text_is_made_harmless(shopper: FakeShopper, backend: ShopperBackend) -> None:
    nasty = "A\x1b[2J\x1b]0;title\x07B\u202eC\x00\x9b31mD\ud800\nE\u200b" + "x" * 5000
    shopper.answer_with(listed(offer_row("good-1", gpu_type=nasty, location=nasty)))
    (offer,) = await backend.offers(ANY)
    assert offer.gpu_name.startswith("ABCD Ex")
    assert offer.gpu_name.isprintable()
    assert len(offer.location) <= 300
    shopper.answer_with(Canned(400, json.dumps({"error": nasty}).encode()))
    with pytest.raises(BackendRefused) as caught:
        await backend.offers(ANY)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    "changes",
    [
        {"ssh_host": "-oProxyCommand=x"},
        {"ssh_host": "a b"},
        {"ssh_host": ""},
        {"ssh_host": None},
        {"ssh_port": 0},
        {"ssh_port": 70000},
        {"ssh_port": "x"},
        {"ssh_user": "root; reboot"},
        {"ssh_user": "-l"},
    ],
)
async def test_addresses_that_nobody_should_dial(
    changes: dict[str, Any], shopper: FakeShopper, backend: ShopperBackend
) -> None:
    ident = (await backend.rent(await request_for(backend))).session.id
    await backend.session(ident)
    shopper.sessions[ident].misreported = changes
    session = await backend.session(ident)
    assert (session.status, session.ssh) == (SessionStatus.RUNNING, None)


@pytest.mark.parametrize(
    ("provider", "user"), [("vastai", "root"), ("tensordock", "user"), ("bluelobster", "ubuntu")]
)
async def test_users_where_none_is_named(
    provider: str, user: str, shopper: FakeShopper, backend: ShopperBackend
) -> None:
    ident = (await backend.rent(await request_for(backend))).session.id
    await backend.session(ident)
    changes = {"ssh_user": None, "provider": provider, "ssh_host": "2001:db8::1"}
    shopper.sessions[ident].misreported = changes
    session = await backend.session(ident)
    assert str(session.ssh) == f"{user}@[2001:db8::1]:2201"


async def test_odd_sessions(shopper: FakeShopper, backend: ShopperBackend) -> None:
    row = {"id": UNKNOWN, "status": "exploding", "gpu_count": "2", "price_per_hour": -3, "error": 5}
    shopper.answer_with(Canned(200, json.dumps(row).encode()))
    session = await backend.session(UNKNOWN)
    assert (session.status, session.gpu_count, session.price_per_hour) == (
        SessionStatus.UNKNOWN, 2, 0.0,
    )  # fmt: skip
    # The answer for another session is no answer.
    with pytest.raises(BackendError):
        await backend.session(UNKNOWN.replace("0", "1"))
    # A row that cannot be read might be a machine: the list is not given without it.
    shopper.answer_with(
        Canned(200, json.dumps({"sessions": [row, {"status": "running"}]}).encode())
    )
    with pytest.raises(BackendError):
        await backend.sessions()
    shopper.answer_with(Canned(200, b'{"sessions": null, "count": 0}'))
    assert await backend.sessions() == ()


# -- doctor, and a service that is not there


async def test_check_of_a_good_service(shopper: FakeShopper, backend: ShopperBackend) -> None:
    rows = [offer.wire(0.994, "") for offer in default_offers()]
    shopper.answer_with(listed(*rows, {"id": "broken"}))
    found = await backend.check()
    assert [f.status for f in found] == ["ok", "ok"]
    assert "6 offers from tensordock, vastai" in found[1].detail
    assert "1 more" in found[1].detail


async def test_check_of_a_service_that_shuts_down(
    shopper: FakeShopper, backend: ShopperBackend
) -> None:
    shopper.api.ready = False
    shopper.inject("inventory", "500")
    assert [f.status for f in await backend.check()] == ["ok", "fail", "fail"]


async def test_nothing_answers(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    backend = ShopperBackend(settings(url, tmp_path), "me")
    for call in (backend.offers(ANY), backend.sessions(), backend.release(UNKNOWN)):
        with pytest.raises(BackendUnreachable) as caught:
            await call
        assert caught.value.message == f"nothing answers at {url}"
        assert "--backend" in caught.value.hint
    (finding,) = await backend.check()
    assert (finding.status, finding.detail) == ("fail", f"nothing answers at {url}")
    await backend.aclose()


async def test_unknown_host_name(tmp_path: Path) -> None:
    backend = ShopperBackend(settings("http://user:hunter2@nowhere.invalid", tmp_path), "me")
    with pytest.raises(BackendUnreachable) as caught:
        await backend.offers(ANY)
    assert "hunter2" not in caught.value.message + caught.value.hint
    await backend.aclose()


async def test_a_read_that_hangs(shopper: FakeShopper, tmp_path: Path) -> None:
    backend = ShopperBackend(settings(shopper.url, tmp_path, http=0.1), "me")
    shopper.inject("inventory", "hang", times=None)
    with pytest.raises(BackendError, match="no answer within"):
        await backend.offers(ANY)
    assert len(shopper.requests) == 1
    await backend.aclose()


async def test_an_answer_that_drips(tmp_path: Path) -> None:
    """Bytes that come one by one, each in time, do not hold a read beyond its limit."""

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        except OSError:
            writer.close()
        finally:
            ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    backend = ShopperBackend(settings(f"http://127.0.0.1:{port}", tmp_path, http=0.15), "me")
    started = time.monotonic()
    with pytest.raises(BackendError, match="no answer within"):
        await backend.offers(ANY)
    assert time.monotonic() - started < 3
    await backend.aclose()
    server.close()
    await server.wait_closed()
    await ended.wait()


def listed(*rows: Any) -> Canned:
    """An answer with these offers, NaN and all."""
    return Canned(200, json.dumps({"offers": rows}).encode(), on="inventory")


def an_offer() -> Offer:
    return Offer("vastai-101", "shopper", "vastai", "RTX 3090", 1, 24, 0.131)
