"""Whatever a shopper answers: no traceback, no hang, and no machine that nobody knows of."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
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
from shopper_support import FakeShopper, listing

WRONG = ("as it is", "junk field", "no field", "junk body", "status", "cut before", "cut after")
"""Beside them "nameless": the provider of the first offer (0) or session (1) is no text."""
JUNK: list[Any] = [None, [], {}, True, -1, 1e308, 2**70, [[[]]], {"a": {"b": []}}, "\x00\u202e"]
BODIES = [b"", b"null", b"[]", b"{}", b"<html>", b"{" * 3000, b"\xff\xfe", b'{"error": 7}', b"NaN"]
STATUSES = [100, 204, 302, 400, 403, 404, 408, 409, 418, 429, 500, 502, 503, 599]
MEANT = frozenset({"sessions", "consumer_id", "status"})
"""Fields of which another value is no nonsense, but a lie that nobody can see through."""


class SpoiledAnswers(httpx.AsyncBaseTransport):
    """A shopper in this process, whose answers go wrong as planned: one entry for each request."""

    def __init__(self, shopper: FakeShopper, plan: list[tuple[str, int]]) -> None:
        self._plan = iter(plan)
        self._inner = httpx.ASGITransport(shopper.api.app())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        wrong, seed = next(self._plan, ("as it is", 0))
        chance = random.Random(seed)
        if wrong == "cut before":
            raise httpx.ReadError("reset")
        answer = await self._inner.handle_async_request(request)
        text, status = await answer.aread(), answer.status_code
        match wrong:
            case "cut after":
                raise httpx.ReadError("reset")
            case "junk body":
                text = chance.choice([*BODIES, text[: len(text) // 2]])
            case "status":
                # Before anything is done, an error; afterwards, an answer that got lost.
                status = chance.choice(STATUSES)
            case "junk field" | "no field":
                text = _dumped(_spoiled(json.loads(text), chance, wrong == "no field"))
            case "nameless":
                body = json.loads(text)
                body[("offers", "sessions")[seed]][0]["provider"] = {}
                text = _dumped(body)
        return httpx.Response(status, content=text, headers={"content-type": "application/json"})


def _dumped(body: Any) -> bytes:
    return json.dumps(body).encode()


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
    providers = ("vastai", "tensordock", "vastai", "bluelobster")
    shopper = FakeShopper(
        offers=[listing(f"{name}-{n}", price=n / 1000) for n, name in enumerate(providers, 101)]
    )
    flags: Flags = {
        "timeouts": {"http": 1, "rent": 1, "session": 0.4, "release": 0.3},
        "consumer_id": "tester",
    }
    wanted = load(backend="shopper", data_dir=folder, **flags)
    backend = ShopperBackend(wanted, "tester", transport=SpoiledAnswers(shopper, plan))
    async with quick_orchestrator(folder, on=backend, **flags) as orchestrator:
        spec = DeploymentSpec("tinyllama", "shopper", bench=False, after="destroy")
        events = await told(orchestrator, await orchestrator.deployments.deploy(spec))
        end = last(events)
        assert "internal error" not in str(end.error), end.error
        assert end.outcome in ("released", "failed")
        known = {r.session_id for r in await orchestrator._journal.rentals() if r.open}
        in_doubt = any(
            isinstance(r.event, ev.BillingChanged) and r.event.billing is Billing.UNKNOWN
            for r in events
        )
    # Everything that is left has a name in the journal, or at least a doubt among the events.
    if end.billing in (Billing.NONE, Billing.RELEASED):
        assert shopper.billing() == []
    else:
        assert set(shopper.billing()) <= known or in_doubt
    await shopper.aclose()


PLANS = st.lists(st.tuples(st.sampled_from(WRONG), st.integers(0, 9999)), min_size=1, max_size=12)
AT_ANY_SPEED: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
A_REDIRECT = [("as it is", 0), ("as it is", 0), ("status", 1), ("nameless", 1)]
"""It hides that the machine was made, and the list then spoils who its provider is."""

A_NAMELESS_OFFER = [("nameless", 0), ("as it is", 0), ("status", 130)]
"""Nobody is named as its provider, and the answer hides that the machine was made."""


A_REFUSAL = [("as it is", 0), ("as it is", 0), ("status", 3), ("junk field", 375)]
"""A 400 without a word hides that the machine was made, and the list then spoils its provider."""


@settings(max_examples=12, derandomize=True, **AT_ANY_SPEED)
@example(A_REDIRECT)
@example(A_REFUSAL)
@example(A_NAMELESS_OFFER)
@given(PLANS)
def test_no_answer_makes_a_traceback_or_loses_a_machine(plan: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(plan, Path(folder)))


@pytest.mark.long
@pytest.mark.soak
@settings(max_examples=100, **AT_ANY_SPEED)
@given(PLANS)
def test_no_answer_does_so_however_many_are_tried(plan: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(plan, Path(folder)))
