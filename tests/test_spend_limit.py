"""What a deployment may cost: before each rent, while it runs, and for whoever goes on with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployment_support import last, of_type, told, until
from failover_support import fates, offers_tried, quick_orchestrator, spec
from gdl.cli import exit_codes
from gdl.domain import events as ev
from gdl.domain.decisions import AfterServing
from gdl.domain.ledger import LedgerEntry, LedgerKind
from gdl.domain.phase import Billing
from gdl.journal import ledger
from gdl.journal.store import Journal
from gdl.orchestrator.leasing import spending, spending_caps
from shopper_support import FakeShopper, listing

A_CENT_A_SECOND = 36.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds for the minutes of a real deployment."""
    monkeypatch.setattr(spending, "_LOOK_S", 0.02)
    monkeypatch.setattr(spending, "LEAST_MINUTES", 0.01)


@pytest.fixture
async def shopper() -> AsyncIterator[FakeShopper]:
    offers = [listing(f"vastai-{n}", price=A_CENT_A_SECOND) for n in range(101, 104)]
    async with FakeShopper(offers=offers, ssh=("203.0.113.9", 22, "root")) as fake:
        yield fake


def words_of(events: list[ev.Recorded]) -> list[str]:
    return [e.text for e in of_type(events, ev.Noted)]


async def test_serving_ends_when_the_limit_is_reached_and_says_so(
    tmp_path: Path, shopper: FakeShopper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spending, "ANNOUNCED_S", 0.4)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        events = await told(
            orchestrator, await orchestrator.deployments.deploy(spec(after="hold", max_spend=0.025))
        )
    end = last(events)
    assert (end.outcome, end.billing, end.kind) == ("released", Billing.RELEASED, "spend_limit")
    assert exit_codes.of_finished(end) == exit_codes.SPEND_LIMIT
    assert "the spending limit is reached: $0.02" in str(end.error) and "--max-spend" in str(
        end.hint
    )
    assert end.attempts[-1].ended == "released" and "spending limit" in end.attempts[-1].reason
    announced = [text for text in words_of(events) if "the machine is released at" in text]
    assert len(announced) == 2
    assert shopper.billing() == []
    assert 0.025 <= end.attempts[-1].cost < 0.06


async def test_a_request_made_again_after_one_that_was_destroyed_is_limited_too(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", "insufficient_disk")
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(after="hold", max_spend=0.03))
        async with asyncio.timeout(20):
            end = last(await told(orchestrator, ident))
    assert (end.outcome, end.kind, len(end.attempts)) == ("released", "spend_limit", 1)
    assert shopper.billing() == []


async def test_it_ends_in_any_phase(tmp_path: Path, shopper: FakeShopper) -> None:
    async with quick_orchestrator(tmp_path, shopper.url, pause=5) as orchestrator:
        events = await told(
            orchestrator, await orchestrator.deployments.deploy(spec(max_spend=0.01))
        )
    end = last(events)
    assert (end.outcome, end.kind) == ("released", "spend_limit")
    assert shopper.billing() == []


async def test_all_attempts_count_and_no_machine_is_rented_for_what_is_left(
    tmp_path: Path, shopper: FakeShopper, monkeypatch: pytest.MonkeyPatch
) -> None:
    fate = fates(shopper, {"vastai-101": "crash"})
    async with quick_orchestrator(tmp_path, shopper.url, fate=fate, pause=0.1) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(max_spend=0.1))
        await until(orchestrator, ident, lambda e: isinstance(e, ev.SessionRented))
        monkeypatch.setattr(spending, "LEAST_MINUTES", 0.165)
        events = await told(orchestrator, ident)
    end = last(events)
    assert offers_tried(events) == ["vastai-101"]
    assert (end.outcome, end.kind, end.billing) == ("failed", "spend_limit", Billing.RELEASED)
    assert exit_codes.of_finished(end) == exit_codes.SPEND_LIMIT
    assert "minutes of vastai-102" in str(end.error)


async def test_whoever_goes_on_with_the_machine_goes_on_with_the_limit(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    fate = fates(shopper, {"vastai-101": "crash"})
    async with quick_orchestrator(tmp_path, shopper.url, fate=fate, pause=0.1) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(after="keep", max_spend=1.0))
        end = last(await told(orchestrator, ident))
    assert end.outcome == "serving" and len(end.attempts) == 2
    journal = await Journal.open(tmp_path / "journal.sqlite")
    rental = next(r for r in await journal.rentals() if r.session_id == end.session_id)
    limits = await spending.carried_over(journal, rental, datetime.now(UTC))
    await journal.aclose()
    assert limits["max_spend"] == 1.0
    assert limits["spent_before"] == pytest.approx(end.attempts[0].cost, abs=1e-4)


async def test_without_a_limit_nothing_ends(tmp_path: Path, shopper: FakeShopper) -> None:
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(after="hold"))
        await until(orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text)
        await asyncio.sleep(0.5)
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        assert last(await told(orchestrator, ident)).error is None


async def spend(folder: Path, dollars: float, *, backend: str = "shopper") -> None:
    """As if another process had rented a machine a second ago, at so many dollars a second, and
    had released it just now."""
    journal = await Journal.open(folder / "journal.sqlite")
    now = datetime.now(UTC)
    for seconds, kind in ((1, LedgerKind.RENTED), (0, LedgerKind.RELEASED)):
        at = now - timedelta(seconds=seconds)
        entry = LedgerEntry(
            at, kind, backend, "other", 1, "other", "s-other", "vastai", "o", dollars * 3600, ""
        )
        await ledger.add(journal, entry)
    await journal.aclose()


@pytest.mark.parametrize("period", ["day", "month"])
async def test_nothing_is_rented_beyond_what_may_be_spent_in_a_day_or_month(
    tmp_path: Path, shopper: FakeShopper, period: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spending, "LEAST_MINUTES", 1)
    await spend(tmp_path, 4.5)
    caps = {f"per_{period}": 5.0}
    async with quick_orchestrator(tmp_path, shopper.url, spending=caps) as orchestrator:
        end = last(await told(orchestrator, await orchestrator.deployments.deploy(spec())))
    assert (end.outcome, end.kind, end.attempts) == ("failed", "spend_limit", ())
    assert exit_codes.of_finished(end) == exit_codes.SPEND_LIMIT
    now = {"day": "today", "month": "this month"}[period]
    assert f"$4.50 of the $5.00 of {now} is spent" in str(end.error)
    assert f"spending.per_{period}" in str(end.hint) and "local time" in str(end.hint)
    assert shopper.sessions == {}


async def test_a_cap_ends_what_serves_counting_what_others_spend(
    tmp_path: Path, shopper: FakeShopper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spending_caps, "_READ_EVERY_S", 0.0)
    monkeypatch.setattr(spending, "ANNOUNCED_S", 0.4)
    async with quick_orchestrator(tmp_path, shopper.url, spending={"per_day": 5.0}) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(after="hold"))
        await until(orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text)
        await spend(tmp_path, 4.97)
        events = await told(orchestrator, ident)
    end = last(events)
    assert (end.outcome, end.billing, end.kind) == ("released", Billing.RELEASED, "spend_limit")
    assert "of the $5.00 of today is spent" in str(end.error)
    said = "of today is spent: the machine is being released"
    assert any(said in text for text in words_of(events))
    (announced,) = of_type(events, ev.StopAnnounced)
    assert "$5.00 of today" in announced.reason
    assert shopper.billing() == []


async def test_simulated_money_does_not_count(tmp_path: Path, shopper: FakeShopper) -> None:
    await spend(tmp_path, 100.0, backend="sandbox")
    async with quick_orchestrator(tmp_path, shopper.url, spending={"per_day": 5.0}) as orchestrator:
        end = last(await told(orchestrator, await orchestrator.deployments.deploy(spec())))
    assert (end.outcome, end.error) == ("released", None)


async def test_no_more_hours_are_reserved_than_the_limit_pays_for(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        wanted = spec(after="destroy", hours=12, max_spend=2.5 * A_CENT_A_SECOND)
        end = last(await told(orchestrator, await orchestrator.deployments.deploy(wanted)))
    assert end.outcome == "released"
    (request,) = shopper.seen("POST", "/api/v1/sessions")
    assert request.body["reservation_hours"] == 3
