"""Every recorded answer of the real service, over HTTP, into the right model or error."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gdl.backends.shopper.backend import ShopperBackend
from gdl.domain.errors import BackendRefused, GdlError, OfferGone, SessionExists, SessionGone
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.session import RentRequest, SessionStatus, SshAddress
from gdl.settings import Settings
from gdl.simulator.scripted_answers import Canned
from shopper_support import FakeShopper, default_key

RECORDED = {
    r["name"]: r
    for r in json.loads((Path(__file__).parent / "data/shopper/recorded.json").read_text())
}
SESSION = "bd97917c-f5a3-4d1e-8803-83b84cf8db6e"
FAILED = "a12dfdb7-f255-4d88-94b5-57966df7221e"
DELETED = "5f836edd-053c-4f6e-afc0-3754e0076cc2"
NOBODY = "00000000-0000-0000-0000-000000000000"

Call = Callable[[ShopperBackend], Awaitable[Any]]
Check = Callable[[Any], bool]


def offers(backend: ShopperBackend) -> Awaitable[Any]:
    return backend.offers(OfferQuery())


def rent(offer_id: str) -> Call:
    request = RentRequest(
        Offer(offer_id, "shopper", "vastai", "RTX 3090", 1, 24, 0.131), "rec/1", 1, "m"
    )
    return lambda backend: backend.rent(request)


def leased(session_id: str, gpu: str, price: float) -> Check:
    def check(rented: Any) -> bool:
        session = rented.session
        return (
            session.id == session_id
            and session.status is SessionStatus.PROVISIONING
            and session.ssh is None
            and (session.gpu_name, session.price_per_hour) == (gpu, price)
            and session.expires_at - session.created_at == timedelta(hours=1)
            and rented.private_key.reveal() == default_key()
            and not rented.agent_auth
        )

    return check


def session_is(status: SessionStatus, ssh: SshAddress | None, error: str | None = None) -> Check:
    return lambda s: s.status is status and s.ssh == ssh and s.error == error


def ids(*expected: str) -> Check:
    return lambda listed: [x.id for x in listed] == list(expected)


def status(code: int, words: str) -> Check:
    return lambda e: e.status == code and words in e.message


EIGHT = [f"vastai-{n}" for n in (201, 202, 301, 101, 102, 103, 104, 105)]
HERE = SshAddress("127.0.0.1", 2200, "root")

EXPECTED: dict[str, tuple[Call, type[Exception] | None, Check]] = {
    "GET /health": (lambda b: b.health(), None, lambda h: h.status == "ok" and h.services),
    "GET /ready": (lambda b: b.ready(), None, lambda ready: ready is True),
    "inventory, unfiltered": (
        offers,
        None,
        lambda o: (
            ids(*EIGHT)(o)
            and o[7] == Offer(
                id="vastai-105",
                backend="shopper",
                provider="vastai",
                gpu_name="H100 SXM",
                gpu_count=2,
                vram_gb=80,
                price_per_hour=4.5,
                location="Texas, US",
                reliability=0.99,
                confidence=0.994,
                cuda_version=13,
                machine_id="vastai-machine-5105",
                fetched_at=datetime(2026, 11, 23, 12, 44, 49, 196806, tzinfo=UTC),
            )
        ),
    ),
    "inventory, filtered": (offers, None, lambda o: len(o) == 5 and o[0].id == "vastai-202"),
    "inventory, provider not configured": (
        offers, BackendRefused, status(400, "provider not found: tensordock"),
    ),
    "inventory, bad parameter": (offers, BackendRefused, status(400, "invalid min_vram")),
    "inventory, page": (offers, None, lambda o: len(o) == 2),
    "create, empty body": (
        rent("vastai-101"), BackendRefused, status(400, "consumer_id is required"),
    ),
    "create, bad workload": (
        rent("vastai-101"), BackendRefused, status(400, "invalid workload_type"),
    ),
    "create, too many hours": (rent("vastai-101"), BackendRefused, status(400, "at most 12")),
    "create, unknown offer": (
        rent("vastai-999"), OfferGone, lambda e: e.offer_id == "vastai-999",
    ),
    "create, stale offer": (rent("vastai-202"), OfferGone, lambda e: e.offer_id == "vastai-202"),
    "create, disk too small": (
        rent("vastai-105"),
        None,
        leased("a1ed3553-e47b-4e5d-96cd-2b19e127db2d", "H100 SXM", 4.5),
    ),
    "create, good": (rent("vastai-101"), None, leased(SESSION, "RTX 3090", 0.131)),
    "get, provisioning": (
        lambda b: b.session(SESSION), None, session_is(SessionStatus.PROVISIONING, None),
    ),
    "create, duplicate": (rent("vastai-101"), SessionExists, lambda e: e.session_id == SESSION),
    "get, running": (lambda b: b.session(SESSION), None, session_is(SessionStatus.RUNNING, HERE)),
    "list": (
        lambda b: b.sessions(),
        None,
        lambda s: (
            [x.status for x in s]
            == [SessionStatus.RUNNING, SessionStatus.RUNNING, SessionStatus.FAILED]
            and s[0].id == SESSION
            and s[0].ssh == HERE
            and "no_such_ask" in s[2].error
            and s[2].ssh is None
        ),
    ),
    # The follow-up question for the session meets the same answer, which is no session: the end
    # the service names stands.
    "extend": (
        lambda b: b.extend(SESSION, 2),
        None,
        lambda end: end == datetime(2026, 11, 23, 15, 45, 29, 244944, tzinfo=UTC),
    ),
    "extend past the hard maximum": (
        lambda b: b.extend(SESSION, 12), BackendRefused, status(400, "12-hour hard max"),
    ),
    "costs of a consumer": (
        lambda b: b.costs(),
        None,
        lambda c: (c.total, c.session_count, c.hours_used) == (0.101, 1, 1) and c.note,
    ),
    "cost summary": (lambda b: b.costs(), None, lambda c: c.by_provider == {"vastai": 0.101}),
    "get, after done": (
        lambda b: b.session(SESSION), None, session_is(SessionStatus.STOPPED, None),
    ),
    "extend a stopped session": (
        lambda b: b.extend(SESSION, 1), BackendRefused, status(409, "terminal state: stopped"),
    ),
    "delete a stopped session": (lambda b: b.release(SESSION), None, lambda nothing: True),
    "delete, unknown": (lambda b: b.release(NOBODY), None, lambda nothing: True),
    "get, unknown": (lambda b: b.session(NOBODY), SessionGone, lambda e: NOBODY in e.message),
    "create on a host whose SSH never answers": (
        rent("vastai-301"), None, leased(FAILED, "RTX 3090", 0.119),
    ),
    "get, failed: SSH verification timed out": (
        lambda b: b.session(FAILED),
        None,
        session_is(SessionStatus.FAILED, None, "permanent SSH error: auth_failed"),
    ),
    "delete a failed session": (lambda b: b.release(FAILED), None, lambda nothing: True),
    "create, then delete at once": (
        rent("vastai-102"), None, leased(DELETED, "RTX 4090", 0.302),
    ),
    "delete while provisioning": (lambda b: b.release(DELETED), None, lambda nothing: True),
    "get, after delete": (
        lambda b: b.session(DELETED), None, session_is(SessionStatus.STOPPED, None),
    ),
    "inventory, after failures": (
        offers, None, lambda o: len(o) == 7 and o[4].confidence == 0.6958,
    ),
}  # fmt: skip

NOT_ASKED = {
    "GET /api/v1/inventory/vastai-102",
    "offer not found",
    "diagnostics, not running",
    "diagnostics, running",
    "cost of a session",
    "done",
    "done, again",
    "offer health",
    "benchmarks, empty",
}
"""What the service answers, too, and nobody here asks for."""


@pytest.fixture
async def shopper() -> AsyncIterator[FakeShopper]:
    async with FakeShopper() as server:
        yield server


@pytest.fixture
async def backend(shopper: FakeShopper, tmp_path: Path) -> AsyncIterator[ShopperBackend]:
    made = ShopperBackend(Settings(shopper_url=shopper.url, data_dir=tmp_path), "rec/1")
    yield made
    await made.aclose()


def test_every_recording_has_its_expectation() -> None:
    assert not NOT_ASKED & set(EXPECTED)
    assert NOT_ASKED | set(EXPECTED) == set(RECORDED)


@pytest.mark.parametrize("name", EXPECTED)
async def test_recorded_answer(name: str, shopper: FakeShopper, backend: ShopperBackend) -> None:
    recorded = RECORDED[name]
    response = recorded["response"]
    if "ssh_private_key" in response:
        # The recording says what the key looked like, not the key.
        response = {**response, "ssh_private_key": default_key()}
    body = json.dumps(response).encode()
    shopper.answer_with(Canned(recorded["status"], body, recorded["content_type"]))
    call, error, check = EXPECTED[name]

    if error is None:
        assert check(await call(backend))
    else:
        with pytest.raises(GdlError) as caught:
            await call(backend)
        assert type(caught.value) is error
        assert check(caught.value)
        assert caught.value.hint

    asked = shopper.requests[0]
    assert asked.method == recorded["request"]["method"]
    path = recorded["request"]["path"].partition("?")[0]
    # Both of these carry the costs of a consumer; only the summary is asked for.
    assert asked.path == ("/api/v1/costs/summary" if name == "costs of a consumer" else path)
