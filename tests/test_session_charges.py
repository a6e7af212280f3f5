"""What the market charged beside what was expected, and how the next estimate learns of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployment_support import deployed, last
from failover_support import journal_of, quick_orchestrator, spec
from gdl.backends.shopper.backend import ShopperBackend
from gdl.cli.narrator import Narrator
from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState, apply
from gdl.domain.errors import BackendUnreachable
from gdl.domain.money import Charge
from gdl.domain.offers import Offer, OfferQuery, OfferTerms
from gdl.domain.session_charges import SessionCharges, complete, learnt, with_charges
from gdl.journal import session_charges
from gdl.presentation.session_price import learnt as learnt_words
from gdl.settings import load
from market_support import OFFERS
from shopper_support import FakeShopper

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
ENDED = SessionCharges(
    "market", "s-1", "vast", "host-7", NOON, NOON + timedelta(hours=2), 0.50, 0.62
)


@pytest.fixture
async def shopper() -> AsyncIterator[FakeShopper]:
    async with FakeShopper(offers=OFFERS, ssh=("203.0.113.9", 22, "root")) as fake:
        yield fake


def charge(amount: float, kind: str, *, until: datetime = ENDED.released_at) -> Charge:
    return Charge("s-1", amount, NOON, until, kind)


def test_charges_are_all_once_they_reach_to_the_end() -> None:
    now = ENDED.released_at + timedelta(minutes=5)
    first_hour = charge(0.25, "gpu", until=NOON + timedelta(hours=1))
    assert not complete(ENDED, [first_hour], now)
    rows = [first_hour, charge(0.24, "gpu"), charge(0.02, "disk"), charge(0.93, "traffic")]
    assert complete(ENDED, rows, now)
    known = with_charges(ENDED, rows)
    assert known.charged_rent == pytest.approx(0.51)
    assert known.charged_traffic == pytest.approx(0.93)
    # A day that is not over may cost more yet; two days later nothing more will come.
    open_day = charge(0.30, "gpu", until=now + timedelta(hours=9))
    assert not complete(ENDED, [open_day], now)
    assert complete(ENDED, [open_day], now + timedelta(days=2))
    assert with_charges(ENDED, [open_day]).charged == 0.30, "so far"
    others = replace(charge(9.0, "gpu"), session_id="s-2")
    assert with_charges(ENDED, [others]).charged is None
    assert not complete(ENDED, [others], now + timedelta(days=2))


def test_charges_without_a_kind_are_shared_out_as_expected() -> None:
    known = with_charges(ENDED, [charge(2.24, "other")])
    assert known.charged_rent == pytest.approx(1.0)
    assert known.charged_traffic == pytest.approx(1.24)


def test_few_sessions_say_little() -> None:
    twice = replace(ENDED, charged_rent=0.50, charged_traffic=1.24)
    one = learnt([twice])
    assert one["vast"].traffic == pytest.approx(1.5) and one["vast"].rent == pytest.approx(1.0)
    assert one["host-7"].traffic == pytest.approx(1.75)
    many = learnt([replace(twice, session_id=f"s-{n}") for n in range(9)])
    assert many["vast"].traffic == pytest.approx(1.9) and many["vast"].sessions == 9
    absurd = learnt([replace(ENDED, charged_rent=500.0, charged_traffic=0.62)])
    assert absurd["vast"].rent == pytest.approx(2.5)
    assert learnt([ENDED]) == {}


class ChargingMarket(ShopperBackend):
    """The shopper's market, had it told its terms and what it charged: for traffic twice as much
    as listed."""

    away = False
    asked = 0
    until = timedelta()
    """How far from now charges reach."""

    async def offers(self, query: OfferQuery) -> Sequence[Offer]:
        terms = OfferTerms(0.1, 0.0002, 0.0, 500, 0.02, 0.02, 800)
        listed = await super().offers(query)
        return [
            replace(o, terms=replace(terms, gpu_per_hour=o.price_per_hour), host_id="host-7")
            for o in listed
        ]

    async def charges(self, since: datetime) -> Sequence[Charge]:
        self.asked += 1
        if self.away:
            raise BackendUnreachable("nothing answers", "try again")
        now, found = datetime.now(UTC) + self.until, []
        for session in await self.sessions():
            found.append(Charge(session.id, 0.0001, since, now, "gpu"))
            found.append(Charge(session.id, 10.2 * 0.04, since, now, "traffic"))
        return found


def market(tmp_path: Path, shopper: FakeShopper) -> ChargingMarket:
    settings = load(backend="shopper", shopper_url=shopper.url, data_dir=tmp_path)
    return ChargingMarket(settings, "tester")


async def price(backend: ChargingMarket, data: Path) -> tuple[float, str]:
    async with quick_orchestrator(data, on=backend) as orchestrator:
        first = (await orchestrator.market.offers(OfferQuery(model="tinyllama")))[0]
        whole = first.session()
        assert whole is not None and first.excluded is None
        return whole.traffic, learnt_words(whole)


async def test_what_was_charged_is_told_and_learnt(tmp_path: Path, shopper: FakeShopper) -> None:
    before, words = await price(market(tmp_path, shopper), tmp_path)
    assert before == pytest.approx(10.2 * 0.02, rel=0.02) and words == ""
    async with quick_orchestrator(tmp_path, on=market(tmp_path, shopper)) as orchestrator:
        events = await deployed(orchestrator, spec(after="destroy"))
    told = next(r.event for r in events if isinstance(r.event, ev.SessionCharged))
    assert told.expected == pytest.approx(before, abs=0.01)
    assert told.charged == pytest.approx(10.2 * 0.04, abs=0.001)
    attempt = last(events).attempts[0]
    assert attempt.charged == told.charged
    assert attempt.cost == pytest.approx(before, abs=0.01)
    said = narrated(events)
    assert "the session: about $0." in said and "download of 10 GB at $0.02/GB" in said
    assert "the market charged $0.41 for session" in said and "CHARGED" in said
    after, words = await price(market(tmp_path, shopper), tmp_path)
    assert after == pytest.approx(1.75 * before, rel=0.01)
    assert words.endswith("more than listed, based on what 1 session of this host cost")


async def test_charges_that_come_late_are_learnt_later(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    away = market(tmp_path, shopper)
    away.away = True
    async with quick_orchestrator(tmp_path, on=away) as orchestrator:
        events = await deployed(orchestrator, spec(after="destroy"))
    assert last(events).outcome == "released" and last(events).attempts[0].charged is None
    async with journal_of(tmp_path) as journal:
        (row,) = await session_charges.latest(journal, "shopper")
        assert row.charged is None and row.host == "host-7"
    before, _ = await price(market(tmp_path, shopper), tmp_path)
    after, words = await price(market(tmp_path, shopper), tmp_path)
    assert "host" in words and after >= before


async def test_what_is_charged_by_the_day_is_told_so_far_and_learnt_when_it_is_over(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    daily = market(tmp_path, shopper)
    daily.until = timedelta(hours=20)
    async with quick_orchestrator(tmp_path, on=daily) as orchestrator:
        events = await deployed(orchestrator, spec(after="destroy"))
    told = next(r.event for r in events if isinstance(r.event, ev.SessionCharged))
    assert not told.final and "the market charged $0.41 so far for session" in narrated(events)
    async with journal_of(tmp_path) as journal:
        (row,) = await session_charges.latest(journal, "shopper")
        assert row.charged is None


async def test_an_attempt_that_never_served_teaches_nothing(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    backend = market(tmp_path, shopper)
    async with quick_orchestrator(tmp_path, on=backend, fate=lambda _: "ssh") as orchestrator:
        await deployed(orchestrator, spec(after="destroy", max_attempts=1))
    assert backend.asked == 0
    async with journal_of(tmp_path) as journal:
        assert await session_charges.latest(journal, "shopper") == []


def narrated(events: list[ev.Recorded]) -> str:
    narrator, state = Narrator(), DeploymentState(events[0].deployment_id)
    lines: list[str] = []
    for recorded in events:
        state = apply(state, recorded)
        lines += narrator.lines(recorded, state)
    return "\n".join(lines)
