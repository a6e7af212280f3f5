"""What an account has left, what a host asks for, and when the reserved time ends: told before a
rent, and while something is rented."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployment_support import last, of_type, told, until
from failover_support import offers_tried, quick_orchestrator, spec
from gdl.backends.shopper.backend import ShopperBackend
from gdl.bootstrap import open_orchestrator
from gdl.cli import exit_codes
from gdl.domain import events as ev
from gdl.domain.errors import BackendRefused
from gdl.domain.money import Balance, PriceRise
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing
from gdl.orchestrator.leasing import account_watch
from gdl.settings import load
from gdl.simulator.fault_models import PriceRise as Raised
from gdl.simulator.markets import MarketStandIn
from gdl.simulator.scenario import load as load_scenario
from sandbox_support import isolate
from shopper_support import FakeShopper, listing


class Accounted(ShopperBackend):
    """A marketplace that tells its balance and the prices that its hosts ask for."""

    def __init__(self, url: str, folder: Path, credit: float | None) -> None:
        settings = load(shopper_url=url, data_dir=folder, timeouts={"session": 10, "release": 3})
        super().__init__(settings, "tester")
        self.credit = credit
        self.rises_to: float | None = None

    async def balance(self) -> Balance:
        if self.credit is None:
            raise BackendRefused("the balance is not told", "look at the console", status=403)
        return Balance(self.credit)

    async def price_rises(self) -> Sequence[PriceRise]:
        if self.rises_to is None:
            return ()
        sessions = await self.sessions()
        at = datetime(2026, 11, 28, 12, tzinfo=UTC)
        return [PriceRise(s.id, s.price_per_hour, self.rises_to, at) for s in sessions]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_watch, "_LOOK_S", 0.02)
    monkeypatch.setattr("gdl.orchestrator.leasing.balances.HOLDS_S", 0.0)


@pytest.fixture
async def shopper() -> AsyncIterator[FakeShopper]:
    offers = [listing(f"vastai-{100 + n}", price=0.6 * n) for n in (1, 2)]
    async with FakeShopper(offers=offers, ssh=("203.0.113.9", 22, "root")) as fake:
        yield fake


async def deployed(folder: Path, shopper: FakeShopper, credit: float | None) -> list[ev.Recorded]:
    backend = Accounted(shopper.url, folder, credit)
    async with quick_orchestrator(folder, shopper.url, on=backend) as orchestrator:
        return await told(orchestrator, await orchestrator.deployments.deploy(spec()))


def noted(events: list[ev.Recorded]) -> str:
    return "\n".join(e.text for e in of_type(events, ev.Noted))


async def test_nothing_is_rented_that_the_balance_does_not_pay_for(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    end = last(await deployed(tmp_path, shopper, 0.05))
    assert (end.outcome, end.kind, end.attempts) == ("failed", "no_suitable_offer", ())
    assert exit_codes.of_finished(end) == exit_codes.NO_OFFER
    assert end.error == "shopper has $0.050 left, less than 10 minutes cost"
    assert "add credit at shopper" in str(end.hint)
    assert shopper.sessions == {}


async def test_what_the_balance_pays_for_is_rented_and_how_long_that_is_said(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    events = await deployed(tmp_path, shopper, 0.15)
    assert last(events).outcome == "released" and offers_tried(events) == ["vastai-101"]
    (ranked,) = of_type(events, ev.OffersRanked)
    assert "1 x shopper has $0.15 left, less than 10 minutes cost" in ranked.reasons
    assert "shopper has $0.15 left: 15 min at $0.600/h" in noted(events)


@pytest.mark.parametrize("credit", [50.0, None])
async def test_enough_or_untold_is_no_word(
    tmp_path: Path, shopper: FakeShopper, credit: float | None
) -> None:
    events = await deployed(tmp_path, shopper, credit)
    assert last(events).outcome == "released" and "left" not in noted(events)


async def test_a_balance_that_becomes_low_is_told_once(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    backend = Accounted(shopper.url, tmp_path, 50.0)
    async with quick_orchestrator(tmp_path, shopper.url, on=backend) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(after="hold"))
        await until(orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text)
        backend.credit = 0.3
        low = (await until(orchestrator, ident, lambda e: isinstance(e, ev.BalanceLow))).event
        await orchestrator.deployments.cancel(ident)
        events = await told(orchestrator, ident)
    assert isinstance(low, ev.BalanceLow)
    assert (low.backend, low.credit) == ("shopper", 0.3)
    assert low.lasts_s == pytest.approx(1800)
    assert len(of_type(events, ev.BalanceLow)) == 1
    assert "shopper has $0.30 left: 30 min at $0.600/h" in noted(events)


async def test_a_price_rise_is_told_and_never_accepted(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    backend = Accounted(shopper.url, tmp_path, 50.0)
    async with quick_orchestrator(tmp_path, shopper.url, on=backend) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(after="hold"))
        await until(orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text)
        asked = len(shopper.requests)
        backend.rises_to = 0.9
        raised = (await until(orchestrator, ident, lambda e: isinstance(e, ev.PriceRaised))).event
        assert all(request.method == "GET" for request in shopper.requests[asked:])
        await orchestrator.deployments.cancel(ident)
        events = await told(orchestrator, ident)
    assert isinstance(raised, ev.PriceRaised)
    assert (raised.price_per_hour, raised.new_price_per_hour) == (0.6, 0.9)
    assert len(of_type(events, ev.PriceRaised)) == 1
    assert "its host asks for $0.900/h from 28 Nov 12:00 UTC on" in noted(events)


async def test_the_end_of_the_reserved_time_is_announced(
    tmp_path: Path, shopper: FakeShopper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_watch, "_END_S", 3600.0)
    monkeypatch.setattr(account_watch, "_END_SHARE", 1.0)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(after="hold"))
        await until(orchestrator, ident, lambda e: isinstance(e, ev.StopAnnounced))
        await orchestrator.deployments.cancel(ident)
        events = await told(orchestrator, ident)
    (announced,) = of_type(events, ev.StopAnnounced)
    assert announced.ends_at - datetime.now(UTC) < timedelta(hours=1)
    assert "the reserved time ends at" in announced.reason and "gdl-tui extend" in announced.reason
    assert last(events).billing is Billing.RELEASED


class HostsTerm(Accounted):
    """Its listing ends with the host's own term: there are no hours to add to."""

    extend = None  # type: ignore[assignment]  # it has none


async def test_an_end_that_cannot_be_put_off_names_no_command_that_would(
    tmp_path: Path, shopper: FakeShopper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_watch, "_END_S", 3600.0)
    monkeypatch.setattr(account_watch, "_END_SHARE", 1.0)
    backend = HostsTerm(shopper.url, tmp_path, 50.0)
    async with quick_orchestrator(tmp_path, shopper.url, on=backend) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(after="hold"))
        await until(orchestrator, ident, lambda e: isinstance(e, ev.StopAnnounced))
        await orchestrator.deployments.cancel(ident)
        (announced,) = of_type(await told(orchestrator, ident), ev.StopAnnounced)
    assert "its host's own term ends at" in announced.reason
    assert "extend" not in announced.reason and "reserved" not in announced.reason


async def test_a_host_of_vastai_that_raises_its_price_is_told_of_and_nothing_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    calm = load_scenario("calm")
    scenario = calm.model_copy(update={"fault": (Raised(factor=2.0, after=0.1),)})
    async with MarketStandIn("vastai", scenario, root=tmp_path / "market", speed=100.0) as market:
        settings = load(
            backend="vastai",
            data_dir=tmp_path / "data",
            vastai={"url": market.url, "key": market.key},
            timeouts={"install": 30, "start": 30, "session": 30, "http": 5, "release": 40},
        )
        async with open_orchestrator(settings) as orchestrator:
            query = OfferQuery(model="qwen3-0.6b", min_vram_gb=20)
            wanted = spec(query=query, after="hold")
            wanted = replace(wanted, model="qwen3-0.6b", backend="vastai")
            ident = await orchestrator.deployments.deploy(wanted)
            told_of = await until(orchestrator, ident, lambda e: isinstance(e, ev.PriceRaised))
            await orchestrator.deployments.cancel(ident)
            await told(orchestrator, ident)
        assert isinstance(told_of.event, ev.PriceRaised)
        (contract,) = market.contracts.values()
        assert contract.rise is not None and contract.rise.answered == "" and contract.gone
        paths = [
            r.path for r in market.received if "price-increase" in r.path and r.method != "GET"
        ]
        assert paths == []
