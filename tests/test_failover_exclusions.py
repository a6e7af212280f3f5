"""Failover as the user sees it: who is excluded, until when, what is asked, what is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployment_support import deployed, last, of_type, told, until
from failover_support import fates, offers_tried, quick_orchestrator, spec, waits
from gdl.domain import events as ev
from gdl.domain.decisions import AfterFailure
from gdl.domain.errors import UsageError
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing, Phase
from shopper_support import FakeShopper, listing

OFFERS = [
    listing("vastai-101", price=0.10, machine=101),
    listing("vastai-102", price=0.11, machine=102),
    listing("tensordock-301", price=0.20, machine=0),
    listing("bluelobster-1", price=0.30, machine=9),
]


@pytest.fixture
async def shopper() -> AsyncIterator[FakeShopper]:
    async with FakeShopper(offers=OFFERS, ssh=("203.0.113.9", 22, "root")) as fake:
        yield fake


async def test_the_story_has_time_money_and_reason_for_each_attempt(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", "stale")
    shopper.never_ready("vastai-102", "SSH verification timeout")
    async with quick_orchestrator(tmp_path, shopper.url, pause=0.02) as orchestrator:
        events = await deployed(orchestrator, spec())
    end = last(events)
    # The service gave the second one up by itself, and did not look whether it is gone.
    assert (end.outcome, end.billing) == ("released", Billing.UNKNOWN)
    assert offers_tried(events) == ["vastai-101", "vastai-102", "tensordock-301"]
    stale, ssh, served = end.attempts
    assert (stale.ended, stale.cost, stale.session_id) == ("failed", 0.0, None)
    assert "no longer available" in stale.reason
    assert "SSH verification timeout" in ssh.reason and ssh.cost > 0 and ssh.session_id
    assert (served.ended, served.phase_reached) == ("released", "SERVING")
    assert served.cost > 0 and served.reason
    assert [a.seconds for a in end.attempts] == pytest.approx(times_of(events), abs=0.25)


def times_of(events: list[ev.Recorded]) -> list[float]:
    """Seconds from the first event of each attempt to its failure, else to its last one."""
    times: dict[int, list[datetime]] = {}
    failed: set[int] = set()
    for recorded in events:
        attempt = getattr(recorded.event, "attempt", None)
        if attempt is not None and attempt not in failed:
            times.setdefault(attempt, []).append(recorded.at)
            if isinstance(recorded.event, ev.PhaseChanged) and recorded.event.phase is Phase.FAILED:
                failed.add(attempt)
    return [(at[-1] - at[0]).total_seconds() for _, at in sorted(times.items())]


async def test_a_stale_last_attempt_does_not_hide_what_the_first_cost(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.list_offers(*OFFERS[:3])
    shopper.never_ready("vastai-101", "instance stopped unexpectedly: exited")
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec())
        await until(orchestrator, ident, lambda e: isinstance(e, ev.SessionRented))
        shopper.inject("create", "stale", None)
        end = last(await told(orchestrator, ident))
    assert end.billing is Billing.UNKNOWN and "instance stopped unexpectedly" in str(end.error)
    assert end.attempts[0].cost > 0 and end.attempts[1].cost == 0


async def test_ssh_excludes_the_provider_for_now_and_the_machine_for_hours(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    of = fates(shopper, {"vastai-101": "ssh"})
    async with quick_orchestrator(tmp_path, shopper.url, fate=of) as orchestrator:
        events = await deployed(orchestrator, spec())
        assert offers_tried(events) == ["vastai-101", "tensordock-301"]
        set_out = {(e.kind, e.key): e for e in of_type(events, ev.ExclusionSet)}
        assert not set_out["provider", "vastai"].remembered
        assert set_out["machine", "vastai-machine-101"].remembered
        (kept,) = await orchestrator.market.exclusions()
    assert (kept.kind, kept.key, kept.scope) == ("machine", "vastai-machine-101", "remembered")
    hours = (kept.until - datetime.now(UTC)) / timedelta(hours=1)  # type: ignore[operator]
    assert 5.9 < hours <= 6


async def test_a_broken_machine_is_remembered_across_restarts_and_can_be_cleared(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    of = fates(shopper, {"vastai-101": "driver"})
    async with quick_orchestrator(tmp_path, shopper.url, fate=of) as orchestrator:
        assert offers_tried(await deployed(orchestrator, spec())) == ["vastai-101", "vastai-102"]
    async with quick_orchestrator(tmp_path, shopper.url, fate=of) as orchestrator:
        assert offers_tried(await deployed(orchestrator, spec())) == ["vastai-102"]
        out = next(
            r for r in await orchestrator.market.offers(OfferQuery()) if r.offer.id == "vastai-101"
        )
        assert out.exclusion == "machine" and "until " in str(out.excluded)
        days = (out.until - datetime.now(UTC)) / timedelta(days=1)  # type: ignore[operator]
        assert 6.9 < days <= 7
        assert await orchestrator.market.clear_exclusions("vastai-machine-101") == 1
        with pytest.raises(UsageError, match="no exclusion"):
            await orchestrator.market.clear_exclusions("vastai-machine-101")
        assert offers_tried(await deployed(orchestrator, spec())) == ["vastai-101", "vastai-102"]


async def test_where_machines_have_no_name_the_offer_stands_for_its_machine(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    of = fates(shopper, {"tensordock-301": "no-driver"})
    query = OfferQuery(exclude_providers=("vastai",))
    async with quick_orchestrator(tmp_path, shopper.url, fate=of) as orchestrator:
        events = await deployed(orchestrator, spec(query=query))
        assert offers_tried(events) == ["tensordock-301", "bluelobster-1"]
        assert [(x.kind, x.key) for x in await orchestrator.market.exclusions()] == [
            ("offer", "tensordock-301")
        ]


async def test_what_no_machine_can_mend_ends_it_at_once(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    async with quick_orchestrator(tmp_path, shopper.url, fate=lambda _: "gated") as orchestrator:
        end = last(await deployed(orchestrator, spec()))
        assert len(end.attempts) == 1 and end.billing is Billing.RELEASED
        assert await orchestrator.market.exclusions() == []


async def test_an_unknown_crash_is_not_held_against_the_machine_for_ever(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    of = fates(shopper, {"vastai-101": "crash", "vastai-102": "sick"})
    async with quick_orchestrator(tmp_path, shopper.url, fate=of) as orchestrator:
        events = await deployed(orchestrator, spec())
        assert offers_tried(events) == ["vastai-101", "vastai-102", "tensordock-301"]
        assert await orchestrator.market.exclusions() == []


async def test_all_excluded_is_counted_by_cause_with_what_would_help(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.list_offers(
        *(listing(f"vastai-{n}", price=0.1 + n / 1e4) for n in range(101, 105)),
        listing("tensordock-301", price=9.0),
    )
    shopper.inject("create", "stale", 2)
    query = OfferQuery(max_price=1.0)
    of = fates(shopper, {"vastai-103": "ssh"})
    async with quick_orchestrator(tmp_path, shopper.url, fate=of) as orchestrator:
        end = last(
            await deployed(
                orchestrator, spec(query=query, max_attempts=5, exclude_provider_after=1)
            )
        )
    assert "2 stale" in str(end.error) and "vastai after SSH errors on 1 host" in str(end.error)
    assert "no suitable offers (5 excluded" in str(end.error)
    assert "raise the price ceiling to $9.000/h" in str(end.hint)
    assert "include provider vastai (`--include-provider vastai`, or u)" in str(end.hint)


async def test_the_users_exclusions_hold_until_cleared(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        await orchestrator.market.exclude("provider", "vastai", "slow last week")
        assert offers_tried(await deployed(orchestrator, spec())) == ["tensordock-301"]
        out = [
            r
            for r in await orchestrator.market.offers(OfferQuery())
            if r.offer.provider == "vastai"
        ]
        assert {r.excluded for r in out} == {"slow last week, until you clear it"}
        with pytest.raises(UsageError, match="unknown kind"):
            await orchestrator.market.exclude("planet", "mars")
        with pytest.raises(UsageError):
            await orchestrator.market.exclude("offer", " ")
        assert await orchestrator.market.clear_exclusions() == 1
        assert offers_tried(await deployed(orchestrator, spec())) == ["vastai-101"]


async def test_retry_next_exclude_and_bring_back(tmp_path: Path, shopper: FakeShopper) -> None:
    bad = {"vastai-101": "crash", "vastai-102": "crash", "tensordock-301": "crash"}
    async with quick_orchestrator(tmp_path, shopper.url, fate=fates(shopper, bad)) as orchestrator:
        ident = await orchestrator.deployments.deploy(
            spec(auto_failover=False, ask_on_failure=True)
        )
        await waits(orchestrator, ident)
        await orchestrator.deployments.decide(ident, AfterFailure.RETRY)
        await until(
            orchestrator, ident, lambda e: isinstance(e, ev.AttemptFailed) and e.attempt == 2
        )
        await until(
            orchestrator, ident, lambda e: isinstance(e, ev.ChoiceAwaited) and e.attempt == 2
        )
        await orchestrator.deployments.decide(ident, AfterFailure.EXCLUDE)
        await until(
            orchestrator, ident, lambda e: isinstance(e, ev.ChoiceAwaited) and e.attempt == 3
        )
        excluded = {
            x.key for x in orchestrator.deployments.state(ident).exclusions if x.kind == "provider"
        }
        assert excluded == {"vastai"}
        with pytest.raises(UsageError, match="not excluded"):
            await orchestrator.deployments.include_provider(ident, "bluelobster")
        await orchestrator.deployments.include_provider(ident, "vastai")
        assert not [
            x for x in orchestrator.deployments.state(ident).exclusions if x.kind == "provider"
        ]
        await orchestrator.deployments.decide(ident, AfterFailure.NEXT)
        await until(
            orchestrator, ident, lambda e: isinstance(e, ev.ChoiceAwaited) and e.attempt == 4
        )
        await orchestrator.deployments.set_auto_failover(ident, True)
        events = await told(orchestrator, ident)
    assert offers_tried(events) == [
        *("vastai-101", "vastai-101", "tensordock-301", "vastai-102", "bluelobster-1")
    ]
    assert last(events).outcome == "released"
    assert shopper.billing() == []


async def test_turning_automatic_failover_off_asks_instead(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    async with quick_orchestrator(
        tmp_path, shopper.url, fate=lambda _: "crash", pause=0.05
    ) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(ask_on_failure=True))
        await orchestrator.deployments.set_auto_failover(ident, False)
        await waits(orchestrator, ident)
        assert not orchestrator.deployments.state(ident).auto_failover
        assert len(orchestrator.deployments.state(ident).attempts) == 1
        await orchestrator.deployments.cancel(ident)
        assert last(await told(orchestrator, ident)).outcome == "cancelled"


async def test_when_nothing_is_left_the_user_may_bring_a_provider_back(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.list_offers(*OFFERS[:2])
    of = fates(shopper, {"vastai-101": "ssh"})
    async with quick_orchestrator(tmp_path, shopper.url, fate=of) as orchestrator:
        ident = await orchestrator.deployments.deploy(
            spec(ask_on_failure=True, exclude_provider_after=1)
        )
        await waits(orchestrator, ident)
        stuck = orchestrator.deployments.state(ident).stuck
        assert "vastai after SSH errors on 1 host" in stuck and "or u)" in stuck
        await orchestrator.deployments.include_provider(ident, "vastai")
        await orchestrator.deployments.decide(ident, AfterFailure.NEXT)
        assert offers_tried(await told(orchestrator, ident)) == ["vastai-101", "vastai-102"]


async def test_experience_shows_in_the_next_ranking(tmp_path: Path, shopper: FakeShopper) -> None:
    async with quick_orchestrator(tmp_path, shopper.url, pause=0.02) as orchestrator:
        before = (await orchestrator.market.offers(OfferQuery(model="tinyllama")))[0]
        assert before.usd_per_million is None
        assert before.session_price == pytest.approx(0.10 * 1.1)
        await deployed(orchestrator, spec(bench=True))
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        first = (await orchestrator.market.offers(OfferQuery(model="tinyllama")))[0]
        assert first.usd_per_million == pytest.approx(0.10 / 3600 / 900 * 1e6)
        assert first.session_price == pytest.approx(0.10, rel=0.01)
        other = (await orchestrator.market.offers(OfferQuery(model="phi-2")))[0]
        assert other.usd_per_million is None


async def test_a_reliability_floor_leaves_out_what_is_below(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.list_offers(replace(OFFERS[0], reliability=0.9), *OFFERS[1:])
    async with quick_orchestrator(tmp_path, shopper.url, min_reliability=0.95) as orchestrator:
        rows = await orchestrator.market.offers(OfferQuery())
        assert rows[0].offer.id == "vastai-102" and rows[-1].exclusion == "reliability"


async def test_an_old_driver_is_seen_in_the_listing(tmp_path: Path, shopper: FakeShopper) -> None:
    shopper.list_offers(replace(OFFERS[0], cuda=10.2), *OFFERS[1:])
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        rows = await orchestrator.market.offers(OfferQuery())
        assert rows[-1].offer.id == "vastai-101" and rows[-1].exclusion == "cuda"
