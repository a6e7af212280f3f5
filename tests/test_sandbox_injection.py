"""What a test may order of the simulated service while it runs, and see of what it was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from gdl.simulator.fault_models import Misreported, NeverReady
from gdl.simulator.scripted_answers import Canned, Received
from shopper_support import FakeShopper

BODY = {"consumer_id": "me", "workload_type": "ssh", "reservation_hours": 1}
RENT, LIST = "/api/v1/sessions", "/api/v1/inventory"


@pytest.fixture
async def shopper() -> AsyncIterator[FakeShopper]:
    async with FakeShopper() as service:
        yield service


@pytest.fixture
async def client(shopper: FakeShopper) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=shopper.url) as made:
        yield made


async def rent(client: httpx.AsyncClient, offer_id: str = "vastai-101") -> httpx.Response:
    return await client.post(RENT, json={**BODY, "offer_id": offer_id})


async def test_faults_come_in_the_order_in_which_they_were_injected(
    shopper: FakeShopper, client: httpx.AsyncClient
) -> None:
    """Those of requests and those of offers alike."""
    for fault in ("stale", "502", "insufficient_disk"):
        shopper.inject("create", fault)
    offers = ("vastai-101", "vastai-102", "vastai-201", "tensordock-301")
    assert [(await rent(client, offer)).status_code for offer in offers] == [503, 502, 400, 201]
    assert [s.offer.id for s in shopper.sessions.values()] == [
        *("vastai-101", "vastai-201", "tensordock-301")
    ]
    assert shopper.billing() == [shopper.session_of("tensordock-301")]


async def test_a_fault_without_a_number_stays_until_it_is_healed(
    shopper: FakeShopper, client: httpx.AsyncClient
) -> None:
    shopper.inject("inventory", "500", None)
    shopper.inject("create", NeverReady(offers=("vastai-101",), error="SSH is away"), None)
    assert [(await client.get(LIST)).status_code for _ in range(3)] == [500] * 3
    ident = (await rent(client)).json()["session"]["id"]
    row = (await client.get(f"{RENT}/{ident}")).json()
    assert (row["status"], row["error"]) == ("failed", "SSH is away")
    shopper.heal()
    assert (await client.get(LIST)).status_code == 200
    ident = (await rent(client)).json()["session"]["id"]
    assert (await client.get(f"{RENT}/{ident}")).json()["status"] == "running"


async def test_a_session_may_be_told_otherwise_than_it_is(
    shopper: FakeShopper, client: httpx.AsyncClient
) -> None:
    shopper.inject("create", Misreported(fields={"price_per_hour": 9.0}))
    told = [(await rent(client, f"vastai-{n}")).json()["session"] for n in (101, 102)]
    assert [row["price_per_hour"] for row in told] == [9.0, 0.302]


async def test_an_answer_can_be_fixed_for_one_operation_or_all(
    shopper: FakeShopper, client: httpx.AsyncClient
) -> None:
    shopper.answer_with(
        Canned(418, b"teapot", "text/plain", (("Retry-After", "3"),), on="inventory")
    )
    answer = await client.get(LIST)
    assert (answer.status_code, answer.text, answer.headers["retry-after"]) == (418, "teapot", "3")
    assert (await client.get("/health")).status_code == 200
    shopper.answer_with(Canned(204, b""))
    assert (await client.get("/health")).status_code == 204


@pytest.mark.parametrize("fault", ["drop", "short"])
async def test_a_connection_can_be_cut(
    shopper: FakeShopper, client: httpx.AsyncClient, fault: str
) -> None:
    shopper.inject("inventory", fault)
    with pytest.raises(httpx.TransportError):
        await client.get(LIST)
    assert (await client.get(LIST)).status_code == 200


async def test_what_was_asked_is_kept(shopper: FakeShopper, client: httpx.AsyncClient) -> None:
    shopper.inject("inventory", "502")
    await client.get(LIST, params={"limit": "2"})
    await client.post(RENT, content=b"no JSON")
    assert shopper.requests == [
        Received("GET", LIST, {"limit": "2"}, None),
        Received("POST", RENT, {}, None),
    ]
