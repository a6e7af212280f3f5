"""The simulated service answers each recorded request as the real one did."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from gdl.simulator import scenario as scenarios
from gdl.simulator.service import Service
from waiting import wait_until

RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data/shopper/recorded.json").read_text()
)
BY_POLLING = {
    "get, running": ("status", "running"),
    "get, failed: SSH verification timed out": ("status", "failed"),
}
"""Recorded once the state had come; here it is waited for."""
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with Service(scenarios.load("recorded"), root=tmp_path / "sandbox", speed=20) as made:
        yield made


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, timeout=20) as made:
        yield made


def same_shape(recorded: Any, answered: Any, where: str) -> None:
    """The same fields and types all the way down; texts that carry no id or time are the same."""
    if isinstance(recorded, dict):
        assert isinstance(answered, dict), where
        assert set(answered) == set(recorded), where
        for name, value in recorded.items():
            same_shape(value, answered[name], f"{where}.{name}")
    elif isinstance(recorded, list):
        assert isinstance(answered, list), where
        assert len(answered) == len(recorded), where
        for number, (one, other) in enumerate(zip(recorded, answered, strict=True)):
            same_shape(one, other, f"{where}[{number}]")
    elif isinstance(recorded, bool) or recorded is None:
        assert answered is recorded, where
    elif isinstance(recorded, int | float):
        # As JSON numbers: 0 may stand for 0.0, but a count is never a fraction.
        assert isinstance(answered, int | float) and not isinstance(answered, bool), where
        if isinstance(recorded, int):
            assert answered == int(answered), where
    else:
        assert isinstance(answered, str), where
        same_text(recorded, answered, where)


def same_text(recorded: str, answered: str, where: str) -> None:
    name = where.rsplit(".", 1)[-1]
    if name == "request_id":
        assert UUID.fullmatch(answered), where
    elif TIME.fullmatch(recorded):
        assert TIME.fullmatch(answered), where
    elif name == "ssh_private_key":
        assert answered.startswith("-----BEGIN RSA PRIVATE KEY-----\n"), where
        assert abs(len(answered) - 3243) <= 20, where
    elif name == "ssh_host":
        assert answered.startswith("127."), where
    else:
        assert answered == recorded, where


async def ask(client: httpx.AsyncClient, request: dict[str, Any]) -> httpx.Response:
    return await client.request(request["method"], request["path"], json=request["body"])


async def answer_with(
    client: httpx.AsyncClient, record: dict[str, Any], field: str, value: object
) -> httpx.Response | None:
    """The answer, once it says so."""
    response = await ask(client, record["request"])
    return response if response.json().get(field) == value else None


async def test_the_recorded_requests_in_their_order(client: httpx.AsyncClient) -> None:
    for record in RECORDED:
        name = record["name"]
        response: httpx.Response | None = await ask(client, record["request"])
        if name in BY_POLLING:
            field, value = BY_POLLING[name]
            response = await wait_until(partial(answer_with, client, record, field, value))
        assert response is not None
        assert response.status_code == record["status"], (name, response.text)
        assert response.headers["content-type"] == record["content_type"], name
        same_shape(record["response"], response.json(), name)


async def test_the_costs_of_a_failed_create_are_an_hour(client: httpx.AsyncClient) -> None:
    body = {"consumer_id": "me", "workload_type": "ssh", "reservation_hours": 1}
    await client.post("/api/v1/sessions", json={**body, "offer_id": "vastai-202"})
    await client.post("/api/v1/sessions", json={**body, "offer_id": "vastai-101"})
    costs = (await client.get("/api/v1/costs?consumer_id=me")).json()
    assert (costs["total_cost"], costs["session_count"], costs["hours_used"]) == (0.101, 1, 1)


async def test_request_ids_and_unknown_routes(client: httpx.AsyncClient) -> None:
    mine = await client.get("/health", headers={"X-Request-ID": "me-1.2_3"})
    assert mine.headers["X-Request-ID"] == "me-1.2_3"
    odd = await client.get("/api/v1/inventory/no", headers={"X-Request-ID": "a b"})
    assert UUID.fullmatch(odd.headers["X-Request-ID"])
    assert odd.json()["request_id"] == odd.headers["X-Request-ID"]
    unknown = await client.get("/api/v2/nothing")
    assert (unknown.status_code, unknown.text) == (404, "404 page not found")
    wrong = await client.put("/api/v1/sessions")
    assert wrong.status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "invalid request body"),
        (b"[1]", 400, "invalid request body"),
        (b"x" * (2**20 + 1), 413, "too large"),
    ],
    ids=["cut off", "a list", "too big"],
)
async def test_bodies_that_cannot_be(
    client: httpx.AsyncClient, body: bytes, status: int, words: str
) -> None:
    answer = await client.post("/api/v1/sessions", content=body)
    assert answer.status_code == status and words in answer.json()["error"]


async def test_a_narrow_question_poisons_the_next_wide_one(tmp_path: Path) -> None:
    async with (
        Service(scenarios.load("calm"), root=tmp_path, speed=1) as service,
        httpx.AsyncClient(base_url=service.url) as client,
    ):
        narrow = (await client.get("/api/v1/inventory?max_price=0.06")).json()
        wide = (await client.get("/api/v1/inventory")).json()
        assert narrow["offers"] == wide["offers"] and wide["total"] == 2
        other = (await client.get("/api/v1/inventory?provider=vastai")).json()
        assert other["total"] > 40


async def test_three_failures_hide_an_offer(tmp_path: Path) -> None:
    async with (
        Service(scenarios.load("recorded"), root=tmp_path, speed=100) as service,
        httpx.AsyncClient(base_url=service.url) as client,
    ):
        body = {"workload_type": "ssh", "reservation_hours": 1, "offer_id": "vastai-202"}
        for number in range(3):
            answer = await client.post(
                "/api/v1/sessions", json={**body, "consumer_id": f"c{number}"}
            )
            assert answer.status_code == 503
        health = (await client.get("/api/v1/offer-health")).json()["offers"][0]
        assert health["is_suppressed"] and TIME.fullmatch(health["suppressed_until"])
        listed = (await client.get("/api/v1/inventory")).json()["offers"]
        assert "vastai-202" not in [o["id"] for o in listed]


async def test_benchmarks_and_templates(client: httpx.AsyncClient) -> None:
    report = {
        "model": {"name": "tiny"},
        "hardware": {"gpu_name": "RTX 3090"},
        "price_per_hour": 0.2,
        "results": {"avg_tokens_per_second": 100.0},
    }
    made = await client.post("/api/v1/benchmarks", json=report)
    assert made.status_code == 201
    cost = made.json()["cost_analysis"]["cost_per_million_tokens"]
    assert cost == pytest.approx(0.2 / 360_000 * 1e6)
    assert (await client.get("/api/v1/benchmarks?model=tiny")).json()["count"] == 1
    assert (await client.get("/api/v1/benchmarks/cheapest?model=tiny")).status_code == 200
    assert (await client.get("/api/v1/benchmarks/best?model=none")).status_code == 404
    templates = (await client.get("/api/v1/templates")).json()
    first = templates["templates"][0]["hash_id"]
    assert (await client.get(f"/api/v1/templates/{first}")).json()["hash_id"] == first


async def test_a_client_that_leaves_cancels_the_work(tmp_path: Path) -> None:
    async with (
        Service(scenarios.load("calm"), root=tmp_path, speed=1) as service,
        httpx.AsyncClient(base_url=service.url, timeout=20) as client,
    ):
        market = service.market
        body = {"workload_type": "ssh", "reservation_hours": 1, "consumer_id": "me"}
        body |= {"offer_id": service.listed[0].id}
        creating = asyncio.create_task(client.post("/api/v1/sessions", json=body))
        await wait_until(lambda: [s.status for s in market.sessions.values()] == ["provisioning"])
        await left(creating)

        async def failed() -> bool:
            rows = (await client.get("/api/v1/sessions")).json()["sessions"]
            return [row["status"] for row in rows] == ["failed"]

        await wait_until(failed)
        assert market.rented() == []
        made = await client.post("/api/v1/sessions", json=body)
        ident = made.json()["session"]["id"]
        ending = asyncio.create_task(client.delete(f"/api/v1/sessions/{ident}"))
        await wait_until(lambda: market.sessions[ident].status == "stopping")
        await left(ending)
        await wait_until(lambda: not market.sessions[ident].destroying.locked())
        row = (await client.get(f"/api/v1/sessions/{ident}")).json()
        assert row["status"] == "stopping" and market.rented() == [ident]
        # An end that was cut off is not taken up again.
        assert (await client.delete(f"/api/v1/sessions/{ident}")).status_code == 200
        row = (await client.get(f"/api/v1/sessions/{ident}")).json()
        assert row["status"] == "stopping" and market.rented() == [ident]


async def left(asking: asyncio.Task[httpx.Response]) -> None:
    """Who asked closes the connection before there is an answer."""
    assert not asking.done()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
