"""The simulated service's word about an end, which can be wrong in the real one's ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gdl.simulator.fault_models import (
    DestroyFails,
    NeverReady,
    OfferFault,
    Refused,
    SlowCreate,
)
from gdl.simulator.machines import HostElsewhere
from gdl.simulator.market import Market
from gdl.simulator.scenario import Scenario
from gdl.simulator.service import Service
from gdl.simulator.timing import Timing
from gdl.simulator.wire_format import Json, Refusal
from shopper_support import default_key, listing
from virtual_time import dates_by_the_loop, in_virtual_time

OFFER = "vastai-101"
BODY: Json = {
    "consumer_id": "me",
    "offer_id": OFFER,
    "workload_type": "ssh",
    "reservation_hours": 1,
}
QUICK = {
    "create": 0.0,
    "address": 0.0,
    "boot": 0.0,
    "verification": 0.02,
    "failed": 0.05,
    "destroy": 0.0,
    "destroy_tries": 0.1,
    "check": 0.01,
    "stuck": 100.0,
}


@pytest.fixture(autouse=True)
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("market", "endings", "rented_session")
    dates_by_the_loop(monkeypatch, *(f"gdl.simulator.{name}" for name in names))


def market(*faults: OfferFault, **timing: float) -> Market:
    host = HostElsewhere("203.0.113.9", 22, "root", default_key())
    scenario = Scenario(name="t", title="t", timing=Timing(**{**QUICK, **timing}), fault=faults)
    return Service(scenario, host=host, listed=[listing(OFFER)]).market


async def created(market: Market) -> str:
    return str((await market.create(BODY))["session"]["id"])


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


async def running(market: Market) -> str:
    ident = await created(market)
    await until(lambda: market.show(ident)["status"] == "running")
    return ident


@in_virtual_time
async def test_an_end_blocks_and_is_refused_while_the_marketplace_refuses() -> None:
    made = market(DestroyFails(), destroy_tries=0.2)
    ident = await running(made)
    began = asyncio.get_running_loop().time()
    with pytest.raises(Refusal, match="failed to verify destruction"):
        await made.destroy(ident)
    assert asyncio.get_running_loop().time() - began == pytest.approx(0.2)
    assert made.show(ident)["status"] == "stopping" and made.rented() == [ident]
    # Asked again it does nothing, and says that all is well.
    await made.destroy(ident)
    assert made.show(ident)["status"] == "stopping" and made.rented() == [ident]
    await made.aclose()


@in_virtual_time
async def test_an_old_session_fails_in_the_middle_of_its_end_and_is_then_forgotten() -> None:
    made = market(DestroyFails(), stuck=0.0, failed=10.0, destroy_tries=0.3)
    ident = await running(made)
    ending = asyncio.create_task(made.destroy(ident))
    await until(lambda: made.show(ident)["status"] == "failed")
    assert not ending.done() and "manual cleanup" in made.show(ident)["error"]
    with pytest.raises(Refusal):
        await ending
    await made.destroy(ident)
    assert made.show(ident)["status"] == "stopped"
    assert "manual cleanup" in made.show(ident)["error"] and made.rented() == [ident]
    await made.aclose()


@in_virtual_time
async def test_an_end_that_goes_through_leaves_no_error_of_a_check() -> None:
    made = market(DestroyFails(times=2), stuck=0.0, failed=10.0)
    ident = await running(made)
    await made.destroy(ident)
    assert (made.show(ident)["status"], made.show(ident).get("error")) == ("stopped", None)
    assert made.rented() == []
    await made.aclose()


@pytest.mark.parametrize("asked", [True, False])
@in_virtual_time
async def test_a_session_that_failed_is_over_whether_its_machine_is_gone_or_not(
    asked: bool,
) -> None:
    made = market(NeverReady(after=0.02), DestroyFails(), failed=10.0 if asked else 0.05)
    ident = await created(made)
    await until(lambda: made.show(ident)["status"] == "failed")
    if asked:
        await made.destroy(ident)
    await until(lambda: made.show(ident)["status"] == "stopped")
    assert made.show(ident)["error"] == "SSH verification timeout" and made.rented() == [ident]
    await made.aclose()


@in_virtual_time
async def test_a_machine_appears_after_its_session_was_ended() -> None:
    made = market(SlowCreate(after=0.1))
    creating = asyncio.create_task(made.create(BODY))
    await until(lambda: bool(made.sessions) and next(iter(made.sessions.values())).status != "")
    await until(lambda: next(iter(made.sessions.values())).status == "provisioning")
    ident = next(iter(made.sessions))
    assert "ssh_host" not in made.show(ident)
    await made.destroy(ident)
    assert made.show(ident)["status"] == "stopped" and made.rented() == []
    with pytest.raises(Refusal):
        await creating
    assert made.rented() == [ident]
    await made.aclose()


@in_virtual_time
async def test_a_slow_request_that_is_cut_off_leads_to_a_machine_all_the_same() -> None:
    made = market(SlowCreate(after=0.1))
    creating = asyncio.create_task(made.create(BODY))
    await until(lambda: bool(made.sessions))
    await asyncio.sleep(0.02)
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)
    ident = next(iter(made.sessions))
    await until(lambda: made.rented() == [ident])
    assert made.show(ident)["status"] == "provisioning" and "ssh_host" not in made.show(ident)
    await made.destroy(ident)
    assert made.show(ident)["status"] == "stopped" and made.rented() == [ident]
    await made.aclose()


@in_virtual_time
async def test_a_session_whose_request_was_cut_off_fails_when_it_is_old() -> None:
    made = market(SlowCreate(after=0.1), stuck=0.2, failed=0.01)
    creating = asyncio.create_task(made.create(BODY))
    await until(lambda: bool(made.sessions))
    await asyncio.sleep(0.02)
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)
    ident = next(iter(made.sessions))
    await until(lambda: made.show(ident)["status"] == "stopped")
    assert "stuck in provisioning" in made.show(ident)["error"] and made.rented() == [ident]
    await made.aclose()


@in_virtual_time
async def test_a_machine_that_was_made_is_not_told_and_a_sweep_finds_it() -> None:
    made = market(Refused(error="vastai CreateInstance failed (HTTP 500)", made=True), sweep=0.1)
    with pytest.raises(Refusal):
        await made.create(BODY)
    (ident,) = made.rented()
    assert made.show(ident)["status"] == "failed"
    await until(lambda: made.rented() == [])
    await made.aclose()
