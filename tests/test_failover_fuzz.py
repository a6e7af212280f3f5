"""Whatever a shopper answers: no traceback, no hang, and no machine that nobody knows of."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deployment_support import last, told
from failover_support import Flags, quick_orchestrator
from gdl.backends.shopper.backend import ShopperBackend
from gdl.domain import events as ev
from gdl.domain.phase import Billing
from gdl.domain.spec import DeploymentSpec
from gdl.settings import load
from shopper_server import default_key, make_offer, rfc3339

WRONG = ("as it is", "junk field", "no field", "junk body", "status", "cut before", "cut after")
JUNK: list[Any] = [None, [], {}, True, -1, 1e308, 2**70, [[[]]], {"a": {"b": []}}, "\x00\u202e"]
BODIES = [b"", b"null", b"[]", b"{}", b"<html>", b"{" * 3000, b"\xff\xfe", b'{"error": 7}', b"NaN"]
STATUSES = [100, 204, 302, 400, 403, 404, 408, 409, 418, 429, 500, 502, 503, 599]
MEANT = frozenset({"sessions", "consumer_id", "status"})
"""Fields of which another value is no nonsense, but a lie that nobody can see through."""


class Market(httpx.AsyncBaseTransport):
    """A shopper in memory, whose answers go wrong as planned: one entry for each request."""

    def __init__(self, plan: list[tuple[str, int]]) -> None:
        self._plan = iter(plan)
        self.offers = [
            make_offer(f"{provider}-{n}", price_per_hour=n / 1000)
            for n, provider in enumerate(("vastai", "tensordock", "vastai", "bluelobster"), 101)
        ]
        self.sessions: dict[str, dict[str, Any]] = {}
        self.offer_of: dict[str, str] = {}

    def rented(self) -> list[str]:
        return [i for i, s in self.sessions.items() if s["status"] != "stopped"]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        wrong, seed = next(self._plan, ("as it is", 0))
        chance = random.Random(seed)
        if wrong == "cut before":
            raise httpx.ReadError("reset")
        status, body = self._answer(request)
        text = json.dumps(body).encode()
        match wrong:
            case "cut after":
                raise httpx.ReadError("reset")
            case "junk body":
                text = chance.choice([*BODIES, text[: len(text) // 2]])
            case "status":
                # Before anything is done, an error; afterwards, an answer that got lost.
                status = chance.choice(STATUSES)
            case "junk field" | "no field":
                spoiled = _spoiled(body, chance, wrong == "no field")
                text = json.dumps(spoiled).encode()
        return httpx.Response(status, content=text, headers={"content-type": "application/json"})

    def _answer(self, request: httpx.Request) -> tuple[int, dict[str, Any]]:
        words = request.url.path.strip("/").split("/")[2:]
        match request.method, words:
            case "GET", ["inventory"]:
                return 200, {"offers": self.offers, "count": len(self.offers)}
            case "POST", ["sessions"]:
                return self._create(json.loads(request.content))
            case "GET", ["sessions"]:
                return 200, {"sessions": list(self.sessions.values()), "count": 1}
            case "GET", ["sessions", ident] if ident in self.sessions:
                return 200, self.sessions[ident]
            case "DELETE", ["sessions", ident] if ident in self.sessions:
                self.sessions[ident]["status"] = "stopped"
                return 200, {"message": "session destroyed", "session_id": ident}
        return 404, {"error": "record not found"}

    def _create(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        for ident in self.rented():
            if self.offer_of[ident] == body["offer_id"]:
                error = f"consumer {body['consumer_id']} already has active session {ident}"
                return 409, {"error": f"{error} for offer {body['offer_id']} (status: running)"}
        offer = next(o for o in self.offers if o["id"] == body["offer_id"])
        session = {
            "id": str(uuid.uuid4()),
            "consumer_id": body["consumer_id"],
            "provider": offer["provider"],
            "gpu_type": offer["gpu_type"],
            "gpu_count": offer["gpu_count"],
            "status": "running",
            "ssh_host": "203.0.113.9",
            "ssh_port": 22,
            "ssh_user": "root",
            "price_per_hour": offer["price_per_hour"],
            "created_at": rfc3339(datetime.now(UTC)),
        }
        self.sessions[session["id"]] = session
        self.offer_of[session["id"]] = offer["id"]
        return 201, {"session": session, "ssh_private_key": default_key()}


def _spoiled(body: Any, chance: random.Random, missing: bool) -> Any:
    """A copy with one value somewhere replaced by nonsense, or missing."""
    body = json.loads(json.dumps(body))
    places = [p for p in _places(body) if not (isinstance(p[1], str) and p[1] in MEANT)]
    if not places:
        return body
    inside, key = chance.choice(places)
    if missing and isinstance(inside, dict):
        del inside[key]
    else:
        inside[key] = chance.choice(JUNK)
    return body


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    found = [(value, key) for key in keys]
    for key in keys:
        if isinstance(value[key], dict | list):
            found += _places(value[key])
    return found


async def play(plan: list[tuple[str, int]], folder: Path) -> None:
    market = Market(plan)
    flags: Flags = {
        "timeouts": {"http": 1, "rent": 1, "session": 0.4, "release": 0.3},
        "consumer_id": "tester",
    }
    wanted = load(backend="shopper", data_dir=folder, **flags)
    backend = ShopperBackend(wanted, "tester", transport=market)
    async with quick_orchestrator(folder, on=backend, **flags) as house:
        spec = DeploymentSpec("tinyllama", "shopper", bench=False, after="destroy")
        story = await told(house, await house.deploy(spec))
        end = last(story)
        assert "internal error" not in str(end.error), end.error
        assert end.outcome in ("released", "failed")
        known = {r.session_id for r in await house._journal.rentals() if r.open}
        in_doubt = any(
            isinstance(r.event, ev.BillingChanged) and r.event.billing is Billing.UNKNOWN
            for r in story
        )
    # Everything that is left has a name in the journal, or at least a doubt in the story.
    if end.billing in (Billing.NONE, Billing.RELEASED):
        assert market.rented() == []
    else:
        assert set(market.rented()) <= known or in_doubt


PLANS = st.lists(st.tuples(st.sampled_from(WRONG), st.integers(0, 9999)), min_size=1, max_size=12)
AT_ANY_SPEED: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
A_REDIRECT = [("as it is", 0), ("as it is", 0), ("status", 1), ("junk field", 2720)]
"""It hides that the machine was made, and the list then spoils who its provider is."""

A_NAMELESS_OFFER = [("junk field", 3813), ("as it is", 0), ("status", 130)]
"""Nobody is named as its provider, and the answer hides that the machine was made."""


@settings(max_examples=12, derandomize=True, **AT_ANY_SPEED)
@example(A_REDIRECT)
@example(A_NAMELESS_OFFER)
@given(PLANS)
def test_no_answer_makes_a_traceback_or_loses_a_machine(plan: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(plan, Path(folder)))


@pytest.mark.long
@settings(max_examples=200, **AT_ANY_SPEED)
@given(PLANS)
def test_no_answer_does_so_however_many_are_tried(plan: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(plan, Path(folder)))
